package cachesync_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// adoptions collects what a node says that it has taken over.
func adoptions(t *testing.T, p *node) func() []ledger.Entry {
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var all []ledger.Entry
	var watching sync.WaitGroup
	watching.Go(func() {
		if err := p.Adopted(ctx, func(entries []ledger.Entry) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, entries...)
		}); err != nil {
			t.Error(err)
		}
	})
	return func() []ledger.Entry {
		cancel()
		watching.Wait()
		return all
	}
}

func ids(entries []ledger.Entry) []string {
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.MessageID)
	}
	slices.Sort(ids)
	return ids
}

// A master goes on alone, dies with messages on its disk that nobody else got, and comes back when another one leads.
// They are taken over as they are; what was there before is not, whatever has become of it.
func TestReturningNodeHandsOverWhatOnlyItHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, func(c *cachesync.Config) { c.Limits.DedupeCount = 0 }) // no window hides a mistake
		defer net.stop()
		net.disks["a"] = newDisk()
		a, b := net.start("a"), net.start("b")
		lead(t, a, 1)
		commit(t, a, 1, received("old-done"), cachesync.Committed)
		commit(t, a, 1, received("old"), cachesync.Committed)
		net.kill(b)
		commit(t, a, 1, ledger.Op{Kind: ledger.Stepped, MessageID: "old", Step: "late"}, cachesync.Committed)
		commit(t, a, 1, received("new"), cachesync.Committed)
		commit(t, a, 1, received("stepped"), cachesync.Committed)
		commit(t, a, 1, ledger.Op{Kind: ledger.Stepped, MessageID: "stepped", Step: "s2", Payload: []byte("changed")}, cachesync.Committed)
		commit(t, a, 1, received("producing"), cachesync.Committed)
		commit(t, a, 1, ledger.Op{Kind: ledger.Producing, MessageID: "producing"}, cachesync.Committed)
		commit(t, a, 1, received("held"), cachesync.Committed)
		commit(t, a, 1, ledger.Op{Kind: ledger.Producing, MessageID: "held"}, cachesync.Committed)
		commit(t, a, 1, ledger.Op{Kind: ledger.Held, MessageID: "held", Reason: "why"}, cachesync.Committed)
		commit(t, a, 1, received("gone"), cachesync.Committed)
		commit(t, a, 1, ledger.Op{Kind: ledger.Done, MessageID: "gone"}, cachesync.Committed)
		b = net.start("b")
		net.cut("a", "b") // it gets nothing of that
		net.kill(a)
		lead(t, b, 2)
		// What b never got it has not, but it was told of these two by their source.
		for _, id := range []string{"old-done", "old"} {
			commit(t, b, 2, received(id), cachesync.Committed)
		}
		commit(t, b, 2, ledger.Op{Kind: ledger.Done, MessageID: "old-done"}, cachesync.Committed)
		taken := adoptions(t, b)
		net.heal()
		a = net.start("a")
		time.Sleep(time.Second)
		got := taken()
		// b lost its table, so the seal of term 1 is nothing: all that a holds is news to b, but for what b has.
		want := []string{"held", "new", "old-done", "producing", "stepped"}
		if !slices.Equal(ids(got), want) {
			t.Fatalf("taken over %v, want %v", ids(got), want)
		}
		for _, e := range got {
			switch e.MessageID {
			case "new":
				if e.State != ledger.StateReceived || e.Step != "" || e.PossibleDuplicate || string(e.Payload) != "payload of new" || e.WorkflowID != "w" {
					t.Errorf("%+v", e)
				}
			case "stepped":
				if e.State != ledger.StateReceived || e.Step != "s2" || string(e.Payload) != "changed" {
					t.Errorf("%+v", e)
				}
			case "producing":
				if e.State != ledger.StateProducing || !e.PossibleDuplicate {
					t.Errorf("%+v", e)
				}
			case "held":
				if e.State != ledger.StateHeld || e.Reason != "why" || !e.PossibleDuplicate {
					t.Errorf("%+v", e)
				}
			}
		}
		if s := a.State(); !s.InSync || s.Position != b.State().Position {
			t.Errorf("a says %+v, b %+v", s, b.State())
		}
	})
}

// Nothing at or below the seal is ever offered: a message that was finished long ago stays finished.
func TestNothingBelowTheSealIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, func(c *cachesync.Config) { c.Limits.DedupeCount = 0 })
		defer net.stop()
		net.disks["a"] = newDisk()
		a, b := net.start("a"), net.start("b")
		lead(t, a, 1)
		commit(t, a, 1, received("m"), cachesync.Committed)
		commit(t, a, 1, received("n"), cachesync.Committed)
		net.cut("a", "b")
		time.Sleep(3 * time.Second)
		commit(t, a, 1, ledger.Op{Kind: ledger.Producing, MessageID: "n"}, cachesync.Committed) // alone
		commit(t, a, 1, received("alone"), cachesync.Committed)
		net.kill(a)
		lead(t, b, 2)
		taken := adoptions(t, b)
		commit(t, b, 2, ledger.Op{Kind: ledger.Done, MessageID: "m"}, cachesync.Committed)
		commit(t, b, 2, ledger.Op{Kind: ledger.Done, MessageID: "n"}, cachesync.Committed)
		net.heal()
		net.start("a")
		time.Sleep(time.Second)
		if got := ids(taken()); !slices.Equal(got, []string{"alone"}) {
			t.Errorf("taken over %v", got)
		}
		if got := ids(b.Table().Entries); !slices.Equal(got, []string{"alone"}) {
			t.Errorf("in flight are %v", got)
		}
	})
}

// Two masters in a partition: the one of the lower term hands over what it took in alone.
func TestLoserOfAPartitionHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		a, b, c := net.start("a"), net.start("b"), net.start("c")
		lead(t, a, 1)
		net.cut("a", "b")
		net.cut("a", "c")
		time.Sleep(3 * time.Second)
		commit(t, a, 1, received("of a"), cachesync.Committed)
		lead(t, b, 2)
		commit(t, b, 2, received("of b"), cachesync.Committed)
		net.heal()
		time.Sleep(3 * time.Second)
		for _, p := range []*node{a, b, c} {
			if got := ids(p.Table().Entries); !slices.Equal(got, []string{"of a", "of b"}) {
				t.Errorf("%s holds %v", p.id, got)
			}
		}
		// Nobody had asked, so the next master hears of it with the others.
		if got := ids(lead(t, c, 3).Entries); !slices.Equal(got, []string{"of a", "of b"}) {
			t.Errorf("c takes over %v", got)
		}
	})
}

// What a returning node brings may be more than the backlog holds.
func TestReturningNodeHandsOverMoreThanTheBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, func(c *cachesync.Config) { c.Backlog = 1000 })
		defer net.stop()
		net.disks["a"] = newDisk()
		a := net.start("a")
		lead(t, a, 1)
		const messages = 100
		for i := range messages {
			commit(t, a, 1, received(fmt.Sprint("m", i)), cachesync.Committed)
		}
		net.kill(a)
		b := net.start("b")
		lead(t, b, 2)
		taken := adoptions(t, b)
		a = net.start("a")
		time.Sleep(10 * time.Second)
		if got := len(taken()); got != messages {
			t.Fatalf("%d messages taken over, want %d", got, messages)
		}
		commit(t, b, 2, received("late"), cachesync.Committed)
		if s := a.State(); !s.InSync || s.Position != b.State().Position {
			t.Errorf("a says %+v, b %+v", s, b.State())
		}
	})
}
