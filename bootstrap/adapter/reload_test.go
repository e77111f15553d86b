package adapter_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
)

// reload reads an adapter file and changes over to it.
func (w *world) reload(t *testing.T, a *adapter.Adapter, text string, f adapter.Factory) (adapter.Change, []error, error) {
	t.Helper()
	cfg, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return a.Reload(within(t, time.Minute), cfg, f)
}

func since(calls, before []string) []string { return calls[len(before):] }

func TestReloadChangesOnlyWhatDiffers(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		one, two, three := w.sources()
		a := w.start(t, twoChannels)
		one.put("1")
		three.put("3")
		synctest.Wait()
		before := w.calls()

		// Comments, order of keys and lines do not count.
		same := "# a comment\n" + strings.Replace(twoChannels, "- {id: three, consumer: {list: {}}, producer: {out: {}}}",
			"- id: three\n      producer: {'out': {}}\n      consumer: {\"list\": {}}", 1)
		change, faults, err := w.reload(t, a, same, nil)
		if err != nil || faults != nil || !change.None() || !slices.Equal(change.Unchanged, []string{"one", "two", "three"}) || !slices.Equal(w.calls(), before) {
			t.Errorf("%+v, %v, %v\n%v", change, faults, err, since(w.calls(), before))
		}

		text := strings.Replace(twoChannels, "services: [{id: s2, do: x}]", "services: [{id: s2, do: y}]", 1) +
			"    - {id: four, consumer: {list: {}}, producer: {out: {}}}\n"
		text = strings.Replace(text, "    - {id: three, consumer: {list: {}}, producer: {out: {}}}\n", "", 1)
		cfg, err := load(t, text)
		if err != nil {
			t.Fatal(err)
		}
		want := adapter.Change{Unchanged: []string{"one"}, Changed: []string{"two"}, Added: []string{"four"}, Removed: []string{"three"}}
		if got := a.Compare(cfg); !reflect.DeepEqual(got, want) {
			t.Errorf("compare: %+v", got)
		}
		four := newConsumer(w)
		w.factory.consumers["orders/b/four/consumer"] = four
		change, faults, err = a.Reload(within(t, time.Minute), cfg, nil)
		if err != nil || faults != nil || !reflect.DeepEqual(change, want) {
			t.Errorf("%+v, %v, %v", change, faults, err)
		}
		calls := since(w.calls(), before)
		for _, call := range []string{"close s2", "close a/two/producer", "open a/two/producer", "close b/three/producer", "open b/four/producer"} {
			if n := count(calls, call); n != 1 {
				t.Errorf("%q %d times in %v", call, n, calls)
			}
		}
		for _, call := range []string{"close s1", "close a/one/producer", "open a/one/producer", "close a/on-error"} {
			if slices.Contains(calls, call) {
				t.Errorf("%q, but it does not differ", call)
			}
		}
		one.put("1b")
		two.put("2b")
		four.put("4b")
		synctest.Wait()
		if !w.done["1b"] || !w.done["2b"] || !w.done["4b"] {
			t.Error(w.calls())
		}
		if got := states(a); got != "one started, two started, four started" {
			t.Error(got)
		}
		if s := a.Status().Workflows[0]; s.Received != 2 {
			t.Errorf("counts: %+v", s)
		}
		stop(t, a)
		for _, path := range []string{"a/on-error", "a/one/producer", "a/two/producer", "b/four/producer", "b/three/producer"} {
			if opened, closed := w.number("open "+path), w.number("close "+path); opened != closed {
				t.Errorf("%s was opened %d times, closed %d", path, opened, closed)
			}
		}
	})
}

func count(calls []string, call string) (n int) {
	for _, c := range calls {
		if c == call {
			n++
		}
	}
	return n
}

