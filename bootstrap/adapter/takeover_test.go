package adapter_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
)

func entry(id string, state adapter.EntryState, step, text string) adapter.Entry {
	return adapter.Entry{MessageID: id, Workflow: "w", State: state, Step: step, Payload: encode(text)}
}

func TestTakeover(t *testing.T) {
	stray := entry("a", adapter.EntryReceived, "", "a")
	stray.Workflow = "gone"
	garbled := entry("a", adapter.EntryReceived, "", "a")
	garbled.Payload = []byte("{")
	before := entry("a", adapter.EntryReceived, "up", "A")
	before.PossibleDuplicate = true
	tests := map[string]struct {
		settings []string
		entry    adapter.Entry
		want     []string
		held     uint64
		strays   uint64
	}{
		"received": {
			entry: entry("a", adapter.EntryReceived, "", "a"),
			want: []string{
				"process up a", "mirror stepped a up unchanged wait", "process same a", "mirror stepped a same unchanged",
				"mirror producing a", "produce files/w/producer a as a", "mirror done a",
			},
		},
		"after a step": {
			entry: entry("a", adapter.EntryReceived, "up", "A"),
			want: []string{
				"process same A", "mirror stepped a same unchanged", "mirror producing a", "produce files/w/producer A as a", "mirror done a",
			},
		},
		"producing": {
			entry: entry("a", adapter.EntryProducing, "same", "A"),
			want:  []string{"produce files/w/producer A as a possible-duplicate=true", "mirror done a"},
		},
		"producing in an earlier term": {
			entry: before,
			want: []string{
				"process same A", "mirror stepped a same unchanged", "mirror producing a",
				"produce files/w/producer A as a possible-duplicate=true", "mirror done a",
			},
		},
		"already held":     {entry: entry("a", adapter.EntryHeld, "", "a"), held: 1},
		"policy drop":      {settings: []string{"on-takeover: drop"}, entry: entry("a", adapter.EntryReceived, "", "a"), want: []string{"mirror done a"}},
		"policy hold":      {settings: []string{"on-takeover: hold"}, entry: entry("a", adapter.EntryProducing, "", "a"), want: []string{"mirror held a"}, held: 1},
		"unknown step":     {entry: entry("a", adapter.EntryReceived, "old", "a"), want: []string{"mirror held a"}, held: 1},
		"unknown workflow": {entry: stray, want: []string{"mirror held a"}, strays: 1},
		"cannot be decoded": {
			entry: garbled, want: []string{"mirror held a"}, held: 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			scenario(t, func(t *testing.T, w *world) {
				close(w.source().input)
				a := w.start(t, workflowText(append(test.settings, twoServices)...), test.entry)
				<-a.Done()
				w.expect(t, test.want...)
				s := a.Status()
				if s.Workflows[0].Held != test.held || s.Strays != test.strays {
					t.Errorf("status %+v", s)
				}
				stop(t, a)
			})
		})
	}
}

