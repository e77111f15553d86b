package adapter_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
)

// Messages that only a returning node held come while the adapter runs.
func TestTakeUp(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		one, _, three := w.sources()
		w.failed = newFailedStore(w)
		three.redelivers = true
		a := w.start(t, twoChannels)
		if _, err := a.StopWorkflows(t.Context(), "two"); err != nil {
			t.Fatal(err)
		}
		at := func(id, workflow string, state adapter.EntryState, reason string) adapter.Entry {
			e := entry(id, state, "", id)
			e.Workflow, e.Reason = workflow, reason
			w.entries[id] = e
			return e
		}
		err := a.TakeUp(t.Context(), []adapter.Entry{
			at("replayed", "one", adapter.EntryProducing, ""), at("later", "two", adapter.EntryReceived, ""),
			at("awaited", "three", adapter.EntryReceived, ""), at("never", "three", adapter.EntryReceived, ""),
			at("failed", "one", adapter.EntryHeld, "failed: s1: no"), at("stray", "gone", adapter.EntryReceived, ""),
		})
		if err != nil {
			t.Error(err)
		}
		three.put("awaited")
		synctest.Wait()
		if !w.done["replayed"] || !w.has("produce a/one/producer replayed as replayed possible-duplicate=true") || !w.done["awaited"] || w.done["later"] {
			t.Error(w.calls())
		}
		if _, err := a.StartWorkflows(t.Context(), "two"); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if !w.done["later"] {
			t.Error(w.calls())
		}
		if _, kept := w.failed.items["failed"]; !kept {
			t.Errorf("this node's store has %v", w.failed.items)
		}
		list, err := a.FailedMessages(t.Context())
		var got []string
		for _, m := range list {
			got = append(got, m.MessageID+": "+m.Error)
		}
		if err != nil || len(got) != 3 || w.entries["never"].State != adapter.EntryHeld || w.entries["stray"].State != adapter.EntryHeld {
			t.Errorf("%q, %v", got, err)
		}
		one.put("replayed") // it is done
		synctest.Wait()
		if w.number("produce a/one/producer replayed as replayed possible-duplicate=true") != 1 {
			t.Error(w.calls())
		}
		stop(t, a)
		if err := a.TakeUp(t.Context(), nil); !errors.Is(err, adapter.ErrNotRunning) {
			t.Error(err)
		}
	})
}
