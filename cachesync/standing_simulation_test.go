package cachesync_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/cachesync"
)

// A cluster under any number of faults at a time. What is promised is not that nothing is lost, but that nobody who
// says that it is in sync lacks anything: the election asks that of a candidate, and it lets nobody lead who is
// objected to by a node that hears a master.

// trial is one schedule. A violation ends it.
type trial struct {
	*world
	violation string
	// forked is the last term that began although another master may have gone on, or that began with less than was
	// committed. Who knows of no such term is on a log of its own, and may be in sync with that.
	forked uint64
}

type ended struct{}

func (r *trial) violate(format string, args ...any) {
	r.violation = fmt.Sprintf(format, args...)
	panic(ended{})
}

// runTrial runs one schedule and returns what was violated, or "".
func runTrial(t *testing.T, seed uint64, mutant mutant) (violation string) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 5))
		onDisk := random.IntN(2) == 0
		w := &world{
			network: newNetwork(t, seed, func(c *cachesync.Config) {
				c.MessageBytes = 2000
				c.LagTimeout, c.AloneAfter = time.Second, time.Duration(1+random.IntN(8))*time.Second
				if random.IntN(3) == 0 {
					c.Alone = cachesync.Wait
				}
			}),
			random: random, ids: []string{"a", "b", "c"},
			committed: make(map[string]bool), ending: make(map[string]bool), open: make(map[string]int),
		}
		w.mutant = mutant
		if *seedFlag != 0 {
			w.log = func(id string) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)).With("node", id) }
		}
		w.delay = time.Duration(1+random.IntN(20)) * time.Millisecond
		if random.IntN(2) == 0 {
			w.ids = append(w.ids, "d")
		}
		for _, id := range w.ids {
			if onDisk {
				w.disks[id] = newDisk()
			}
			w.start(id)
		}
		defer w.stop()
		r := &trial{world: w}
		defer func() {
			if got := recover(); got != nil {
				if _, ours := got.(ended); !ours {
					panic(got)
				}
				violation = r.violation
			}
		}()
		r.schedule()
	})
	return violation
}

func (r *trial) schedule() {
	r.take(r.nodes["a"], false)
	for range 60 {
		if r.master != nil && r.nodes[r.master.id] == r.master {
			r.write()
		}
		r.check()
		r.fault()
		r.rest()
		r.check()
		if r.random.IntN(3) == 0 {
			r.elect()
		}
	}
	if r.mutant == sound {
		r.recover()
	}
}

// rest lets some time pass, seldom enough for deadlines to pass too.
func (r *trial) rest() {
	long := []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, time.Second, 3 * time.Second, 8 * time.Second}
	time.Sleep(time.Duration(r.random.Int64N(int64(long[r.random.IntN(len(long))]))))
}

func (r *trial) any() string { return r.ids[r.random.IntN(len(r.ids))] }

func (r *trial) fault() {
	before := r.describe()
	defer func() {
		if after := r.describe(); *seedFlag != 0 && after != before {
			r.t.Log(time.Now().Format("05.000"), after)
		}
	}()
	switch r.random.IntN(9) {
	case 0, 1:
		if a, b := r.any(), r.any(); a != b {
			r.cut(a, b)
		}
	case 2: // one is cut off from everybody
		for a, i := r.any(), 0; i < len(r.ids); i++ {
			if r.ids[i] != a {
				r.cut(a, r.ids[i])
			}
		}
	case 3:
		r.heal()
	case 4:
		r.reset()
	case 5:
		if p := r.nodes[r.any()]; p != nil {
			r.kill(p)
		}
	case 6, 7:
		if id := r.any(); r.nodes[id] == nil {
			r.start(id)
		}
	case 8: // the power fails everywhere, and comes back
		if r.random.IntN(3) > 0 {
			return
		}
		for _, id := range r.ids {
			if p := r.nodes[id]; p != nil {
				r.kill(p)
			}
		}
		for _, id := range r.ids {
			r.start(id)
		}
	}
}

// reaches reports whether two nodes hear each other.
func (r *trial) reaches(a, b string) bool {
	r.network.mu.Lock()
	defer r.network.mu.Unlock()
	return !r.cuts[pair(a, b)]
}

