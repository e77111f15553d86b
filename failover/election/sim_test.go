package election_test

import (
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
)

var (
	simSeed      = flag.Uint64("sim.seed", 0, "run only this schedule of the simulation, with a trace")
	simSchedules = flag.Int("sim.schedules", 1000, "how many schedules to run")
)

const (
	simDelay   = time.Second
	simRetries = 4
)

// TestSimulation runs schedules of faults. While they go on, only what always holds is checked: no term is
// promoted twice or without being on disk, nobody speaks for a working host, and nobody is promoted because a host
// is gone that works, unless the evidence was forged. When they are over, all nodes that run must agree on one
// master within the bound.
func TestSimulation(t *testing.T) {
	t.Parallel()
	if *simSeed != 0 {
		report(t, *simSeed, simulate(*simSeed, "", t.Logf))
		return
	}
	runSchedules(t, *simSchedules)
}

// runSchedules uses all cores: a schedule is one goroutine's and shares nothing.
func runSchedules(t *testing.T, count int) {
	t.Helper()
	// A schedule leaves nothing behind: memory is cheaper than looking for garbage all the time.
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	var next atomic.Uint64
	var failed atomic.Bool
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed := next.Add(1); seed <= uint64(count) && !failed.Load(); seed = next.Add(1) {
				if faults := simulate(seed, "", nil); len(faults) > 0 {
					failed.Store(true)
					report(t, seed, faults)
				}
			}
		})
	}
	workers.Wait()
}

func report(t *testing.T, seed uint64, faults []string) {
	t.Helper()
	if len(faults) > 0 {
		t.Errorf("seed %d (run again with -sim.seed=%d -v):\n%s", seed, seed, strings.Join(faults, "\n"))
	}
}

// world is how a schedule's cluster is made.
type world struct {
	members  int
	evidence evidenceKind
	drift    bool
}

// settled is the bound: a silence may have begun with the last fault (S), the first claim may meet a pause's
// grace, and lose against a better one that has to be waited for. With a quorum every voter that was started anew
// keeps its vote for S, a master that nobody acknowledges holds on for S, and claims may split the vote.
func (w world) settled() time.Duration {
	if w.members > 0 {
		return (4*simRetries + 8) * simDelay
	}
	return (2*simRetries + 6) * simDelay
}

// simulate runs one schedule and returns what went wrong.
func simulate(seed uint64, broken mutation, logf func(string, ...any)) []string {
	c := newCluster(seed)
	c.mutation = broken
	if logf != nil {
		c.trace = func(at time.Duration, id string, what fmt.Stringer) { logf("%8v %s %v", at, id, what) }
	}
	w := c.build()
	for until := c.now + 15*simDelay; c.now < until; {
		c.run(time.Duration(c.random.Int64N(int64(simRetries * simDelay))))
		c.disturb(w)
	}
	c.mend()
	c.run(w.settled())
	if !c.alive(w) {
		return c.faults
	}
	masters := c.masters()
	promotions := c.promotions
	c.run(2 * simRetries * simDelay)
	if len(masters) != 1 {
		c.fault("masters %v after the network was mended", masters)
	}
	if c.promotions != promotions {
		c.fault("a takeover in a healthy cluster")
	}
	for _, id := range c.order {
		if s := c.nodes[id].machine.State(); len(masters) == 1 && s.Leader.Node != masters[0] {
			c.fault("%s believes in %v, not in %v", id, s.Leader, masters)
		}
	}
	return c.faults
}

// build makes a cluster and starts it.
func (c *cluster) build() world {
	w := world{evidence: evidenceKind(c.random.IntN(4)), drift: c.random.IntN(2) == 0}
	count := 1 + c.random.IntN(4)
	if c.random.IntN(8) == 0 {
		count += c.random.IntN(5)
	}
	if c.random.IntN(2) == 0 || c.mutation.needsQuorum() {
		count = max(count, 2)
		w.members = count
		c.oneGate = true
		if w.evidence == forgedEvidence {
			w.evidence = fullEvidence // Forged evidence breaks the promise, which is why it is off by default.
		}
		if c.random.IntN(4) == 0 {
			count++ // It starts later, and never votes.
		}
	}
	for i := range count {
		config := election.Config{
			Delay: simDelay, Retries: simRetries, Priority: c.random.IntN(2), Members: w.members, Drift: 0.05, Unclean: true,
			Evidence: w.members > 0 && w.evidence != noEvidence,
			Witness:  w.members > 2 && i == 0 && c.random.IntN(4) == 0,
		}
		n := c.add(string(rune('a'+i)), config)
		if w.drift {
			n.ppm = c.random.Int64N(100_000) - 50_000
		}
		wait := time.Duration(c.random.Int64N(int64(2 * simDelay)))
		if w.members > 0 && i >= w.members {
			wait += 6 * simDelay
		}
		c.after(wait, func() {
			if !n.running {
				c.start(n)
			}
		})
	}
	c.network.jitter = time.Duration(c.random.Int64N(int64(3 * time.Millisecond)))
	if w.members > 0 {
		// The birth of a cluster is not disturbed: without that there would be nothing to vote on.
		c.run(5 * simDelay)
	}
	return w
}