// What a channel's workflows share changes them all, and what the adapter's share, too.
func TestReloadOfWhatIsShared(t *testing.T) {
	tests := map[string]struct {
		from, to string
		changed  []string
		factory  bool
	}{
		"on-error of a channel":       {"    on-error: {out: {}}", "    on-error: {out: {x: 1}}", []string{"one", "two"}, false},
		"no on-error any more":        {"    on-error: {out: {}}\n", "", []string{"one", "two"}, false},
		"on-error of the adapter":     {"  channels:\n", "  on-error: {out: {}}\n  channels:\n", []string{"one", "two", "three"}, false},
		"resources":                   {"  channels:\n", "  resources: {cache: 1}\n  channels:\n", []string{"one", "two", "three"}, true},
		"a workflow in another place": {"- id: b\n", "- id: c\n", []string{"three"}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			scenario(t, func(t *testing.T, w *world) {
				_, two, _ := w.sources()
				moved := newConsumer(w)
				w.factory.consumers["orders/c/three/consumer"] = moved
				a := w.start(t, twoChannels)
				text := strings.Replace(twoChannels, test.from, test.to, 1)
				var f adapter.Factory
				if test.factory {
					if _, _, err := w.reload(t, a, text, nil); err == nil || !strings.Contains(err.Error(), "resources differ, and need a factory of their own") {
						t.Error(err)
					}
					f = w.factory
				}
				change, faults, err := w.reload(t, a, text, f)
				if err != nil || faults != nil || !slices.Equal(change.Changed, test.changed) {
					t.Errorf("%+v, %v, %v", change, faults, err)
				}
				w.factory.services = map[string]serviceFunc{"s2": mark}
				two.put("m")
				synctest.Wait()
				if !w.done["m"] {
					t.Error(w.calls())
				}
				stop(t, a)
				for _, path := range []string{"a/on-error", "on-error", "a/one/producer", "b/three/producer", "c/three/producer"} {
					if opened, closed := w.number("open "+path), w.number("close "+path); opened != closed {
						t.Errorf("%s was opened %d times, closed %d: %v", path, opened, closed, w.calls())
					}
				}
			})
		})
	}
}

// What cannot be built changes nothing.
func TestReloadFails(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		one, _, _ := w.sources()
		a := w.start(t, twoChannels)
		synctest.Wait()
		before := w.calls()
		w.factory.broken = "orders/b/four/producer"
		_, _, err := w.reload(t, a, strings.Replace(twoChannels, "id: s1, do: x", "id: s1, do: y", 1)+
			"    - {id: four, consumer: {list: {}}, producer: {out: {}}}\n", nil)
		if err == nil || err.Error() != "nothing was changed: orders/b/four/producer: cannot be built" {
			t.Error(err)
		}
		for _, c := range since(w.calls(), before) {
			// What was built for nothing is closed again, without ever having been opened.
			if strings.HasPrefix(c, "open") {
				t.Errorf("%q", c)
			}
		}
		one.put("m")
		synctest.Wait()
		if !w.done["m"] || states(a) != "one started, two started, three started" {
			t.Error(states(a))
		}
		if _, _, err = w.reload(t, a, strings.Replace(twoChannels, "id: orders", "id: other", 1), nil); err == nil ||
			err.Error() != `adapter.id is "other", and was "orders": it is the name that the cluster knows the adapter by; restart to change it` {
			t.Error(err)
		}
		stop(t, a)
		if _, _, err = w.reload(t, a, twoChannels, nil); err == nil {
			t.Error("an adapter that has been stopped was reloaded")
		}
	})
}

// A workflow that does not start is tried again, while the others have changed over.
func TestReloadOfWhatDoesNotStart(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		_, _, three := w.sources()
		a := w.start(t, twoChannels)
		w.plan("open b/three/producer", errors.New("no route"), errors.New("no route"))
		text := strings.Replace(twoChannels, "- {id: three, ", "- {id: three, pool: 2, ", 1)
		change, faults, err := w.reload(t, a, text, nil)
		if err != nil || !slices.Equal(change.Changed, []string{"three"}) || len(faults) != 1 ||
			faults[0].Error() != "workflow three does not start, and is tried again: orders/b/three/producer: no route" {
			t.Errorf("%+v, %v, %v", change, faults, err)
		}
		if got := states(a); got != "one started, two started, three restarting" {
			t.Error(got)
		}
		three.put("m")
		time.Sleep(time.Minute)
		synctest.Wait()
		if !w.done["m"] || states(a) != "one started, two started, three started" {
			t.Error(states(a), w.calls())
		}
		stop(t, a)
	})
}

