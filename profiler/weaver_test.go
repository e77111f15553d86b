package profiler_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/understudy-ha/understudy/profiler"
)

// journal writes down what agents hear.
type journal struct{ lines []string }

func (j *journal) add(line string) { j.lines = append(j.lines, line) }

func (j *journal) check(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(j.lines, want) {
		t.Errorf("heard:\n  %s\nwant:\n  %s", strings.Join(j.lines, "\n  "), strings.Join(want, "\n  "))
	}
}

// recorder is a hook and a sink that can veto and panic.
type recorder struct {
	name    string
	journal *journal
	veto    error
	panics  bool
}

func (r *recorder) Before(_ context.Context, at profiler.Joinpoint) error {
	r.journal.add(r.name + " before " + at.Transition.String())
	if r.panics {
		panic("out of cheese")
	}
	return r.veto
}

func (r *recorder) After(_ context.Context, at profiler.Joinpoint, failure error) {
	line := r.name + " after " + at.Transition.String()
	if failure != nil {
		line += ": " + failure.Error()
	}
	r.journal.add(line)
	if r.panics {
		panic("out of cheese")
	}
}

func (r *recorder) Record(event profiler.StepEvent) {
	r.journal.add(r.name + " step " + event.StepName)
	if r.panics {
		panic("out of cheese")
	}
}

func (r *recorder) agent(interests ...profiler.Interest) profiler.WovenAgent {
	return profiler.WovenAgent{Name: r.name, Interests: interests, Hook: r, Sink: r}
}

func adapterAt(transition profiler.Transition) profiler.Joinpoint {
	return profiler.Joinpoint{Kind: profiler.KindAdapter, ID: "orders", Path: "orders", Transition: transition}
}

var (
	adapterLife  = profiler.Interest{Kind: profiler.KindAdapter, Lifecycle: true}
	serviceSteps = profiler.Interest{Kind: profiler.KindService, Steps: true}
)

func TestNobodyAsked(t *testing.T) {
	var j journal
	a := &recorder{name: "a", journal: &j}
	onlyAdapter, _, err := profiler.ParseWeave("aop.xml", strings.NewReader(`<aspectj><aspects><aspect name="adapter"/></aspects></aspectj>`))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		weaver *profiler.Weaver
	}{
		{"no agents", profiler.NewWeaver(profiler.DefaultWeave(), nil)},
		{"an agent without interests", profiler.NewWeaver(profiler.DefaultWeave(), []profiler.WovenAgent{a.agent()})},
		{"interest in another kind", profiler.NewWeaver(profiler.DefaultWeave(), []profiler.WovenAgent{
			a.agent(adapterLife, profiler.Interest{Kind: profiler.KindProducer, Steps: true, Lifecycle: true}),
		})},
		{"not in the weave file", profiler.NewWeaver(onlyAdapter, []profiler.WovenAgent{
			a.agent(profiler.Interest{Kind: profiler.KindService, Lifecycle: true, Steps: true}),
		})},
		{"an agent without hook and sink", profiler.NewWeaver(profiler.DefaultWeave(), []profiler.WovenAgent{
			{Name: "a", Interests: []profiler.Interest{{Kind: profiler.KindService, Lifecycle: true, Steps: true}}},
		})},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if hook := test.weaver.Lifecycle(profiler.KindService, "stamp", "mapping"); hook != nil {
				t.Errorf("a hook: %#v", hook)
			}
			if sink := test.weaver.Steps(profiler.KindService, "stamp", "mapping"); sink != nil {
				t.Errorf("a sink: %#v", sink)
			}
		})
	}
}

func TestLifecycleOrder(t *testing.T) {
	no := errors.New("not today")
	all := []string{
		"a before start", "b before start", "c before start",
		"c after start: it failed", "b after start: it failed", "a after start: it failed",
	}
	tests := []struct {
		name       string
		vetoes     string
		transition profiler.Transition
		want       []string
	}{
		{"all agree", "", profiler.TransitionStart, all},
		{"the first vetoes", "a", profiler.TransitionStart, []string{"a before start"}},
		{"the second vetoes", "b", profiler.TransitionInit, []string{
			"a before init", "b before init", "a after init: not today",
		}},
		{"the last vetoes", "c", profiler.TransitionStart, []string{
			"a before start", "b before start", "c before start", "b after start: not today", "a after start: not today",
		}},
		{"a stop asks all", "a", profiler.TransitionStop, []string{
			"a before stop", "b before stop", "c before stop",
		}},
		{"a close asks all", "ab", profiler.TransitionClose, []string{
			"a before close", "b before close", "c before close",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var j journal
			var agents []profiler.WovenAgent
			for _, name := range []string{"a", "b", "c"} {
				r := &recorder{name: name, journal: &j}
				if strings.Contains(test.vetoes, name) {
					r.veto = no
				}
				agents = append(agents, r.agent(adapterLife))
			}
			hook := profiler.NewWeaver(profiler.DefaultWeave(), agents).Lifecycle(profiler.KindAdapter, "orders", "")
			err := hook.Before(t.Context(), adapterAt(test.transition))
			if vetoed := test.vetoes != ""; errors.Is(err, no) != vetoed {
				t.Errorf("Before: %v", err)
			}
			if err == nil {
				hook.After(t.Context(), adapterAt(test.transition), errors.New("it failed"))
			}
			j.check(t, test.want...)
		})
	}
}