// fit reports whether the election would let a node lead: it is in sync, and nobody that it reaches is, or hears, a
// master.
func (r *trial) fit(p *node) bool {
	if s := p.State(); !s.InSync || s.Leading {
		return false
	}
	return r.unopposed(p)
}

func (r *trial) unopposed(p *node) bool {
	for id, other := range r.nodes {
		if id == p.id || !r.reaches(p.id, id) {
			continue
		}
		if word, _ := other.Word(); word.Attached {
			return false
		}
	}
	return true
}

// check looks for nodes that are fit to lead and lack something.
func (r *trial) check() {
	for _, id := range r.ids {
		p := r.nodes[id]
		if p == nil || !r.fit(p) || p.State().RecordTerm.Number < r.forked {
			continue
		}
		table := p.Table()
		held := make(map[string]bool)
		for _, e := range table.Entries {
			held[e.MessageID] = true
		}
		r.mu.Lock()
		for id := range r.committed {
			if !held[id] {
				r.mu.Unlock()
				r.violate("%s says that it is in sync and lacks %s: %+v, set %v", p.id, id, p.State(), p.Status().Record)
			}
		}
		r.mu.Unlock()
	}
}

// elect makes a node master that is fit, or else at times one that is not: then what was committed may be gone.
func (r *trial) elect() {
	if r.master != nil && r.nodes[r.master.id] == r.master && r.master.State().Leading && r.random.IntN(4) > 0 {
		return
	}
	start := r.random.IntN(len(r.ids))
	for i := range r.ids {
		if p := r.nodes[r.ids[(start+i)%len(r.ids)]]; p != nil && r.fit(p) {
			r.take(p, false)
			return
		}
	}
	p := r.nodes[r.ids[start]]
	if p == nil || p.State().Leading || !r.unopposed(p) || r.random.IntN(3) > 0 {
		return
	}
	r.take(p, true)
}

// take makes a node master, and checks that it has what was committed.
func (r *trial) take(p *node, unclean bool) {
	for _, other := range r.nodes {
		unclean = unclean || other != p && other.State().Leading
	}
	known := p.State().RecordTerm.Number
	r.mu.Lock()
	r.number++ // commits of the old term do not count from now on
	if unclean || known < r.forked {
		r.forked = r.number
		clear(r.committed)
	}
	want := make(map[string]bool, len(r.committed))
	for id := range r.committed {
		want[id] = true
	}
	r.mu.Unlock()
	taken, err := p.Lead(r.t.Context(), term(r.number, p.id))
	if err != nil {
		return // somebody knows a higher term, say
	}
	r.master = p
	for _, e := range taken.Entries {
		delete(want, e.MessageID)
	}
	if len(want) > 0 {
		r.violate("term %d, led by %s and sealed at %v, has lost %v", r.number, p.id, taken.Sealed, want)
	}
}

// recover ends all faults and checks that the cluster comes to rest with everybody in sync.
func (r *trial) recover() {
	r.heal()
	for _, id := range r.ids {
		if r.nodes[id] == nil {
			r.start(id)
		}
	}
	time.Sleep(4 * time.Second)
	r.take(r.nodes["b"], true)
	if r.master != r.nodes["b"] {
		r.violate("b does not lead although nothing is wrong any more: %+v", r.nodes["b"].Status())
	}
	r.settleDown()
	r.write()
	r.settleDown()
}

func TestSimulateStanding(t *testing.T) {
	first, last := uint64(1), *seedsFlag
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			if violation := runTrial(t, seed, sound); violation != "" {
				t.Fatal(violation)
			}
		})
	}
}

// The simulation notices each rule that is broken.
func TestMutationsAreNoticed(t *testing.T) {
	if *seedFlag != 0 {
		t.Skip("one seed only")
	}
	for _, mutant := range []mutant{dropRecords, commitEarly, neverOut} {
		t.Run(string(mutant), func(t *testing.T) {
			const most = 3000
			for seed := uint64(1); seed <= most; seed++ {
				if violation := runTrial(t, seed, mutant); violation != "" {
					t.Logf("seed %d: %s", seed, violation)
					return
				}
			}
			t.Errorf("%d schedules do not notice it", most)
		})
	}
}