// What an operator has stopped stays so; what a removed workflow leaves unfinished waits for an operator.
func TestReloadKeepsWhatOperatorsAndMessagesNeed(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		_, two, _ := w.sources()
		stile := newTurnstile()
		w.factory.services = map[string]serviceFunc{"s2": stile.pass}
		a := w.start(t, twoChannels)
		two.put("early")
		synctest.Wait()
		if _, err := a.StopWorkflows(within(t, time.Second), "two"); err != nil {
			t.Error(err)
		}
		if _, faults, err := w.reload(t, a, strings.Replace(twoChannels, "id: two, ", "id: two, pool: 2, ", 1), nil); err != nil || faults != nil {
			t.Error(faults, err)
		}
		if got := states(a); got != "one started, two stopped, three started" {
			t.Error(got)
		}
		var kept []string
		for _, line := range strings.Split(twoChannels, "\n") {
			if !strings.Contains(line, "id: two") {
				kept = append(kept, line)
			}
		}
		change, faults, err := w.reload(t, a, strings.Join(kept, "\n"), nil)
		if err != nil || faults != nil || !slices.Equal(change.Removed, []string{"two"}) {
			t.Error(change, faults, err)
		}
		list, err := a.FailedMessages(t.Context())
		if err != nil || len(list) != 1 || list[0].MessageID != "early" || list[0].Error != `the workflow "two" was removed` || w.entries["early"].State != adapter.EntryHeld {
			t.Errorf("%+v, %v, %v", list, err, w.entries)
		}
		stop(t, a)
	})
}

// A standby changes over without opening anything.
func TestReloadOfAStandby(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		_, two, _ := w.sources()
		a := w.build(t, twoChannels)
		if err := a.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(strings.Replace(twoChannels, "id: two, ", "id: two, pool: 2, ", 1), "    on-error: {out: {}}", "    on-error: {out: {x: 1}}", 1)
		if change, faults, err := w.reload(t, a, text, nil); err != nil || faults != nil || len(change.Changed) != 2 {
			t.Error(change, faults, err)
		}
		if got := states(a); got != "one initialised, two initialised, three initialised" {
			t.Error(got)
		}
		for _, c := range w.calls() {
			if strings.HasPrefix(c, "open") {
				t.Errorf("a standby has called %q", c)
			}
		}
		if err := a.Start(t.Context(), adapter.Run{Gate: w, Mirror: mirror{w}}); err != nil {
			t.Fatal(err)
		}
		two.put("m")
		synctest.Wait()
		if !w.done["m"] {
			t.Error(w.calls())
		}
		stop(t, a)
	})
}

// The adapter is stopped while it changes over.
func TestStopDuringReload(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		one, _, _ := w.sources()
		stile := newTurnstile()
		w.factory.services = map[string]serviceFunc{"s1": stile.pass}
		a := w.start(t, twoChannels)
		one.put("m")
		<-stile.arrived
		cfg, err := load(t, strings.Replace(twoChannels, "id: s1, do: x", "id: s1, do: y", 1))
		if err != nil {
			t.Fatal(err)
		}
		reloaded := make(chan struct{})
		go func() {
			defer close(reloaded)
			_, _, _ = a.Reload(context.Background(), cfg, nil)
		}()
		time.Sleep(time.Second)
		stop(t, a)
		<-reloaded
		if _, mirrored := w.entries["m"]; !mirrored && !w.done["m"] {
			t.Errorf("lost: %v", w.calls())
		}
	})
}
