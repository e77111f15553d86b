package contract_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/plugins/contract/contracttest"
	"github.com/understudy-ha/understudy/profiler"
)

var start = profiler.Joinpoint{Kind: profiler.KindAdapter, ID: "orders", Path: "orders", Transition: profiler.TransitionStart}

func TestVetoIsToldFromFailure(t *testing.T) {
	answers := map[string]error{
		"allowed": nil,
		"vetoed":  &contract.VetoError{Reason: "no licence"},
		"plain":   errors.New("no licence"),
		"empty":   errors.New(""),
	}
	agent := contracttest.Pair(t, contract.Plugin{Name: "fake", Agent: &contracttest.Agent{
		OnBefore: func(_ context.Context, at profiler.Joinpoint) error { return answers[at.ID] },
	}}).Agent
	for id, answer := range answers {
		err := agent.Before(t.Context(), profiler.Joinpoint{ID: id, Path: id})
		var veto *contract.VetoError
		if errors.As(err, &veto) != (answer != nil) {
			t.Errorf("%s: %v", id, err)
		}
		if id != "allowed" && id != "empty" && (veto == nil || veto.Reason != "no licence") {
			t.Errorf("%s: %v, want the reason as it was", id, err)
		}
	}
}

// A gate that is waited for can be given up, and the plugin hears of it.
func TestBeforeEndsWithItsContext(t *testing.T) {
	waiting, given := make(chan struct{}), make(chan error, 1)
	agent := contracttest.Pair(t, contract.Plugin{Name: "fake", Agent: &contracttest.Agent{
		OnBefore: func(ctx context.Context, _ profiler.Joinpoint) error {
			close(waiting)
			<-ctx.Done()
			given <- ctx.Err()
			return ctx.Err()
		},
	}}).Agent
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-waiting
		cancel()
	}()
	err := agent.Before(ctx, start)
	var veto *contract.VetoError
	if !errors.Is(err, context.Canceled) || errors.As(err, &veto) {
		t.Errorf("the host was told %v", err)
	}
	if err := <-given; !errors.Is(err, context.Canceled) {
		t.Errorf("the plugin was told %v", err)
	}
}

func TestStepsArriveWhole(t *testing.T) {
	impl := &contracttest.Agent{Name: "fake"}
	agent := contracttest.Pair(t, contract.Plugin{Name: "fake", Agent: impl}).Agent
	var sent []profiler.StepEvent
	for batch := range 50 {
		var events []profiler.StepEvent
		// Longer and shorter ones in turn: the client fills the same message again and again.
		for i := range batch * 7 % 20 {
			events = append(events, profiler.StepEvent{
				MessageID: name(batch), StepName: "s", StepInstanceID: "i", WorkflowID: "w", StepType: profiler.KindService,
				Order: i, StartUnixNano: 1 << 60, DurationNanos: int64(batch), Failed: i%2 == 0,
			})
		}
		sent = append(sent, events...)
		if err := agent.Steps(t.Context(), events, uint64(batch)); err != nil {
			t.Fatal(err)
		}
	}
	// Shutdown waits for them.
	if err := agent.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := impl.Seen()
	if !reflect.DeepEqual(seen.Events, sent) {
		t.Errorf("%d events arrived, %d were sent", len(seen.Events), len(sent))
	}
	if seen.Dropped != 49 || !seen.Ended {
		t.Errorf("dropped %d, ended %v", seen.Dropped, seen.Ended)
	}
}

// moodyAgent refuses the batches with this count of drops, and says when.
type moodyAgent struct {
	contracttest.Agent
	refused chan struct{}
}

const unwanted = 7

func (a *moodyAgent) Steps(ctx context.Context, events []profiler.StepEvent, dropped uint64) error {
	if dropped == unwanted {
		defer close(a.refused)
		return errors.New("not these")
	}
	return a.Agent.Steps(ctx, events, dropped)
}

// A stream that broke is not the end of steps.
func TestStepsAfterTheStreamBroke(t *testing.T) {
	impl := &moodyAgent{refused: make(chan struct{})}
	agent := contracttest.Pair(t, contract.Plugin{Name: "fake", Agent: impl}).Agent
	event := []profiler.StepEvent{{MessageID: "m"}}
	if err := agent.Steps(t.Context(), event, unwanted); err != nil {
		t.Fatal(err)
	}
	<-impl.refused
	// The news may take a moment to arrive.
	for len(impl.Seen().Events) == 0 {
		if err := agent.Steps(t.Context(), event, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// A plugin that does not read holds nobody up for longer than they want.
func TestStepsCanBeGivenUp(t *testing.T) {
	release := make(chan struct{})
	agent := contracttest.Pair(t, contract.Plugin{Name: "fake", Agent: &slowAgent{release: release}}).Agent
	defer close(release)
	events := make([]profiler.StepEvent, 1000)
	for i := range events {
		events[i] = profiler.StepEvent{MessageID: strings.Repeat("m", 100)}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		for {
			if err := agent.Steps(ctx, events, 0); err != nil {
				ended <- err
				return
			}
		}
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

type slowAgent struct {
	contracttest.Agent
	release chan struct{}
}

func (a *slowAgent) Steps(context.Context, []profiler.StepEvent, uint64) error {
	<-a.release
	return nil
}