// alive reports whether a master can be expected: with a quorum, whether the disks of a majority of the voters were kept.
func (c *cluster) alive(w world) bool {
	if w.members == 0 {
		return true
	}
	var newest election.Voters
	for _, id := range c.order {
		if v := c.nodes[id].savedVote.Voters; v.Settled && v.Stamp.Compare(newest.Stamp) > 0 {
			newest = v
		}
	}
	kept := 0
	for _, id := range newest.IDs {
		if c.nodes[id].savedVote.Member {
			kept++
		}
	}
	return len(newest.IDs) > 0 && kept >= newest.Majority()
}

// checkGates finds two hosts that may work at one moment of true time.
func (c *cluster) checkGates(n *node) {
	if !c.oneGate || !c.open(n) {
		return
	}
	for _, id := range c.order {
		if other := c.nodes[id]; other != n && c.open(other) {
			c.fault("the gates of %s, in term %v, and of %s, in term %v, are both open", n.id, n.term, id, other.term)
		}
	}
}

// open reports whether a node's host may work now: it was promoted, and its lease has not run out by its own clock.
// A host outlives its plugin's pause, and works until then.
func (c *cluster) open(n *node) bool {
	if !n.running || n.term.IsZero() {
		return false
	}
	return c.mutation == gateIgnoresLease || n.local(c.now) < n.machine.State().Lease
}

// checkVote holds what a voter's disk must never show.
func (c *cluster) checkVote(n *node, vote election.Vote) {
	old := n.savedVote
	if vote.Granted != old.Granted && vote.Granted.Number <= old.Granted.Number {
		c.fault("%s grants %v after %v", n.id, vote.Granted, old.Granted)
	}
	if old.Voters.Settled && vote.Voters.Stamp.Compare(old.Voters.Stamp) < 0 && n.term.IsZero() {
		c.fault("%s goes back from the voters %v to %v", n.id, old.Voters, vote.Voters)
	}
}

// evidenceKind is what the nodes of a schedule know of a death.
type evidenceKind int

const (
	noEvidence evidenceKind = iota
	// fullEvidence comes to all whose connection is not cut, someEvidence to some of them.
	fullEvidence
	someEvidence
	// forgedEvidence comes also without a death.
	forgedEvidence
)

// crash kills a node, and gives those evidence who watched it. To each it comes a few milliseconds later, or not at
// all.
func (c *cluster) crash(n *node, kind evidenceKind) {
	term := n.working
	c.kill(n)
	if kind == noEvidence || term.IsZero() {
		return
	}
	for _, id := range c.order {
		w := c.nodes[id]
		cut := c.network.cut[[2]string{id, n.id}] || c.network.cut[[2]string{n.id, id}]
		if w == n || cut || kind == someEvidence && c.random.IntN(2) == 0 {
			continue
		}
		life := w.life
		c.after(time.Duration(1+c.random.Int64N(int64(10*time.Millisecond))), func() {
			if w.life == life {
				c.gone(w, term)
			}
		})
	}
}

// forge tells a node that the host which it watches is gone.
func (c *cluster) forge(n *node) {
	if !n.running || n.resumeAt > 0 {
		return
	}
	if watch := n.machine.Watch(); !watch.Term.IsZero() {
		c.forged[watch.Term] = true
		c.gone(n, watch.Term)
	}
}

// disturb lets one thing happen.
func (c *cluster) disturb(w world) {
	kind := w.evidence
	n := c.nodes[c.order[c.random.IntN(len(c.order))]]
	other := c.nodes[c.order[c.random.IntN(len(c.order))]]
	faults := 17
	if kind == forgedEvidence {
		faults = 20
	}
	switch c.random.IntN(faults) {
	case 0, 1:
		if n.running {
			c.crash(n, kind)
		} else {
			c.start(n)
		}
	case 2:
		if n.running {
			c.crash(n, kind)
		}
		c.start(n) // At once, with whatever was on disk.
	case 3, 4:
		c.pause(n, time.Duration(c.random.Int64N(int64(2*simRetries*simDelay))))
	case 5:
		c.network.cut[[2]string{n.id, other.id}] = true
	case 6:
		c.partition()
	case 7, 8:
		clear(c.network.cut)
	case 9:
		c.network.loss = 0.5 * c.random.Float64()
		c.network.duplicate = 0.2 * c.random.Float64()
		c.network.jitter = time.Duration(1 + c.random.Int64N(int64(2*simDelay)))
	case 10:
		n.host.CanLead = !n.host.CanLead
		n.host.InSync = c.random.IntN(3) > 0
		n.host.Mirror.Index = c.random.Uint64N(5)
	case 11:
		n.silent = !n.silent
		n.diskBroken = c.random.IntN(4) == 0
	case 12:
		n.successor = []string{"", other.id}[c.random.IntN(2)]
		if other.term.Compare(n.term) > 0 {
			n.host.Later = other.term // Its mirror has heard of the other one.
		}
		c.resign(n)
	case 13:
		for _, master := range c.masters() {
			c.crash(c.nodes[master], kind)
		}
	case 14:
		c.loseDisk(n, w)
	case 15:
		c.changeMembers(w)
	case 16:
		if n.running && n.resumeAt == 0 {
			c.step(n, election.SetPause{At: n.local(c.now), On: c.random.IntN(2) == 0})
		}
	case 17:
		c.forge(n)
	default:
		for _, id := range c.order {
			c.forge(c.nodes[id])
		}
	}
}