// The source delivers what was in flight again, and the message goes on where the mirror has it.
func TestTakeoverWithSource(t *testing.T) {
	inFlight := entry("a", adapter.EntryReceived, "up", "A")
	goesOn := []string{
		"process same A", "mirror stepped a same unchanged", "mirror producing a", "produce files/w/producer A as a", "mirror done a", "settle a ok",
	}
	t.Run("delivered", func(t *testing.T) {
		scenario(t, func(t *testing.T, w *world) {
			w.source().redelivers = true
			a := w.start(t, workflowText(twoServices), inFlight)
			time.Sleep(time.Second)
			w.source().put("a")
			synctest.Wait()
			w.expect(t, goesOn...)
			stop(t, a)
		})
	})
	t.Run("not within the time, then after all", func(t *testing.T) {
		scenario(t, func(t *testing.T, w *world) {
			w.source().redelivers = true
			inFlight.State = adapter.EntryProducing
			a := w.start(t, workflowText("services: [{id: up, do: x}]"), inFlight)
			time.Sleep(29 * time.Second)
			w.expect(t)
			time.Sleep(2 * time.Second)
			w.expect(t, "mirror held a")
			if held := a.Status().Workflows[0].Held; held != 1 {
				t.Errorf("held %d", held)
			}
			w.source().put("a")
			synctest.Wait()
			w.expect(t, "mirror held a", "mirror producing a", "produce files/w/producer A as a possible-duplicate=true", "mirror done a", "settle a ok")
			if held := a.Status().Workflows[0].Held; held != 0 {
				t.Errorf("held %d", held)
			}
			stop(t, a)
		})
	})
	t.Run("the source has offered everything", func(t *testing.T) {
		scenario(t, func(t *testing.T, w *world) {
			w.source().redelivers, w.source().rescanned = true, make(chan struct{})
			a := w.start(t, workflowText(twoServices), inFlight)
			time.Sleep(time.Hour)
			w.expect(t)
			close(w.source().rescanned)
			synctest.Wait()
			w.expect(t, "mirror held a")
			stop(t, a)
		})
	})
	t.Run("the source ends without it", func(t *testing.T) {
		scenario(t, func(t *testing.T, w *world) {
			w.source().redelivers = true
			close(w.source().input)
			a := w.start(t, workflowText(twoServices), inFlight)
			<-a.Done()
			w.expect(t, "mirror held a")
			stop(t, a)
		})
	})
	t.Run("stopped while waiting", func(t *testing.T) {
		scenario(t, func(t *testing.T, w *world) {
			w.source().redelivers = true
			a := w.start(t, workflowText(twoServices), inFlight)
			stop(t, a)
			w.expect(t)
		})
	})
	t.Run("acknowledged early, so not awaited", func(t *testing.T) {
		scenario(t, func(t *testing.T, w *world) {
			w.source().redelivers = true
			w.factory.idempotent["files/w/producer"] = true
			a := w.start(t, workflowText("acknowledge: early"), entry("a", adapter.EntryReceived, "", "a"))
			synctest.Wait()
			w.expect(t, "produce files/w/producer a as a", "mirror done a")
			stop(t, a)
		})
	})
	t.Run("held, and delivered", func(t *testing.T) {
		scenario(t, func(t *testing.T, w *world) {
			w.source().redelivers = true
			w.source().put("a")
			a := w.start(t, workflowText(twoServices), entry("a", adapter.EntryHeld, "", "a"))
			time.Sleep(time.Hour)
			w.expect(t)
			stop(t, a)
			w.expect(t, "settle a stopping")
		})
	})
	t.Run("awaited, delivered and garbled", func(t *testing.T) {
		scenario(t, func(t *testing.T, w *world) {
			w.source().redelivers = true
			w.source().put("a")
			garbled := entry("a", adapter.EntryReceived, "", "a")
			garbled.Payload = []byte("[]")
			a := w.start(t, workflowText(twoServices), garbled)
			synctest.Wait()
			w.expect(t, "mirror held a")
			stop(t, a)
			w.expect(t, "mirror held a", "settle a stopping")
		})
	})
}

// Replays come in the order of reception, and before any new input, where the order is kept.
func TestReplaysKeepTheOrder(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.factory.idempotent["files/w/producer"] = true
		first, second := entry("a", adapter.EntryReceived, "", "a"), entry("b", adapter.EntryReceived, "", "b")
		first.Received, second.Received = time.Unix(1, 0), time.Unix(2, 0)
		w.source().put("c")
		a := w.start(t, workflowText(), second, first)
		synctest.Wait()
		w.expect(t, "produce files/w/producer a as a", "mirror done a", "produce files/w/producer b as b", "mirror done b",
			"mirror received c", "produce files/w/producer c as c", "mirror done c", "settle c ok")
		if s := a.Status().Workflows[0]; s.Resumed != 2 || s.Received != 1 || s.Produced != 3 {
			t.Errorf("status %+v", s)
		}
		stop(t, a)
	})
}

// A replay that fails is tried again until it works: nobody else has the message.
func TestReplayIsNeverLost(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		tries := 0
		w.factory.services = map[string]serviceFunc{"up": func(_ context.Context, b *batch) ([]adapter.Batch, error) {
			if tries++; tries < 20 {
				panic("not yet")
			}
			return []adapter.Batch{b}, nil
		}}
		a := w.start(t, workflowText("services: [{id: up, do: x}]"), entry("a", adapter.EntryReceived, "", "a"))
		time.Sleep(time.Minute)
		s := a.Status().Workflows[0]
		if s.Failed != 1 || s.InFlight != 1 || s.LastError != "up: panicked: not yet" {
			t.Errorf("status %+v", s)
		}
		time.Sleep(time.Hour)
		if w.number("mirror done a") != 1 || tries != 20 {
			t.Errorf("after %d tries: %v", tries, w.calls())
		}
		stop(t, a)
	})
}

