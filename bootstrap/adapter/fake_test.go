package adapter_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is everything around an adapter: gate, mirror, sources and receivers. Its trace has every call of the
// engine in order; shutAt shuts the gate right before the call with that number.
type world struct {
	mu     sync.Mutex
	trace  []string
	count  int
	shutAt int
	shut   bool
	// quiet leaves out what the receiving goroutine does, so that the trace is that of one worker.
	quiet  bool
	ctx    context.Context
	cancel context.CancelFunc

	// fail has errors for calls, by their text in the trace; each is used once.
	fail map[string][]error
	done map[string]bool
	// entries is the mirror's table.
	entries map[string]adapter.Entry

	factory *factory
	// failed is the failed-message store; nil: there is none.
	failed *failedStore
	log    strings.Builder
}

func newWorld() *world {
	w := &world{fail: map[string][]error{}, done: map[string]bool{}, entries: map[string]adapter.Entry{}}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.factory = &factory{world: w, consumers: map[string]*consumer{}, services: map[string]serviceFunc{}, idempotent: map[string]bool{}}
	return w
}

// call notes a call of the engine, and returns the error that was planned for it.
func (w *world) call(format string, args ...any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	w.count++
	if w.count == w.shutAt {
		w.shut = true
		w.trace = append(w.trace, "SHUT")
		w.cancel()
	}
	w.trace = append(w.trace, text)
	if planned := w.fail[text]; len(planned) > 0 {
		w.fail[text] = planned[1:]
		return planned[0]
	}
	return nil
}

func (w *world) shutGate() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shut = true
	w.cancel()
}

// calls returns the trace without the gate's checks.
func (w *world) calls() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.trace), func(s string) bool { return s == "check" })
}

func (w *world) has(call string) bool { return slices.Contains(w.calls(), call) }

func (w *world) number(call string) (n int) {
	for _, c := range w.calls() {
		if c == call {
			n++
		}
	}
	return n
}

// logged returns the log.
func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// plan sets the failures of a call; nil for none of any.
func (w *world) plan(call string, failures ...error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail == nil || call == "" {
		w.fail = map[string][]error{}
	}
	w.fail[call] = failures
}

// Gate.

func (w *world) Check() error {
	if !w.quiet || !calledFrom("feed") {
		_ = w.call("check")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shut {
		return fmt.Errorf("%w: the test has shut it", adapter.ErrGateShut)
	}
	return nil
}
func (w *world) Context() context.Context { return w.ctx }
func (w *world) Term() string             { return "7:n1" }

// calledFrom reports whether a method of the engine with this name is on the stack.
func calledFrom(method string) bool {
	pcs := make([]uintptr, 20)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, ")."+method) {
			return true
		}
		if !more {
			return false
		}
	}
}

// mirror is the fake adapter.Mirror of a world.
type mirror struct{ *world }

func (m mirror) change(id string, planned error, apply func(*adapter.Entry)) error {
	if planned != nil {
		return planned
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shut {
		return adapter.ErrNotLeading
	}
	e, ok := m.entries[id]
	if !ok {
		return fmt.Errorf("%w: no entry %s", adapter.ErrRefused, id)
	}
	apply(&e)
	m.entries[id] = e
	return nil
}

func (m mirror) Receive(_ context.Context, e adapter.Entry) (bool, error) {
	if err := m.call("mirror received %s", e.MessageID); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shut {
		return false, adapter.ErrNotLeading
	}
	if m.done[e.MessageID] {
		return true, nil
	}
	m.entries[e.MessageID] = e
	return false, nil
}

func (m mirror) Step(_ context.Context, id, step string, payload []byte, wait bool) error {
	text := "unchanged"
	if payload != nil {
		text = "changed"
	}
	if wait {
		text += " wait"
	}
	planned := m.call("mirror stepped %s %s %s", id, step, text)
	return m.change(id, planned, func(e *adapter.Entry) {
		e.Step = step
		if payload != nil {
			e.Payload = payload
		}
	})
}

func (m mirror) Producing(_ context.Context, id string) error {
	return m.change(id, m.call("mirror producing %s", id), func(e *adapter.Entry) { e.State = adapter.EntryProducing })
}

func (m mirror) remove(id string, planned error, done bool) error {
	err := m.change(id, planned, func(*adapter.Entry) {})
	if err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.entries, id)
		m.done[id] = done
	}
	return err
}

func (m mirror) Done(_ context.Context, id string) error {
	return m.remove(id, m.call("mirror done %s", id), true)
}

func (m mirror) Release(_ context.Context, id string) error {
	return m.remove(id, m.call("mirror released %s", id), false)
}

func (m mirror) Hold(_ context.Context, id, reason string) error {
	return m.change(id, m.call("mirror held %s", id), func(e *adapter.Entry) { e.State, e.Reason = adapter.EntryHeld, reason })
}

// load writes text to a file and reads it as an adapter file.
func load(tb testing.TB, text string) (*adapter.Config, error) {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "adapter.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	cfg, err := adapter.Load(file)
	if err != nil {
		err = errors.New(strings.ReplaceAll(err.Error(), filepath.Dir(file)+"/", ""))
	}
	return cfg, err
}

// workflowText is an adapter file with one workflow, whose settings follow, one a line.
func workflowText(settings ...string) string {
	return "adapter:\n  id: orders\n  channels:\n  - id: files\n    workflows:\n    - id: w\n      " +
		strings.Join(append(settings, "consumer: {list: {}}", "producer: {out: {}}"), "\n      ") + "\n"
}

// build makes an adapter in the state Closed.
func (w *world) build(t *testing.T, text string) *adapter.Adapter {
	t.Helper()
	cfg, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&lockedWriter{w: w}, &slog.HandlerOptions{Level: adapter.LevelTrace}))
	a, err := adapter.New(cfg, w.factory, nil, log, w.options())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (w *world) options() adapter.Options {
	if w.failed == nil {
		return adapter.Options{}
	}
	return adapter.Options{Failed: w.failed}
}

type lockedWriter struct{ w *world }

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.log.Write(p)
}

// start makes an adapter and starts it; the trace begins with what the workflows do.
func (w *world) start(t *testing.T, text string, inFlight ...adapter.Entry) *adapter.Adapter {
	t.Helper()
	for _, e := range inFlight {
		w.entries[e.MessageID] = e
	}
	a := w.build(t, text)
	if err := a.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context(), adapter.Run{Gate: w, Mirror: mirror{w}, InFlight: inFlight}); err != nil {
		t.Fatal(err)
	}
	return a
}

// scenario runs do in a bubble with its own clock.
func scenario(t *testing.T, do func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { do(t, newWorld()) })
}

// source is the consumer of the one workflow of workflowText.
func (w *world) source() *consumer {
	const path = "orders/files/w/consumer"
	if w.factory.consumers[path] == nil {
		w.factory.consumers[path] = newConsumer(w)
	}
	return w.factory.consumers[path]
}

// stop stops and closes an adapter that has a second for it.
func stop(t *testing.T, a *adapter.Adapter) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := a.Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := a.Close(ctx); err != nil {
		t.Error(err)
	}
}

// expect compares the calls with what is wanted, apart from receive, open and close.
func (w *world) expect(t *testing.T, want ...string) {
	t.Helper()
	got := slices.DeleteFunc(w.calls(), func(s string) bool {
		return s == "receive" || strings.HasPrefix(s, "open ") || strings.HasPrefix(s, "close ")
	})
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
