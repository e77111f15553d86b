package adapter_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/profiler"
)

// weaver hangs one hook and one sink onto everything that its filters let through.
type weaver struct {
	mu     sync.Mutex
	hook   bool
	steps  func(kind profiler.Kind) bool
	seen   []string
	events []profiler.StepEvent
	// veto and panics are joinpoints, as seen has them.
	veto, panics string
}

func (v *weaver) Lifecycle(profiler.Kind, string, string) profiler.Hook {
	if v.hook {
		return v
	}
	return nil
}

func (v *weaver) Steps(kind profiler.Kind, _, _ string) profiler.Sink {
	if v.steps != nil && v.steps(kind) {
		return v
	}
	return nil
}

func (v *weaver) note(when string, at profiler.Joinpoint, failure error) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	text := fmt.Sprintf("%s %s %s %s", when, at.Transition, at.Kind, at.Path)
	if failure != nil {
		text += " failed"
	}
	v.seen = append(v.seen, text)
	if text == v.panics {
		panic("hook")
	}
	return text
}

func (v *weaver) Before(_ context.Context, at profiler.Joinpoint) error {
	if v.note("before", at, nil) == v.veto {
		return errors.New("not now")
	}
	return nil
}

func (v *weaver) After(_ context.Context, at profiler.Joinpoint, failure error) {
	v.note("after", at, failure)
}

func (v *weaver) Record(e profiler.StepEvent) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.events = append(v.events, e)
	if v.panics == "sink" {
		panic("sink")
	}
}