// loseDisk kills a node and empties its disk. With a quorum no more than a minority of the voters may suffer that;
// without one nothing is promised, because terms could be used again.
func (c *cluster) loseDisk(n *node, w world) {
	if w.members == 0 {
		return
	}
	lost := 1
	for _, id := range c.order {
		if c.nodes[id].lost && id != n.id {
			lost++
		}
	}
	if lost > (w.members-1)/2 || len(n.savedVote.Voters.IDs) > 0 && lost > (len(n.savedVote.Voters.IDs)-1)/2 {
		return
	}
	if n.running {
		c.crash(n, w.evidence)
	}
	c.note(n, word("loses its disk"))
	if n.savedVote.Voters.Has(n.id) {
		n.lost = true
	}
	n.savedTerm, n.savedNodes, n.savedPause = 0, nil, election.Pause{}
	n.savedVote = c.mutateLoss(n)
}

// changeMembers lets an operator ask a master for another list of voters.
func (c *cluster) changeMembers(w world) {
	masters := c.masters()
	if w.members == 0 || len(masters) == 0 {
		return
	}
	master := c.nodes[masters[c.random.IntN(len(masters))]]
	if master.resumeAt > 0 {
		return
	}
	id := c.order[c.random.IntN(len(c.order))]
	change := election.ChangeMembers{At: master.local(c.now), Add: id}
	if c.random.IntN(2) == 0 {
		change.Add, change.Remove = "", id
	}
	c.note(master, word(fmt.Sprintf("is asked to remove %q and to add %q as voters", change.Remove, change.Add)))
	c.step(master, change)
}

func (c *cluster) partition() {
	side := make(map[string]bool)
	for _, id := range c.order {
		side[id] = c.random.IntN(2) == 0
	}
	for _, a := range c.order {
		for _, b := range c.order {
			if side[a] != side[b] {
				c.network.cut[[2]string{a, b}] = true
			}
		}
	}
}

// mend ends all faults.
func (c *cluster) mend() {
	clear(c.network.cut)
	c.network.loss, c.network.duplicate, c.network.jitter = 0, 0, time.Millisecond
	for _, id := range c.order {
		n := c.nodes[id]
		n.host.CanLead, n.silent, n.diskBroken = true, false, false
		if n.running && n.resumeAt > 0 {
			c.kill(n)
		}
		if !n.running {
			c.start(n)
		}
	}
	// By then all know the last word on promotions.
	c.after(3*simDelay, func() {
		n := c.nodes[c.order[0]]
		c.step(n, election.SetPause{At: n.local(c.now)})
	})
}

// TestOneLostDatagram loses each datagram of a healthy cluster's life once, alone: nobody may take over.
func TestOneLostDatagram(t *testing.T) {
	t.Parallel()
	for lost := range 200 {
		c := newCluster(uint64(lost))
		for _, id := range []string{"a", "b", "c"} {
			c.start(c.add(id, election.Config{Delay: simDelay, Retries: 3}))
		}
		c.run(10 * simDelay)
		before := c.promotions
		c.network.swallow = lost
		c.run(60 * simDelay)
		if c.promotions != before || before != 1 || len(c.faults) > 0 {
			t.Fatalf("datagram %d lost: %d promotions, then %d; %v", lost, before, c.promotions, c.faults)
		}
	}
}

// TestOneLoser heals partitions with a master on each side: exactly all but one must stand down.
func TestOneLoser(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		c := newCluster(seed)
		for i := range 2 + c.random.IntN(5) {
			c.start(c.add(fmt.Sprintf("n%d", i), election.Config{Delay: simDelay, Retries: simRetries, Priority: c.random.IntN(2)}))
		}
		c.network.jitter = time.Duration(1 + c.random.Int64N(int64(2*time.Millisecond)))
		c.run(2 * simRetries * simDelay)
		c.partition()
		c.run(4 * simRetries * simDelay)
		sides := len(c.masters())
		before := c.demotions
		var highest election.Term
		for _, id := range c.masters() {
			if term := c.nodes[id].term; term.Compare(highest) > 0 {
				highest = term
			}
		}
		clear(c.network.cut)
		c.run(3 * simDelay)
		if got := c.masters(); len(got) != 1 || c.nodes[got[0]].term != highest || c.demotions-before != sides-1 || len(c.faults) > 0 {
			t.Fatalf("seed %d: %d masters before, then %v after %d demotions; want the one of term %v; %v",
				seed, sides, got, c.demotions-before, highest, c.faults)
		}
	}
}