// A message that is delivered while its replay is under way waits, and is found done.
func TestDeliveryDuringReplay(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.factory.idempotent["files/w/producer"] = true
		goOn := make(chan struct{})
		w.factory.services = map[string]serviceFunc{"up": func(_ context.Context, b *batch) ([]adapter.Batch, error) {
			<-goOn
			return []adapter.Batch{b}, nil
		}}
		w.source().put("a")
		a := w.start(t, workflowText("pool: 2", "services: [{id: up, do: x}]"), entry("a", adapter.EntryReceived, "", "a"))
		synctest.Wait()
		w.expect(t, "process up a")
		close(goOn)
		synctest.Wait()
		w.expect(t, "process up a", "mirror stepped a up unchanged", "produce files/w/producer a as a", "mirror done a",
			"mirror received a", "settle a ok")
		if d := a.Status().Workflows[0].Duplicates; d != 1 {
			t.Errorf("%d duplicates", d)
		}
		stop(t, a)
	})
}

// The mirror refuses to be written while the adapter starts: it does not start.
func TestTakeoverFails(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		a := w.build(t, workflowText("on-takeover: hold"))
		if err := a.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.fail["mirror held a"] = []error{adapter.ErrNotLeading}
		err := a.Start(t.Context(), adapter.Run{Gate: w, Mirror: mirror{w}, InFlight: []adapter.Entry{entry("a", adapter.EntryReceived, "", "a")}})
		if err == nil || w.has("open consumer") {
			t.Errorf("started: %v %v", err, w.calls())
		}
		stop(t, a)
	})
}

// A produce that failed may have arrived. The message goes back to its source, and is marked when it comes again,
// here or on the node that leads next.
func TestFailedProduceIsMarkedLater(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.source().redelivers, w.source().again = true, true
		w.factory.services = map[string]serviceFunc{"up": upper}
		w.fail["produce files/w/producer A as a"] = []error{errors.New("timeout")}
		w.source().put("a")
		a := w.start(t, workflowText("retries: 0", "services: [{id: up, do: x}]"))
		time.Sleep(time.Minute)
		w.expect(t, "mirror received a", "process up a", "mirror stepped a up changed", "mirror producing a", "produce files/w/producer A as a",
			"settle a failed", "produce files/w/producer A as a possible-duplicate=true", "mirror done a", "settle a ok")
		stop(t, a)
	})
}

// With a source that names no messages there is nothing to mark.
func TestFailedProduceIsReleased(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.fail["produce files/w/producer a as a"] = []error{errors.New("timeout")}
		w.source().put("a")
		a := w.start(t, workflowText("retries: 0"))
		time.Sleep(time.Minute)
		w.expect(t, "mirror received a", "mirror producing a", "produce files/w/producer a as a", "mirror released a", "settle a failed")
		stop(t, a)
	})
}

// A request whose node has died is replayed, and its answer has nobody to go to. That must not keep a worker for ever; but
// a producer that answers what is no request is a fault of the file.
func TestAnswerToNobody(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		lost := fmt.Errorf("sync_response: %w", adapter.ErrNobodyWaits)
		w.plan("produce files/w/producer a as a", lost)
		w.plan("produce files/w/producer b as b", lost, lost)
		w.plan("produce files/w/producer b as b possible-duplicate=true", lost)
		source := w.source()
		a := w.start(t, workflowText("retries: 0"), entry("a", adapter.EntryReceived, "", "a"))
		source.put("b")
		synctest.Wait()
		if !w.done["a"] || !strings.Contains(w.logged(), "its answer has nobody to go to") {
			t.Errorf("%v\n%s", w.calls(), w.logged())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if w.done["b"] || w.number("settle b failed") != 1 {
			t.Error(w.calls())
		}
		stop(t, a)
	})
}
