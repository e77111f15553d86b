package election_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
)

var (
	simSeed      = flag.Uint64("sim.seed", 0, "run only this schedule of the simulation, with a trace")
	simSchedules = flag.Int("sim.schedules", 1000, "how many schedules to run")
)

const (
	simDelay   = 20 * time.Millisecond
	simRetries = 4
)

// TestSimulation runs schedules of faults. While they go on, only what always holds is checked: no term is
// promoted twice or without being on disk, nobody speaks for a working host, and nobody is promoted because a host
// is gone that works, unless the evidence was forged. When they are over, all nodes that run must agree on one
// master within the bound.
func TestSimulation(t *testing.T) {
	t.Parallel()
	if *simSeed != 0 {
		simulate(t, *simSeed, t.Logf)
		return
	}
	for seed := uint64(1); seed <= uint64(*simSchedules); seed++ {
		if !simulate(t, seed, nil) {
			return
		}
	}
}

// settled is the bound: a silence may have begun with the last fault (S), the first claim may meet a pause's
// grace, and lose against a better one that has to be waited for.
const settled = (2*simRetries + 6) * simDelay

func simulate(t *testing.T, seed uint64, logf func(string, ...any)) bool {
	t.Helper()
	c := newCluster(seed)
	if logf != nil {
		c.trace = func(at time.Duration, id string, what fmt.Stringer) { logf("%8v %s %s", at, id, what) }
	}
	for i := range 2 + c.random.IntN(4) {
		n := c.add(string(rune('a'+i)), election.Config{Delay: simDelay, Retries: simRetries, Priority: c.random.IntN(2)})
		c.after(time.Duration(c.random.Int64N(int64(5*simDelay))), func() { c.start(n) })
	}
	c.network.jitter = time.Duration(c.random.Int64N(int64(3 * time.Millisecond)))
	kind := evidenceKind(c.random.IntN(4))
	for range 10 + c.random.IntN(10) {
		c.run(time.Duration(c.random.Int64N(int64(2 * simRetries * simDelay))))
		c.disturb(kind)
	}
	c.mend()
	c.run(settled)
	masters := c.masters()
	promotions := c.promotions
	c.run(4 * simRetries * simDelay)
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
	if len(c.faults) > 0 {
		t.Errorf("seed %d (run again with -sim.seed=%d -v):\n%s", seed, seed, strings.Join(c.faults, "\n"))
		return false
	}
	return true
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
func (c *cluster) disturb(kind evidenceKind) {
	n := c.nodes[c.order[c.random.IntN(len(c.order))]]
	other := c.nodes[c.order[c.random.IntN(len(c.order))]]
	faults := 14
	if kind == forgedEvidence {
		faults = 17
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
		c.network.loss = 0.3 * c.random.Float64()
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
		c.resign(n)
	case 13:
		for _, master := range c.masters() {
			c.crash(c.nodes[master], kind)
		}
	case 14:
		c.forge(n)
	default:
		for _, id := range c.order {
			c.forge(c.nodes[id])
		}
	}
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
