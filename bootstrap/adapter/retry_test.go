package adapter_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
)

// failing is a service that fails until it is mended.
type failing struct{ mended bool }

func (f *failing) process(ctx context.Context, b *batch) ([]adapter.Batch, error) {
	if f.mended {
		return upper(ctx, b)
	}
	return mark(ctx, b)
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
