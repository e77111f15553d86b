package adapter_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// failing is a service that fails until it is mended.
type failing struct{ mended bool }

func (f *failing) process(ctx context.Context, b *batch) ([]adapter.Batch, error) {
	if f.mended {
		return upper(ctx, b)
	}
	return mark(ctx, b)
}

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

// A message that went through a service is stored as it was received, and tried again from the start.
func TestRetryFailed(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.failed = newFailedStore(w)
		second := &failing{}
		w.factory.services = map[string]serviceFunc{"first": upper, "bad": second.process}
		d := w.source().delivery("a")
		d.Batch.SetMeta("colour", "red")
		w.source().input <- d
		a := w.start(t, workflowText("on-error: store", "services: [{id: first, do: x}, {id: bad, do: x}]"))
		synctest.Wait()

		list, err := a.FailedMessages(t.Context())
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		if m := list[0]; m.MessageID != "a" || m.Workflow != "w" || m.Channel != "files" || m.ErrorStep != "bad" || m.Error != "bad content" ||
			m.Attempts != 1 || m.Step != "" || m.Held || !m.Mirrored || m.Term != "7:n1" || m.Payload != nil || m.PossibleDuplicate {
			t.Errorf("%+v", m)
		}
		if m, err := a.FailedMessage(t.Context(), "a"); err != nil || !strings.Contains(string(m.Payload), `"Text":"a"`) || !strings.Contains(string(m.Payload), "red") {
			t.Errorf("%s, %v", m.Payload, err)
		}
		outcome, err := a.RetryFailed(t.Context(), "a")
		if err != nil || outcome.State != adapter.RetryFailedAgain || outcome.Error != "bad: bad content" {
			t.Errorf("%+v, %v", outcome, err)
		}
		if m := w.failed.items["a"]; m.Attempts != 2 {
			t.Errorf("%+v", m)
		}
		// While it waits, its source delivers it again, because the acknowledgement has not arrived.
		w.source().put("a")
		synctest.Wait()
		if w.number("settle a ok") != 2 || w.number("process first a") != 2 {
			t.Error(w.calls())
		}
		second.mended = true
		outcome, err = a.RetryFailed(t.Context(), "a")
		if err != nil || outcome.State != adapter.RetryDone {
			t.Errorf("%+v, %v", outcome, err)
		}
		if !w.done["a"] || len(w.failed.items) != 0 || !w.has("produce files/w/producer A as a") || w.number("process first a") != 3 {
			t.Error(w.calls())
		}
		if s := a.Status().Workflows[0]; s.Stored != 0 || s.InFlight != 0 || s.Produced != 1 {
			t.Errorf("%+v", s)
		}
		if _, err := a.RetryFailed(t.Context(), "a"); !errors.Is(err, adapter.ErrNoSuchFailed) {
			t.Error(err)
		}
		stop(t, a)
		if _, err := a.RetryFailed(t.Context(), "a"); !errors.Is(err, adapter.ErrNotRunning) {
			t.Error(err)
		}
	})
}

