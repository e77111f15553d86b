package cachesync_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run the simulation with this seed only")
	seedsFlag = flag.Uint64("seeds", 60, "number of seeds that the simulation runs with")
)

// world is a cluster under a random schedule, and what must be true of it.
type world struct {
	*network
	random *rand.Rand
	number uint64 // of the last term
	master *node  // who leads, as far as the schedule knows
	ids    []string

	mu sync.Mutex // guards what follows: settle callbacks write it
	// committed holds the messages whose Received was committed and whose end was not even begun; ending those
	// whose end was.
	committed map[string]bool
	ending    map[string]bool
	open      map[string]int // commits begun and not settled, by message
	next      int
}

// seeds runs a schedule for many seeds, each in its own bubble.
func seeds(t *testing.T, schedule func(t *testing.T, w *world)) {
	first, last := uint64(1), *seedsFlag
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{
					network: newNetwork(t, seed, func(c *cachesync.Config) { c.MessageBytes = 2000 }), random: rand.New(rand.NewPCG(seed, 99)), ids: []string{"a", "b", "c", "d"},
					committed: make(map[string]bool), ending: make(map[string]bool), open: make(map[string]int),
				}
				w.delay = time.Duration(1+w.random.IntN(20)) * time.Millisecond
				defer w.stop()
				schedule(t, w)
			})
		})
	}
}

// write begins a few random changes on the master.
func (w *world) write() {
	p := w.master
	for range w.random.IntN(20) {
		w.mu.Lock()
		op := ledger.Op{Kind: ledger.Received, MessageID: fmt.Sprint("m", w.next), WorkflowID: "w", Payload: make([]byte, w.random.IntN(300))}
		if w.next > 0 && w.random.IntN(2) == 0 {
			op = ledger.Op{
				Kind: ledger.Kind(2 + w.random.IntN(5)), MessageID: fmt.Sprint("m", w.random.IntN(w.next)), Step: "s",
			}
		} else {
			w.next++
		}
		if op.Kind == ledger.Done || op.Kind == ledger.Released {
			delete(w.committed, op.MessageID) // from here on it may be gone
			w.ending[op.MessageID] = true
		}
		w.open[op.MessageID]++
		number := w.number
		w.mu.Unlock()
		p.Commit(term(number, p.id), op, false, func(r cachesync.Result, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.open[op.MessageID]--; w.open[op.MessageID] < 0 {
				w.t.Errorf("%v of %s was settled twice", op.Kind, op.MessageID)
			}
			if op.Kind == ledger.Received && r == cachesync.Committed && number == w.number && !w.ending[op.MessageID] {
				w.committed[op.MessageID] = true
			}
		})
	}
}

// nextTerm counts; commits of an older term are not remembered any more.
func (w *world) nextTerm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.number++
}

// holders are the nodes that hold everything committed: the master and those that it waits for.
func (w *world) holders() map[string]bool {
	holders := make(map[string]bool)
	if w.master == nil {
		return holders
	}
	holders[w.master.id] = true
	for _, p := range w.master.Status().Peers {
		if p.InSync && p.Connected && w.nodes[p.ID] != nil { // it may have died a moment ago
			holders[p.ID] = true
		}
	}
	return holders
}

// lead makes a node master and checks that nothing committed is lost.
func (w *world) lead(p *node) {
	w.t.Helper()
	w.mu.Lock()
	w.number++
	want := make(map[string]bool, len(w.committed))
	for id := range w.committed {
		want[id] = true
	}
	w.mu.Unlock()
	taken, err := p.Lead(w.t.Context(), term(w.number, p.id))
	if err != nil {
		w.t.Fatalf("%s leads term %d: %v", p.id, w.number, err)
	}
	w.master = p
	for _, e := range taken.Entries {
		delete(want, e.MessageID)
	}
	if len(want) > 0 {
		w.t.Fatalf("term %d, led by %s and sealed at %v, has lost %v", w.number, p.id, taken.Sealed, want)
	}
}

// agree checks that nodes at the same position hold the same table.
func (w *world) agree() {
	w.t.Helper()
	w.network.mu.Lock()
	defer w.network.mu.Unlock()
	tables := make(map[ledger.Position]ledger.Chunk)
	for _, p := range w.nodes {
		table := p.Table()
		if other, seen := tables[table.Position]; seen && !reflect.DeepEqual(other, table) {
			w.t.Fatalf("two nodes at %v hold different tables:\n%+v\n%+v", table.Position, other, table)
		}
		tables[table.Position] = table
	}
}

