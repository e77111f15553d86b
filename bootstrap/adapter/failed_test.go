package adapter_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
)

// failedStore is a fake adapter.FailedStore.
type failedStore struct {
	world *world
	items map[string]adapter.Failed
	// slow holds up each Put until it is closed; nil does not.
	slow chan struct{}
}

func newFailedStore(w *world) *failedStore {
	return &failedStore{world: w, items: map[string]adapter.Failed{}}
}

func (s *failedStore) Put(_ context.Context, f adapter.Failed) error {
	if err := s.world.call("store put %s", f.MessageID); err != nil {
		return err
	}
	if s.slow != nil {
		<-s.slow
	}
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	if old, found := s.items[f.MessageID]; found {
		f.Payload, f.Step = old.Payload, old.Step
	}
	s.items[f.MessageID] = f
	return nil
}

func (s *failedStore) Get(_ context.Context, id string) (adapter.Failed, error) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	f, found := s.items[id]
	if !found {
		return f, adapter.ErrNoSuchFailed
	}
	return f, nil
}

func (s *failedStore) List(context.Context) ([]adapter.Failed, error) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	var list []adapter.Failed
	for _, f := range s.items {
		f.Payload = nil
		list = append(list, f)
	}
	return list, nil
}

func (s *failedStore) Remove(_ context.Context, id string) error {
	if err := s.world.call("store remove %s", id); err != nil {
		return err
	}
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	delete(s.items, id)
	return nil
}

var errDisk = errors.New("no space left on device")

const badService = "services: [{id: same, do: x}, {id: bad, do: x}]"

func TestFailedMessagesAreStored(t *testing.T) {
	const before = "mirror received a|process same a|mirror stepped a same unchanged|process bad a|"
	tests := map[string]struct {
		settings   []string
		fail       map[string][]error
		idempotent bool
		want       string
		stored     int
	}{
		"in the store": {
			settings: []string{"on-error: store"},
			want:     "store put a|mirror held a|settle a ok", stored: 1,
		},
		"the disk is full: not acknowledged": {
			settings: []string{"on-error: store"},
			fail:     map[string][]error{"store put a": {errDisk}},
			want:     "store put a|mirror released a|settle a failed",
		},
		"on-error fails: in the store, not lost": {
			settings: []string{"on-error: {out: {}}", "retries: 0"}, idempotent: true,
			fail: map[string][]error{"produce files/w/on-error a as a error-step=bad error=bad content": {errors.New("down")}},
			want: "produce files/w/on-error a as a error-step=bad error=bad content|store put a|mirror held a|settle a ok", stored: 1,
		},
		"on-error fails and the disk is full": {
			settings: []string{"on-error: {out: {}}", "retries: 0"}, idempotent: true,
			fail: map[string][]error{
				"produce files/w/on-error a as a error-step=bad error=bad content": {errors.New("down")}, "store put a": {errDisk},
			},
			want: "produce files/w/on-error a as a error-step=bad error=bad content|store put a|mirror released a|settle a failed",
		},
		"nobody asked for the store": {want: "mirror released a|settle a failed"},
		"the mirror fails for a while": {
			settings: []string{"on-error: store"},
			fail:     map[string][]error{"mirror held a": {errors.New("later")}},
			want:     "store put a|mirror held a|mirror held a|settle a ok", stored: 1,
		},
		"without a mirror": {
			settings: []string{"on-error: store"},
			fail:     map[string][]error{"mirror held a": {adapter.ErrRefused}},
			want:     "store put a|mirror held a|mirror released a|settle a ok", stored: 1,
		},
		"the mirror has another writer: whoever leads replays it": {
			settings: []string{"on-error: store"},
			fail:     map[string][]error{"mirror held a": {adapter.ErrNotLeading}},
			want:     "store put a|mirror held a|settle a shut",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			scenario(t, func(t *testing.T, w *world) {
				w.failed, w.fail = newFailedStore(w), test.fail
				w.factory.services = map[string]serviceFunc{"bad": mark}
				w.factory.idempotent["files/w/on-error"] = test.idempotent
				w.source().put("a")
				close(w.source().input)
				a := w.start(t, workflowText(append(test.settings, badService)...))
				<-a.Done()
				w.expect(t, strings.Split(before+test.want, "|")...)
				if got := a.Status().Workflows[0].Stored; got != uint64(test.stored) {
					t.Errorf("status says %d, want %d", got, test.stored)
				}
				stop(t, a)
			})
		})
	}
}

// The chain of on-errors: the nearest first, the next one if it fails, the store last.
func TestOnErrorChain(t *testing.T) {
	const text = `
adapter:
  id: orders
  on-error: {out: {}}
  channels:
  - id: files
    on-error: {out: {}}
    workflows:
    - {id: w, retries: 0, consumer: {list: {}}, services: [{id: bad, do: x}], producer: {out: {}}, on-error: {out: {}}}
`
	scenario(t, func(t *testing.T, w *world) {
		w.failed = newFailedStore(w)
		w.factory.services = map[string]serviceFunc{"bad": mark}
		var want []string
		for _, path := range []string{"files/w/on-error", "files/on-error", "on-error"} {
			w.factory.idempotent[path] = true
			call := "produce " + path + " a as a error-step=bad error=bad content"
			w.fail[call] = []error{errors.New("down")}
			want = append(want, call)
		}
		w.source().put("a")
		close(w.source().input)
		a := w.start(t, text)
		<-a.Done()
		w.expect(t, append(append([]string{"mirror received a", "process bad a"}, want...), "store put a", "mirror held a", "settle a ok")...)
		stop(t, a)
	})
}