func TestPanics(t *testing.T) {
	for _, gate := range []bool{false, true} {
		var j journal
		var told []string
		bad := (&recorder{name: "bad", journal: &j, panics: true}).agent(adapterLife, serviceSteps)
		bad.Gate = gate
		bad.OnPanic = func(err error) {
			first, stack, _ := strings.Cut(err.Error(), "\n")
			if !strings.Contains(stack, "recorder") {
				t.Errorf("no stack: %v", err)
			}
			told = append(told, first)
		}
		good := (&recorder{name: "good", journal: &j}).agent(adapterLife, serviceSteps)
		weaver := profiler.NewWeaver(profiler.DefaultWeave(), []profiler.WovenAgent{bad, good})

		hook := weaver.Lifecycle(profiler.KindAdapter, "orders", "")
		err := hook.Before(t.Context(), adapterAt(profiler.TransitionStart))
		switch {
		case !gate && err != nil:
			t.Errorf("a panic stopped a change: %v", err)
		case gate && (err == nil || err.Error() != "agent bad: panic in Before: out of cheese"):
			t.Errorf("a panic opened the gate: %v", err)
		}
		hook.After(t.Context(), adapterAt(profiler.TransitionStart), nil)
		weaver.Steps(profiler.KindService, "stamp", "mapping").Record(profiler.StepEvent{StepName: "stamp"})

		want := []string{"bad before start", "good before start", "good after start", "bad after start", "bad step stamp", "good step stamp"}
		if gate {
			want = slices.Delete(want, 1, 2)
		}
		j.check(t, want...)
		wantTold := []string{
			"agent bad: panic in Before: out of cheese",
			"agent bad: panic in After: out of cheese",
			"agent bad: panic in Record: out of cheese",
		}
		if !slices.Equal(told, wantTold) {
			t.Errorf("told: %q", told)
		}
	}
}

func TestPanicThatNobodyHears(t *testing.T) {
	bad := &recorder{name: "bad", journal: &journal{}, panics: true}
	weaver := profiler.NewWeaver(profiler.DefaultWeave(), []profiler.WovenAgent{bad.agent(serviceSteps)})
	weaver.Steps(profiler.KindService, "stamp", "mapping").Record(profiler.StepEvent{})
}

func TestExporterIsTakenAsItIs(t *testing.T) {
	exporter := profiler.NewExporter(0)
	weaver := profiler.NewWeaver(profiler.DefaultWeave(), []profiler.WovenAgent{
		{Name: "metrics", Interests: []profiler.Interest{serviceSteps}, Sink: exporter},
	})
	if sink := weaver.Steps(profiler.KindService, "stamp", "mapping"); sink != profiler.Sink(exporter) {
		t.Errorf("the hot path has a detour: %T", sink)
	}
}

func TestDescribe(t *testing.T) {
	var j journal
	weave, _, err := profiler.ParseWeave("aop.xml", strings.NewReader(
		`<aspectj><aspects><aspect name="AdapterAspect"/><aspect name="ServiceAspect"/></aspects></aspectj>`))
	if err != nil {
		t.Fatal(err)
	}
	weaver := profiler.NewWeaver(weave, []profiler.WovenAgent{
		(&recorder{name: "failover", journal: &j}).agent(adapterLife),
		(&recorder{name: "metrics", journal: &j}).agent(serviceSteps, profiler.Interest{Kind: profiler.KindProducer, Steps: true}, adapterLife),
	})
	var lines []string
	for _, w := range weaver.Describe() {
		line := w.Kind.String()
		if w.Aspect {
			line += " woven"
		}
		lines = append(lines, line+" lifecycle="+strings.Join(w.Lifecycle, ",")+" steps="+strings.Join(w.Steps, ","))
	}
	want := []string{
		"adapter woven lifecycle=failover,metrics steps=",
		"channel lifecycle= steps=",
		"workflow lifecycle= steps=",
		"consumer lifecycle= steps=",
		"service woven lifecycle= steps=metrics",
		"producer lifecycle= steps=metrics",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("described:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

// countingSink is a sink that a benchmark can check.
type countingSink struct{ n atomic.Uint64 }

func (c *countingSink) Record(profiler.StepEvent) { c.n.Add(1) }

func TestStepsWithoutAllocation(t *testing.T) {
	sinks := []*countingSink{{}, {}}
	var agents []profiler.WovenAgent
	for _, sink := range sinks {
		agents = append(agents, profiler.WovenAgent{Name: "x", Interests: []profiler.Interest{serviceSteps}, Sink: sink})
	}
	steps := profiler.NewWeaver(profiler.DefaultWeave(), agents).Steps(profiler.KindService, "stamp", "mapping")
	event := stepEvent(1)
	if n := testing.AllocsPerRun(100, func() { steps.Record(event) }); n != 0 {
		t.Errorf("%v allocations per step", n)
	}
}