// settleDown lets everything come to rest and checks that it does, with everybody in sync.
func (w *world) settleDown() {
	w.t.Helper()
	w.heal()
	time.Sleep(4 * w.config.LagTimeout)
	w.mu.Lock()
	for id, n := range w.open {
		if n != 0 {
			w.t.Errorf("%d commits of %s were never settled", n, id)
		}
	}
	w.mu.Unlock()
	w.agree()
	want := w.master.State()
	if !want.Leading || !want.InSync || want.InSyncStandbys != len(w.nodes)-1 {
		w.t.Fatalf("the master says %+v with %d nodes", want, len(w.nodes))
	}
	for _, p := range w.nodes {
		if s := p.State(); p != w.master && (!s.InSync || s.Position != want.Position || p.Status().Master != w.master.id) {
			w.t.Fatalf("%s says %+v, the master %+v", p.id, s, want)
		}
	}
}

func (w *world) pause() { time.Sleep(time.Duration(w.random.Int64N(int64(100 * time.Millisecond)))) }

// With one fault at a time, whenever it comes, nothing that was committed is lost: not with nodes dying and
// coming back empty, not in the middle of a snapshot or a takeover.
func TestSimulateCrashes(t *testing.T) {
	seeds(t, func(t *testing.T, w *world) {
		for _, id := range w.ids {
			w.start(id)
		}
		w.lead(w.nodes["a"])
		for range 40 {
			w.write()
			w.pause()
			w.agree()
			switch w.random.IntN(5) {
			case 0: // the master dies, if somebody holds what it holds
				holders := w.holders()
				dead := w.master
				if len(holders) < 2 {
					continue
				}
				delete(holders, dead.id)
				w.kill(dead)
				w.master = nil
				w.promote(holders)
			case 1: // a standby dies
				for _, id := range w.ids {
					if p := w.nodes[id]; p != nil && p != w.master {
						w.kill(p)
						break
					}
				}
			case 2, 3: // a node comes back with nothing
				for _, id := range w.ids {
					if w.nodes[id] == nil {
						w.start(id)
						break
					}
				}
			case 4: // streams break
				w.reset()
			}
		}
		for _, id := range w.ids {
			if w.nodes[id] == nil {
				w.start(id)
			}
		}
		w.settleDown()
		w.write()
		w.settleDown()
	})
}

// promote makes any node master, and sometimes kills it while it is at it, if a holder is left for the next.
func (w *world) promote(holders map[string]bool) {
	for {
		alive := make([]*node, 0, len(w.ids))
		for _, id := range w.ids {
			if p := w.nodes[id]; p != nil {
				alive = append(alive, p)
			}
		}
		p := alive[w.random.IntN(len(alive))]
		spare := len(holders)
		if holders[p.id] {
			spare--
		}
		if spare == 0 || w.random.IntN(3) > 0 {
			w.lead(p)
			return
		}
		w.nextTerm()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = p.Lead(w.t.Context(), term(w.number, p.id)) // it may succeed before the end
		}()
		time.Sleep(time.Duration(w.random.Int64N(int64(4 * w.delay))))
		w.kill(p)
		<-ended
		delete(holders, p.id)
	}
}

// Cuts of any kind may part the cluster and give it two masters. Then too nodes of one term agree, each
// commit is settled once, and after healing everybody follows the higher term.
func TestSimulatePartitions(t *testing.T) {
	seeds(t, func(t *testing.T, w *world) {
		for _, id := range w.ids {
			w.start(id)
		}
		w.lead(w.nodes["a"])
		for range 30 {
			w.write()
			w.pause()
			w.agree()
			switch w.random.IntN(4) {
			case 0:
				w.cut(w.ids[w.random.IntN(4)], w.ids[w.random.IntN(4)])
			case 1:
				w.heal()
			case 2:
				time.Sleep(w.config.LagTimeout)
			case 3: // another node leads, whatever the old master thinks of that
				w.nextTerm()
				p := w.nodes[w.ids[w.random.IntN(4)]]
				if _, err := p.Lead(t.Context(), term(w.number, p.id)); err != nil {
					t.Fatal(err)
				}
				w.master = p
			}
		}
		w.settleDown()
		w.write()
		w.settleDown()
	})
}