// What the next master makes of failed messages: those of the mirror come to its own store, and what its store has
// from an earlier term is compared with the mirror.
func TestTakeoverOfFailedMessages(t *testing.T) {
	failedEntry := entry("a", adapter.EntryHeld, "up", "A")
	failedEntry.Reason = "failed: down: no: connection"
	inFlight := entry("a", adapter.EntryReceived, "up", "A")
	mine := adapter.Failed{MessageID: "a", Workflow: "w", Payload: encode("a"), ErrorStep: "same", Error: "no", Attempts: 3}
	half := mine
	half.Step = "up"
	tests := map[string]struct {
		inFlight []adapter.Entry
		mine     *adapter.Failed
		done     bool
		fail     map[string][]error
		want     []string
		stored   uint64
		attempts int
		messages int
	}{
		"of another node": {
			inFlight: []adapter.Entry{failedEntry}, want: []string{"store put a"}, stored: 1, attempts: 1, messages: 1,
		},
		"of another node, and the disk is full": {
			inFlight: []adapter.Entry{failedEntry}, fail: map[string][]error{"store put a": {errDisk}},
			want: []string{"store put a"}, stored: 1, messages: 1,
		},
		"of this node": {inFlight: []adapter.Entry{failedEntry}, mine: &mine, stored: 1, attempts: 3, messages: 1},
		"of this node, tried again and in flight on another": {
			inFlight: []adapter.Entry{inFlight}, mine: &mine,
			want: []string{
				"store remove a", "process same A", "mirror stepped a same unchanged", "mirror producing a",
				"produce files/w/producer A as a", "mirror done a",
			},
		},
		"of this node, finished by another":    {mine: &mine, done: true, want: []string{"mirror received a", "store remove a"}},
		"of this node, the mirror has lost it": {mine: &mine, want: []string{"mirror received a", "mirror held a"}, stored: 1, attempts: 3, messages: 1},
		"of this node, half way": {
			mine: &half, want: []string{"mirror received a", "mirror stepped a up unchanged wait", "mirror held a"}, stored: 1, attempts: 3, messages: 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			scenario(t, func(t *testing.T, w *world) {
				w.failed, w.fail, w.done["a"] = newFailedStore(w), test.fail, test.done
				if test.mine != nil {
					w.failed.items["a"] = *test.mine
				}
				close(w.source().input)
				a := w.start(t, workflowText(twoServices), test.inFlight...)
				<-a.Done()
				synctest.Wait() // for what a takeover does not wait for
				w.expect(t, test.want...)
				if s := a.Status().Workflows[0]; s.Stored != test.stored || s.Held != 0 {
					t.Errorf("status %+v", s)
				}
				if got := w.failed.items["a"]; got.Attempts != test.attempts {
					t.Errorf("store has %+v", got)
				}
				list, err := a.FailedMessages(t.Context())
				if err != nil || len(list) != test.messages {
					t.Fatalf("list %+v, %v", list, err)
				}
				if test.messages == 0 {
					stop(t, a)
					return
				}
				if m := list[0]; m.Held || !m.Mirrored || m.Error != "no" && (m.ErrorStep != "down" || m.Error != "no: connection") {
					t.Errorf("%+v", m)
				}
				if outcome, err := a.RetryFailed(t.Context(), "a"); err != nil || outcome.State != adapter.RetryDone || !w.done["a"] {
					t.Errorf("retry: %+v, %v\n%v", outcome, err, w.calls())
				}
				stop(t, a)
			})
		})
	}
}

// A takeover does not wait for the disk, however many messages have failed; they can be tried again at once.
func TestTakeoverDoesNotWaitForTheStore(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.failed = newFailedStore(w)
		disk := make(chan struct{})
		w.failed.slow = disk
		var entries []adapter.Entry
		for i := range 100 {
			e := entry(fmt.Sprint("m", i), adapter.EntryHeld, "", fmt.Sprint("m", i))
			e.Reason = "failed: s: no"
			entries = append(entries, e)
		}
		source := w.source()
		a := w.start(t, workflowText(), entries...)
		source.put("new")
		synctest.Wait()
		if !w.done["new"] || len(w.failed.items) != 0 {
			t.Error(w.calls())
		}
		if outcome, err := a.RetryFailed(t.Context(), "m50"); err != nil || outcome.State != adapter.RetryDone || !w.done["m50"] {
			t.Errorf("%+v, %v", outcome, err)
		}
		retried := make(chan adapter.Outcome)
		go func() { // the one that is being written just now
			outcome, err := a.RetryFailed(t.Context(), "m0")
			if err != nil {
				t.Error(err)
			}
			retried <- outcome
		}()
		synctest.Wait()
		close(disk)
		if outcome := <-retried; outcome.State != adapter.RetryDone {
			t.Errorf("%+v", outcome)
		}
		synctest.Wait()
		if n := len(w.failed.items); n != 98 || a.Status().Workflows[0].Stored != 98 {
			t.Errorf("the store has %d, the status says %d", n, a.Status().Workflows[0].Stored)
		}
		stop(t, a)
	})
}