func (w *world) weave(t *testing.T, text string, v *weaver) *adapter.Adapter {
	t.Helper()
	cfg, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	a, err := adapter.New(cfg, w.factory, v, nil, adapter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestHooksInOrder(t *testing.T) {
	w, v := newWorld(), &weaver{hook: true}
	a := w.weave(t, workflowText("services: [{id: up, do: x}]", "on-error: {out: {}}"), v)
	if err := a.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.seen = nil
	if err := a.Start(t.Context(), adapter.Run{Gate: w, Mirror: mirror{w}}); err != nil {
		t.Fatal(err)
	}
	const f = "orders/files"
	want := []string{
		"before start channel " + f, "before start workflow " + f + "/w",
		"before start producer " + f + "/w/on-error", "after start producer " + f + "/w/on-error",
		"before start producer " + f + "/w/producer", "after start producer " + f + "/w/producer",
		"before start service " + f + "/w/up", "after start service " + f + "/w/up",
		"before start consumer " + f + "/w/consumer", "after start consumer " + f + "/w/consumer",
		"after start workflow " + f + "/w", "after start channel " + f,
	}
	if !slices.Equal(v.seen, want) {
		t.Errorf("start: got\n\t%s", strings.Join(v.seen, "\n\t"))
	}
	v.seen = nil
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, s := range v.seen {
		if part, ok := strings.CutPrefix(s, "before stop "); ok {
			parts = append(parts, part[strings.LastIndex(part, "/")+1:])
		}
	}
	if got := strings.Join(parts, " "); got != "adapter orders files w consumer up producer on-error" {
		t.Errorf("stop: %s", got)
	}
	v.seen = nil
	for range 2 {
		if err := a.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Contains(v.seen, "before close adapter orders") || len(v.seen) != 14 {
		t.Errorf("close: got\n\t%s", strings.Join(v.seen, "\n\t"))
	}
	if got := []int{w.number("close consumer"), w.number("close up"), w.number("close files/w/producer")}; !slices.Equal(got, []int{1, 1, 1}) {
		t.Errorf("closed %v times", got)
	}
}

func TestVetoes(t *testing.T) {
	for _, veto := range []string{
		"before init channel orders/files", "before start workflow orders/files/w", "before start consumer orders/files/w/consumer",
		"before stop workflow orders/files/w", "before close channel orders/files",
	} {
		t.Run(veto, func(t *testing.T) {
			w, v := newWorld(), &weaver{hook: true, veto: veto}
			a := w.weave(t, workflowText(), v)
			err := a.Init(t.Context())
			if err == nil {
				err = a.Start(t.Context(), adapter.Run{Gate: w, Mirror: mirror{w}})
			}
			early := strings.Contains(veto, "init") || strings.Contains(veto, "start")
			if early != (err != nil) || early && !strings.Contains(err.Error(), "not now") {
				t.Errorf("got %v", err)
			}
			if w.has("receive") && early {
				t.Error("received")
			}
			stop(t, a)
			if w.number("open files/w/producer") > w.number("close files/w/producer") || w.number("close consumer") != 1 {
				t.Error(w.calls())
			}
		})
	}
}

func TestHookPanics(t *testing.T) {
	for _, when := range []string{"before init adapter orders", "after start workflow orders/files/w", "before stop consumer orders/files/w/consumer"} {
		w, v := newWorld(), &weaver{hook: true, panics: when}
		a := w.weave(t, workflowText(), v)
		if err := errors.Join(a.Init(t.Context()), a.Start(t.Context(), adapter.Run{Gate: w, Mirror: mirror{w}})); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		stop(t, a)
		if !slices.Contains(v.seen, when) {
			t.Errorf("%s: not seen", when)
		}
	}
}

func TestLogLines(t *testing.T) {
	w := newWorld()
	a := w.start(t, workflowText("pool: 2", "services: [{id: up, mapping: x}]"))
	stop(t, a)
	var lines []string
	for _, m := range regexp.MustCompile(`level=(\S+) msg="(\[.*?)"`).FindAllStringSubmatch(w.log.String(), -1) {
		lines = append(lines, m[1]+" "+m[2])
	}
	for _, want := range []string{
		"DEBUG-4 [ClosedState] Initialised [PoolingWorkflow(w)]",
		"DEBUG-4 [InitialisedState] Started [OutProducer(producer)]",
		"DEBUG-4 [InitialisedState] Started [MappingService(up)]",
		"DEBUG-4 [InitialisedState] Started [ListConsumer(consumer)]",
		"DEBUG-4 [InitialisedState] Started [PoolingWorkflow(w)]",
		"DEBUG-4 [InitialisedState] Started [Channel(files)]",
		"INFO [ClosedState] Started [Adapter(orders)]",
		"INFO [StartedState] Stopped [Adapter(orders)]",
		"DEBUG-4 [StoppedState] Closed [Channel(files)]",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q in\n\t%s", want, strings.Join(lines, "\n\t"))
		}
	}
}

func TestMisuse(t *testing.T) {
	w := newWorld()
	a := w.build(t, workflowText())
	run := adapter.Run{Gate: w, Mirror: mirror{w}}
	if err := a.Start(t.Context(), run); err == nil {
		t.Error("started before it was initialised")
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := a.Init(t.Context()); err != nil {
		t.Error(err)
	}
	if err := a.Init(t.Context()); err == nil {
		t.Error("initialised twice")
	}
	if err := a.Start(t.Context(), adapter.Run{}); err == nil {
		t.Error("started without a gate")
	}
	stop(t, a)
	stop(t, a)
	if err := a.Init(t.Context()); err == nil {
		t.Error("initialised after the close")
	}
	if w.number("close consumer") != 1 || w.has("open consumer") {
		t.Error(w.calls())
	}
}

// What was opened before a failure is closed again.
func TestStartFails(t *testing.T) {
	for call, failure := range map[string]error{
		"open consumer": errors.New("no folder"), "open files/w/producer": errors.New("no folder"),
	} {
		w := newWorld()
		a := w.build(t, workflowText("on-error: {out: {}}"))
		if err := a.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.fail[call] = []error{failure}
		if err := a.Start(t.Context(), adapter.Run{Gate: w, Mirror: mirror{w}}); !errors.Is(err, failure) {
			t.Errorf("%s: %v", call, err)
		}
		if !w.has("close files/w/on-error") || w.has("receive") {
			t.Errorf("%s: %v", call, w.calls())
		}
		if s := a.Status(); s.State == adapter.StateStarted {
			t.Errorf("%s: status %+v", call, s)
		}
		stop(t, a)
	}
}

func TestGateShutBeforeStart(t *testing.T) {
	w := newWorld()
	a := w.build(t, workflowText())
	if err := a.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.shutGate()
	if err := a.Start(t.Context(), adapter.Run{Gate: w, Mirror: mirror{w}}); !errors.Is(err, adapter.ErrGateShut) {
		t.Errorf("got %v", err)
	}
	if w.has("receive") {
		t.Error("received")
	}
	stop(t, a)
}

func TestBuildFails(t *testing.T) {
	w := newWorld()
	w.factory.broken = "orders/files/w/consumer"
	cfg, err := load(t, workflowText("services: [{id: up, do: x}]"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = adapter.New(cfg, w.factory, nil, nil, adapter.Options{}); err == nil || !strings.Contains(err.Error(), "orders/files/w/consumer: cannot be built") {
		t.Errorf("got %v", err)
	}
	if !w.has("close up") || !w.has("close files/w/producer") {
		t.Error(w.calls())
	}
}

func TestCheck(t *testing.T) {
	w := newWorld()
	var seen []string
	w.factory.check = func(spec adapter.Spec) []error {
		seen = append(seen, fmt.Sprintf("%s %s %s:%d", spec.Kind, spec.Path, spec.Type, spec.Node.Content[0].Line))
		if spec.Type == "bang" {
			panic("bang")
		}
		if len(spec.Node.Content) != 2 {
			t.Errorf("%s has %d nodes", spec.Path, len(spec.Node.Content))
		}
		return []error{errors.New(spec.Type + " is wrong")}
	}
	cfg, err := load(t, workflowText("services: [{id: up, do: x, checkpoint: false}, {bang: {}}]", "on-error: {bad: {}}"))
	if err != nil {
		t.Fatal(err)
	}
	err = adapter.Check(cfg, w.factory)
	want := []string{
		"consumer orders/files/w/consumer list:9", "service orders/files/w/up do:7", "service orders/files/w/service-2 bang:7",
		"producer orders/files/w/producer out:10", "producer orders/files/w/on-error bad:8",
	}
	if !slices.Equal(seen, want) {
		t.Errorf("checked %q", seen)
	}
	if err == nil || strings.Count(err.Error(), "is wrong") != 4 || !strings.Contains(err.Error(), "panicked: bang") {
		t.Errorf("got %v", err)
	}
}
