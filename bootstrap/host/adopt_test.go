package host_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/host"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// adoptingMirror takes what a returning node held.
type adoptingMirror struct {
	*fakeMirror
	adopted chan []contract.Entry
	// hangUp ends a watch with an error.
	hangUp chan error
}

func (m *adoptingMirror) Adopted(ctx context.Context, taken func([]contract.Entry)) error {
	m.diary.note("adopted asked")
	for {
		select {
		case entries := <-m.adopted:
			taken(entries)
		case err := <-m.hangUp:
			return err
		case <-ctx.Done():
			m.diary.note("adopted ended")
			return ctx.Err()
		}
	}
}

// takingWorkload takes messages up while it runs.
type takingWorkload struct {
	*fakeWorkload
	err error
	// slow: it decides about nothing before its context ends.
	slow bool
}

func (w *takingWorkload) TakeUp(ctx context.Context, entries []adapter.Entry) error {
	for _, e := range entries {
		w.diary.note("take up %s of %s %s %s %v", e.MessageID, e.Workflow, e.Payload, e.Step, e.PossibleDuplicate)
	}
	if w.slow {
		<-ctx.Done()
		return ctx.Err()
	}
	return w.err
}

// onWarning passes warnings on.
type onWarning struct {
	slog.Handler
	diary *diary
}

func (h onWarning) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn && strings.Contains(r.Message, "returning node") {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "error" {
				h.diary.note("warning: %v", a.Value)
			}
			return true
		})
	}
	return nil
}
func (onWarning) Enabled(context.Context, slog.Level) bool { return true }
func (h onWarning) WithAttrs([]slog.Attr) slog.Handler     { return h }

func adoptingStage(t *testing.T) (*stage, *adoptingMirror, *takingWorkload) {
	t.Helper()
	var taker *takingWorkload
	s := setStage(t, true, func(w *fakeWorkload) (host.Workload, error) {
		if taker == nil {
			taker = &takingWorkload{fakeWorkload: w}
		}
		return taker, nil
	}, func(s *stage, opt *host.Options) { opt.Log = slog.New(onWarning{slog.DiscardHandler, s.diary}) })
	m := &adoptingMirror{fakeMirror: s.mirror, adopted: make(chan []contract.Entry), hangUp: make(chan error)}
	s.node.MirrorUp(m)
	synctest.Wait()
	return s, m, taker
}

// expectEnd expects the end of a mastership, and that the watch of returning nodes ends before the mirror is let go.
func (s *stage) expectEnd(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	got := s.take()
	ended := slices.Index(got, "adopted ended")
	if ended < 0 || ended > slices.Index(got, "follow") {
		t.Errorf("happened: %q", got)
		return
	}
	if got = slices.Delete(got, ended, ended+1); !slices.Equal(got, want) {
		t.Errorf("happened: %q, want %q", got, want)
	}
}

// One node has come back with messages that nobody else got: the running workload takes them up, as often as some
// come, and for as long as the mastership lasts.
func TestNodeTakesUpWhatAReturningNodeHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m, _ := adoptingStage(t)
		s.expect(t)
		s.failover.promote(term7)
		s.expect(t, "lead 7:a", "start term=7:a in-flight=1", "adopted asked")
		m.adopted <- []contract.Entry{
			{MessageID: "x", WorkflowID: "w", State: contract.EntryProducing, Payload: []byte("p"), Step: "s", PossibleDuplicate: true},
			{MessageID: "h", WorkflowID: "w", State: contract.EntryHeld},
		}
		s.expect(t, "take up x of w p s true", "take up h of w   false")
		m.adopted <- nil // a plugin may say that there is nothing
		m.adopted <- []contract.Entry{{MessageID: "y", WorkflowID: "w", State: contract.EntryReceived}}
		s.expect(t, "take up y of w   false")

		s.reported()
		s.failover.become(contract.RoleReport{Role: contract.RoleStandby, MasterID: "b"})
		s.expectEnd(t, "stop gate-open=false", "follow", "resign 7:a")
		if changes := s.reported(); len(changes) != 1 || !slices.Equal(changes[0].Ended.Unfinished, []string{"m1", "x", "y"}) {
			t.Errorf("reported %+v", changes)
		}
		s.failover.promote(contract.Term{Number: 9, Node: "a"})
		s.expect(t, "lead 9:a", "start term=9:a in-flight=1", "adopted asked")
		s.end(t)
		s.expectEnd(t, "stop gate-open=true", "follow", "resign 9:a")
	})
}

func TestNodeAsksAgainWhenTheWatchOfReturningNodesEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m, taker := adoptingStage(t)
		s.failover.promote(term7)
		s.expect(t, "lead 7:a", "start term=7:a in-flight=1", "adopted asked")
		m.hangUp <- errors.New("connection lost")
		s.expect(t)
		time.Sleep(time.Second)
		s.expect(t, "adopted asked")
		taker.err = errors.New("no such workflow")
		m.adopted <- []contract.Entry{{MessageID: "x", WorkflowID: "gone"}}
		s.expect(t, "take up x of gone   false", "warning: no such workflow")
		taker.err = nil
		m.adopted <- []contract.Entry{{MessageID: "y", WorkflowID: "w"}}
		s.expect(t, "take up y of w   false")
		if st := s.node.Status(); st.Phase != host.PhaseRunning || !st.GateOpen {
			t.Errorf("phase %q, gate open %v", st.Phase, st.GateOpen)
		}
		m.hangUp <- fmt.Errorf("cachesync: %w", contract.ErrNotServed)
		time.Sleep(time.Hour)
		s.expect(t)
		s.end(t)
	})
}

// The end of the mastership does not wait for a decision.
func TestNodeStopsWhileItTakesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m, taker := adoptingStage(t)
		s.failover.promote(term7)
		synctest.Wait()
		s.take()
		taker.slow = true
		m.adopted <- []contract.Entry{{MessageID: "x", WorkflowID: "w"}}
		s.expect(t, "take up x of w   false")
		s.failover.become(contract.RoleReport{Role: contract.RoleStandby, MasterID: "b"})
		synctest.Wait()
		if got := s.take(); !slices.Contains(got, "resign 7:a") || !slices.Contains(got, "warning: context canceled") {
			t.Errorf("happened: %q", got)
		}
		s.end(t)
	})
}

// A mirror that does not adopt, and a workload that cannot take up, are no fault.
func TestNodeWithoutAdoption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true)
		m := &adoptingMirror{fakeMirror: s.mirror, adopted: make(chan []contract.Entry), hangUp: make(chan error)}
		s.node.MirrorUp(m)
		s.failover.promote(term7)
		s.expect(t, "lead 7:a", "start term=7:a in-flight=1")
		s.end(t)
	})
}
