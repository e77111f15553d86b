package cachesync_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
)

func TestTakeoverTakesFromTheMostComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		a, b, c := net.start("a"), net.start("b"), net.start("c")
		lead(t, a, 1)
		net.cut("a", "c")
		told := begin(a, 1, received("m"))
		synctest.Wait()
		if c.State().Position == b.State().Position {
			t.Fatal("the cut does not cut")
		}
		net.kill(a) // before the lag timeout: c still counts
		if got := <-told; got.result != cachesync.NotLeading {
			t.Errorf("the open commit ended as %v", got.result)
		}
		taken := lead(t, c, 2)
		if taken.TakenFrom != "b" || len(taken.Entries) != 1 || net.pulls != 1 {
			t.Errorf("taken over %+v with %d pulls", taken, net.pulls)
		}
		if s := c.State(); s.InSyncStandbys != 1 {
			t.Errorf("b is not in sync: %+v", s)
		}
		if got, want := b.State().Position, c.State().Position; got != want {
			t.Errorf("b is at %v, c at %v", got, want)
		}
	})
}

func TestStandbyStaysInSyncForAWhileAfterItsMasterDied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		a, b := net.start("a"), net.start("b")
		lead(t, a, 1)
		synctest.Wait()
		net.kill(a)
		synctest.Wait()
		if !b.State().InSync {
			t.Error("the standby holds all that was committed and must say so")
		}
		time.Sleep(net.config.LagTimeout)
		if b.State().InSync {
			t.Error("after the lag timeout it cannot know any more")
		}
	})
}

func TestHigherTermEndsAnOldMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		a, b, c := net.start("a"), net.start("b"), net.start("c")
		lead(t, a, 1)
		commit(t, a, 1, received("m1"), cachesync.Committed)
		net.cut("a", "b")
		net.cut("a", "c")
		open := begin(a, 1, received("m2"))
		synctest.Wait()
		lead(t, b, 2)
		commit(t, b, 2, received("m3"), cachesync.Committed)
		net.heal()
		if got := <-open; got.result != cachesync.NotLeading || !errors.Is(got.err, cachesync.ErrNotLeading) {
			t.Errorf("the open commit of the old master ended as %v, %v", got.result, got.err)
		}
		if s := a.State(); s.Leading || s.RefusedBy != term(2, "b") {
			t.Errorf("the old master says %+v", s)
		}
		time.Sleep(time.Second)
		for _, p := range []*node{a, c} {
			if s := p.State(); !s.InSync || s.Position != b.State().Position {
				t.Errorf("%s says %+v", p.id, s)
			}
		}
		var refused *cachesync.RefusedError
		if _, err := a.Lead(t.Context(), term(1, "a")); !errors.As(err, &refused) || refused.Term != term(2, "b") {
			t.Errorf("leading the old term again: %v", err)
		}
		a.Follow()
		if s := a.State(); !s.RefusedBy.IsZero() {
			t.Errorf("after Follow the old master says %+v", s)
		}
	})
}

func TestDeadPeerCostsNoTimeAtTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		a, b := net.start("a"), net.start("b")
		net.start("c")
		lead(t, a, 1)
		net.kill(a)
		before := time.Now()
		lead(t, b, 2)
		if took := time.Since(before); took > 0 {
			t.Errorf("took %v", took)
		}
	})
}

func TestSilentPeerCostsTheSealTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		a, b := net.start("a"), net.start("b")
		lead(t, a, 1)
		net.cut("a", "b")
		before := time.Now()
		lead(t, b, 2)
		if took := time.Since(before); took != net.config.SealTimeout {
			t.Errorf("took %v", took)
		}
	})
}

func TestLeadRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		a := net.start("a")
		lead(t, a, 1)
		for _, bad := range []ledger.Term{{}, term(1, "a"), term(2, "b")} {
			if _, err := a.Lead(t.Context(), bad); err == nil {
				t.Errorf("term %v was led", bad)
			}
		}
		commit(t, a, 1, received("m"), cachesync.Committed)
		// A new writer on the same node takes over from itself.
		if taken := lead(t, a, 2); len(taken.Entries) != 1 || taken.Sealed.Term != term(1, "a") {
			t.Errorf("taken over %+v", taken)
		}
		net.stop()
		if _, err := a.Lead(t.Context(), term(3, "a")); !errors.Is(err, cachesync.ErrClosed) {
			t.Errorf("leading after the end: %v", err)
		}
		commit(t, a, 2, received("n"), cachesync.NotLeading)
	})
}

func TestLeadEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		a := net.start("a")
		net.start("b")
		net.cut("a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := a.Lead(ctx, term(1, "a")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		net.heal()
		lead(t, a, 1) // nothing was written in that term, so it can still be led
	})
}

func TestNobodyLeadsForAContextThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		a := net.start("a")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := a.Lead(ctx, term(1, "a")); !errors.Is(err, context.Canceled) {
			t.Errorf("it leads although nobody waits for it any more: %v", err)
		}
		if a.State().Leading {
			t.Error("it leads")
		}
	})
}

func TestAcceptRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		a := net.start("a")
		for name, hello := range map[string]cachesync.Hello{
			"no term":       {Node: "b"},
			"no node":       {Term: term(1, "b")},
			"own id":        {Node: "a", Term: term(1, "a")},
			"somebody else": {Node: "b", Term: term(1, "c")},
		} {
			var refused *cachesync.RefusedError
			if _, err := a.Accept(hello); !errors.As(err, &refused) || refused.Reason == "" {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
