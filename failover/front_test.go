package failover_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/election"
)

// TestFrontIsALevel: who looks late sees the last state, a renewal wakes nobody, and who waits for the role gets it.
func TestFrontIsALevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		front := failover.NewFront("node")
		state, changed := front.State()
		if state.Role != election.Starting || state.Reason == "" {
			t.Errorf("before it runs: %+v", state)
		}
		waiting := make(chan error, 1)
		go func() { waiting <- front.AwaitMaster(t.Context()) }()

		front.Publish(failover.State{Role: election.Standby})
		<-changed
		_, changed = front.State()
		front.Publish(failover.State{Role: election.Standby, Valid: time.Second})
		select {
		case <-changed:
			t.Error("a renewal is announced as a change")
		default:
		}
		if state, _ := front.State(); state.Valid != time.Second {
			t.Errorf("the renewal is lost: %+v", state)
		}
		front.Publish(failover.State{Role: election.Candidate})
		front.Publish(failover.State{Role: election.Master})
		<-changed
		if state, _ := front.State(); state.Role != election.Master {
			t.Errorf("a slow watcher sees %+v", state)
		}
		if err := <-waiting; err != nil {
			t.Errorf("AwaitMaster: %v", err)
		}
	})
}

// TestFrontQueue: calls run on the goroutine of Run, one after the other, and nobody waits for a node that has ended.
func TestFrontQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		front := failover.NewFront("some node")
		if err := front.Begin(); err != nil {
			t.Fatal(err)
		}
		if err := front.Begin(); err == nil || !strings.Contains(err.Error(), "some node") {
			t.Errorf("a second Run: %v", err)
		}
		hasty, cancel := context.WithCancel(t.Context())
		cancel()
		if err := front.Do(hasty, func() { t.Error("a call that was given up has run") }); !errors.Is(err, context.Canceled) ||
			!strings.Contains(err.Error(), "some node") {
			t.Errorf("a call that was given up: %v", err)
		}
		go func() {
			for range 2 {
				(<-front.Calls())()
			}
			front.End()
		}()
		sum := 0 // Not guarded: the race detector sees whether Do waits.
		for range 2 {
			if err := front.Do(t.Context(), func() { sum++ }); err != nil {
				t.Error(err)
			}
		}
		if sum != 2 {
			t.Errorf("%d calls have run, want 2", sum)
		}
		<-front.Done()
		if err := front.Do(t.Context(), func() { t.Error("a call after the end has run") }); !errors.Is(err, failover.ErrStopped) {
			t.Errorf("a call after the end: %v", err)
		}
		if err := front.AwaitMaster(t.Context()); !errors.Is(err, failover.ErrStopped) {
			t.Errorf("AwaitMaster after the end: %v", err)
		}
	})
}

// TestQuiet: a warning is given once a minute, and again when its cause had gone; invented keys cost no memory without end.
func TestQuiet(t *testing.T) {
	var quiet failover.Quiet
	for i, test := range []struct {
		key  string
		now  time.Duration
		want bool
	}{
		{"a", 0, true}, {"a", 59 * time.Second, false}, {"b", 59 * time.Second, true}, {"a", time.Minute, true}, {"a", time.Minute, false},
	} {
		if got := quiet.First(test.key, test.now); got != test.want {
			t.Errorf("%d: %s at %v: %v, want %v", i, test.key, test.now, got, test.want)
		}
	}
	quiet.End("a")
	if !quiet.First("a", time.Minute) {
		t.Error("the return of a cause that had gone is not told")
	}
	for i := range 5000 {
		quiet.First("invented "+strings.Repeat("x", i), time.Minute)
	}
	if !quiet.First("a", time.Minute) {
		t.Error("invented keys are remembered without end")
	}
}