// Retry and drop after the input has come to its end, and of messages that do not go.
func TestRetryRefusesAndWaits(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.failed = newFailedStore(w)
		stile := newTurnstile()
		w.factory.services = map[string]serviceFunc{"slow": stile.pass}
		for id, f := range map[string]adapter.Failed{
			"stray": {Workflow: "gone"}, "old": {Workflow: "w", Step: "renamed"}, "good": {Workflow: "w"}, "dropped": {Workflow: "w"},
		} {
			f.MessageID, f.Payload = id, encode(id)
			w.failed.items[id] = f
		}
		close(w.source().input)
		a := w.start(t, workflowText("services: [{id: slow, do: x}]"))
		<-a.Done()
		for id, want := range map[string]string{
			"stray": `no workflow "gone": add it`, "old": `no service "renamed"`, "nobody": `no failed message has this id: "nobody"`,
		} {
			for range 2 { // the message is still there after the first refusal
				if _, err := a.RetryFailed(t.Context(), id); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want %q", id, err, want)
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if outcome, err := a.RetryFailed(ctx, "good"); err != nil || outcome.State != adapter.RetryUnderWay {
			t.Errorf("%+v, %v", outcome, err)
		}
		busy, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.RetryFailed(busy, "dropped"); err == nil || !strings.Contains(err.Error(), "workflow w is busy") {
			t.Error(err)
		}
		close(stile.open)
		synctest.Wait()
		if !w.done["good"] {
			t.Error(w.calls())
		}
		if err := a.DropFailed(t.Context(), "dropped"); err != nil || !w.done["dropped"] {
			t.Error(err)
		}
		if err := a.DropFailed(t.Context(), "dropped"); !errors.Is(err, adapter.ErrNoSuchFailed) {
			t.Error(err)
		}
		if err := a.DropFailed(t.Context(), "stray"); err != nil {
			t.Error(err)
		}
		if _, left := w.failed.items["old"]; !left || len(w.failed.items) != 1 {
			t.Errorf("left: %v", w.failed.items)
		}
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

// A message that is held can be tried again and dropped, too; its delivery, if there is one, ends with it.
func TestRetryHeld(t *testing.T) {
	for name, drop := range map[string]bool{"retry": false, "drop": true} {
		t.Run(name, func(t *testing.T) {
			scenario(t, func(t *testing.T, w *world) {
				w.source().redelivers = true
				a := w.start(t, workflowText("on-takeover: hold"), entry("a", adapter.EntryProducing, "", "a"))
				w.source().put("a")
				synctest.Wait()
				list, err := a.FailedMessages(t.Context())
				if err != nil || len(list) != 1 || !list[0].Held || list[0].Error != "on-takeover is hold" {
					t.Fatalf("%+v, %v", list, err)
				}
				if drop {
					err = a.DropFailed(t.Context(), "a")
				} else {
					var outcome adapter.Outcome
					outcome, err = a.RetryFailed(t.Context(), "a")
					if outcome.State != adapter.RetryDone || !w.has("produce files/w/producer a as a possible-duplicate=true") {
						t.Errorf("%+v %v", outcome, w.calls())
					}
				}
				if err != nil || !w.done["a"] || w.number("settle a ok") != 1 {
					t.Errorf("%v %v", err, w.calls())
				}
				if s := a.Status().Workflows[0]; s.Held != 0 {
					t.Errorf("%+v", s)
				}
				stop(t, a)
			})
		})
	}
}

// The gate shuts at each call of a retry: the message is in the mirror or in the store afterwards, in one as well as
// in the other if it had begun, and never nowhere.
func TestGateShutsDuringRetry(t *testing.T) {
	for at, more := 1, true; more; at++ {
		scenario(t, func(t *testing.T, w *world) {
			w.failed = newFailedStore(w)
			held := entry("a", adapter.EntryHeld, "", "a")
			held.Reason = "failed: up: bad"
			w.failed.items["a"] = adapter.Failed{MessageID: "a", Workflow: "w", Payload: encode("a"), Attempts: 1}
			a := w.start(t, workflowText(twoServices), held)
			synctest.Wait()
			w.mu.Lock()
			w.count, w.shutAt, w.quiet = 0, at, true
			w.mu.Unlock()
			outcome, err := a.RetryFailed(t.Context(), "a")
			_, mirrored := w.entries["a"]
			_, kept := w.failed.items["a"]
			if !w.done["a"] && (!mirrored || !kept) {
				t.Errorf("shut before call %d: mirror %t, store %t: %+v %v", at, mirrored, kept, outcome, err)
			}
			if outcome.State == adapter.RetryDone != w.done["a"] {
				t.Errorf("shut before call %d: %+v %v", at, outcome, err)
			}
			more = w.shut
			stop(t, a)
		})
	}
}

func TestRetryOfServices(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		tries := 0
		w.factory.services = map[string]serviceFunc{"up": upper, "flaky": func(ctx context.Context, b *batch) ([]adapter.Batch, error) {
			if tries++; tries < 4 {
				b.Text += " spoilt"
				return mark(ctx, b)
			}
			return []adapter.Batch{b}, nil
		}}
		w.source().put("a")
		close(w.source().input)
		began := time.Now()
		a := w.start(t, workflowText("retry: {max: 3, delay: 10s, max-delay: 15s, factor: 10, steps: all}", "services: [{id: up, do: x}, {id: flaky, do: x}]"))
		<-a.Done()
		// Each try has the message as the step before has left it.
		if w.number("process flaky A") != 4 || w.number("process up a") != 1 || !w.done["a"] {
			t.Error(w.calls())
		}
		if took := time.Since(began); took < 20*time.Second || took > time.Minute {
			t.Errorf("took %s", took)
		}
		stop(t, a)
	})
}

func TestStoreNeedsOne(t *testing.T) {
	w := newWorld()
	cfg, err := load(t, workflowText("on-error: store"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = adapter.New(cfg, w.factory, nil, nil, adapter.Options{})
	if err == nil || !strings.Contains(err.Error(), "orders/files/w: on-error: store: this node keeps no failed messages") {
		t.Error(err)
	}
}

func TestLoadRetry(t *testing.T) {
	cfg, err := load(t, workflowText("retry: {max: 7, delay: 1s, max-delay: 1m, factor: 1.5, steps: all}"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cfg.Channels[0].Workflows[0].Retry, (adapter.Retry{Max: 7, Delay: time.Second, MaxDelay: time.Minute, Factor: 1.5, Services: true}); got != want {
		t.Errorf("%+v", got)
	}
	tests := map[string]string{
		"retry: {max: -1}":                  `retry.max: "-1" is not allowed; want a whole number from 0 to 1000`,
		"retry: {delay: 5}":                 `retry.delay: "5" is not allowed; want a duration`,
		"retry: {delay: 1m, max-delay: 1s}": `retry.max-delay: 1s is shorter than delay, which is 1m0s`,
		"retry: {factor: 0.5}":              `retry.factor: "0.5" is not allowed; want a number from 1 to 100`,
		"retry: {factor: NaN}":              `retry.factor: "NaN" is not allowed`,
		"retry: {steps: some}":              `retry.steps: "some" is not allowed; want one of producer, all`,
		"retry: {tries: 3}":                 `retry.tries: unknown key; want max, delay, max-delay, factor, steps`,
		"retry: 3":                          `retry: "3" is not allowed; want a mapping`,
		"on-error: shop":                    `on-error: "shop" is not allowed; want store (the failed-message store), or a producer`,
		"on-error: []":                      `on-error: a list is not allowed; want store`,
	}
	for setting, want := range tests {
		if _, err := load(t, workflowText(setting)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", setting, err, want)
		}
	}
	if _, err := load(t, workflowText("retries: 3", "retry: {max: 3}")); err == nil || !strings.Contains(err.Error(), "adapter.yaml:7: adapter.channels[0].workflows[0].retry: retries is the short form of retry.max, and both are set") {
		t.Error(err)
	}
	for text, want := range map[string]string{
		"{max-messages: 0}": `adapter.failed.max-messages: "0" is not allowed`,
		"{max-size: 1 MB}":  `adapter.failed.max-size: "1 MB" is not allowed; want a size above 0, say 4096, 64MiB or 1GiB`,
		"{max-size: []}":    `adapter.failed.max-size: a list is not allowed`,
	} {
		_, err := load(t, strings.Replace(workflowText(), "  channels:", fmt.Sprintf("  failed: %s\n  channels:", text), 1))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	cfg, err = load(t, strings.Replace(workflowText(), "  channels:", "  failed: {max-messages: 5, max-size: 3MiB}\n  channels:", 1))
	if err != nil || cfg.Failed != (adapter.FailedConfig{MaxMessages: 5, MaxBytes: 3 << 20}) {
		t.Errorf("%v, %v", cfg, err)
	}
	if !slices.Equal([]int{cfg.Channels[0].Workflows[0].Retry.Max}, []int{3}) {
		t.Errorf("default %+v", cfg.Channels[0].Workflows[0].Retry)
	}
}

// A step that has another name on this node: the message waits, the operator reads why, and gives the step its name
// back or drops the message.
func TestRenamedStep(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		a := w.start(t, workflowText("services: [{id: renamed, do: x}]"), entry("m", adapter.EntryReceived, "stamp", "m"))
		synctest.Wait()
		list, err := a.FailedMessages(t.Context())
		if err != nil || len(list) != 1 || !list[0].Held || list[0].Error != `the workflow has no service "stamp", which was the last to finish` {
			t.Errorf("%+v, %v", list, err)
		}
		if !strings.Contains(w.logged(), `a message in flight is held for an operator`) {
			t.Error(w.logged())
		}
		_, err = a.RetryFailed(t.Context(), "m")
		if err == nil || err.Error() != `workflow w has no service "stamp", after which the message would go on: give the service its id back, or drop the message` {
			t.Error(err)
		}
		if err := a.DropFailed(t.Context(), "m"); err != nil || !w.done["m"] {
			t.Error(err)
		}
		stop(t, a)
	})
}

// A retry that is cut off, because its workflow is stopped, can be made again; so can that of a held message whose
// delivery waits in the source.
func TestRetryIsCutOff(t *testing.T) {
	for name, delivered := range map[string]bool{"stored": false, "held, with its delivery": true} {
		t.Run(name, func(t *testing.T) {
			scenario(t, func(t *testing.T, w *world) {
				stile := newTurnstile()
				w.factory.services = map[string]serviceFunc{"slow": stile.pass}
				w.failed = newFailedStore(w)
				w.source().redelivers = true
				e := entry("a", adapter.EntryHeld, "", "a")
				if !delivered {
					e.Reason = "failed: slow: no"
				}
				a := w.start(t, workflowText("services: [{id: slow, do: x}]"), e)
				if delivered {
					w.source().put("a")
				}
				synctest.Wait()
				cut := make(chan adapter.Outcome)
				go func() {
					outcome, err := a.RetryFailed(t.Context(), "a")
					if err != nil {
						t.Error(err)
					}
					cut <- outcome
				}()
				<-stile.arrived
				if _, err := a.RetryFailed(t.Context(), "a"); !errors.Is(err, adapter.ErrNoSuchFailed) {
					t.Errorf("twice at one time: %v", err)
				}
				if _, err := a.StopWorkflows(within(t, time.Second), "w"); err != nil {
					t.Error(err)
				}
				if outcome := <-cut; outcome.State != adapter.RetryLeft {
					t.Errorf("%+v", outcome)
				}
				if s := a.Status().Workflows[0]; s.Stored+s.Held != 1 {
					t.Errorf("%+v", s)
				}
				if _, err := a.RetryFailed(t.Context(), "a"); err == nil || err.Error() != "workflow w does not run: start it, then try again" {
					t.Error(err)
				}
				close(stile.open)
				if _, err := a.StartWorkflows(within(t, time.Second), "w"); err != nil {
					t.Error(err)
				}
				if delivered {
					w.source().put("a") // it was given back when its workflow stopped
				}
				synctest.Wait()
				if outcome, err := a.RetryFailed(t.Context(), "a"); err != nil || outcome.State != adapter.RetryDone || !w.done["a"] {
					t.Errorf("%+v, %v", outcome, err)
				}
				if delivered && (w.number("settle a ok") != 1 || w.number("settle a failed") != 1) {
					t.Error(w.calls())
				}
				stop(t, a)
			})
		})
	}
}
