package contracttest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/profiler"
)

func runAgent(t *testing.T, start func(t testing.TB) node) {
	t.Run("premain introduces it", func(t *testing.T) {
		n := start(t)
		manifest, err := n.Agent.Premain(within(t), n.premain(t))
		if err != nil {
			t.Fatal(err)
		}
		if manifest.Name == "" || manifest.Version == "" {
			t.Errorf("manifest without name or version: %+v", manifest)
		}
		kinds := []profiler.Kind{
			profiler.KindAdapter, profiler.KindChannel, profiler.KindWorkflow,
			profiler.KindConsumer, profiler.KindService, profiler.KindProducer,
		}
		for _, interest := range manifest.Interests {
			if !slices.Contains(kinds, interest.Kind) {
				t.Errorf("interest in an unknown kind: %+v", interest)
			}
		}
	})

	t.Run("before can be given up", func(t *testing.T) {
		n := premained(t, start)
		ctx, cancel := context.WithCancel(within(t))
		ended := make(chan error, 1)
		go func() {
			ended <- n.Agent.Before(ctx, profiler.Joinpoint{
				Kind: profiler.KindAdapter, ID: "a", Path: "a", Transition: profiler.TransitionStart,
			})
		}()
		cancel()
		// It may have been let through, or vetoed, before we gave up.
		var veto *contract.VetoError
		if err := <-ended; err != nil && !isContextError(err) && !errors.As(err, &veto) {
			t.Errorf("before gave %v", err)
		}
	})

	t.Run("after takes every ending", func(t *testing.T) {
		n := premained(t, start)
		for _, failure := range []error{nil, errors.New("it broke")} {
			at := profiler.Joinpoint{Kind: profiler.KindService, ID: "s", Path: "a/c/w/s", Transition: profiler.TransitionStop}
			if err := n.Agent.After(within(t), at, failure); err != nil {
				t.Errorf("after with %v: %v", failure, err)
			}
		}
	})

	t.Run("steps come in batches from anywhere", func(t *testing.T) {
		n := premained(t, start)
		var callers sync.WaitGroup
		for caller := range 4 {
			callers.Go(func() {
				for size := range 20 {
					if err := n.Agent.Steps(within(t), steps(strconv.Itoa(caller), size), uint64(size)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		callers.Wait()
		if err := n.Agent.Shutdown(within(t)); err != nil {
			t.Error(err)
		}
	})

	t.Run("shutdown without premain", func(t *testing.T) {
		if err := start(t).Agent.Shutdown(within(t)); err != nil {
			t.Error(err)
		}
	})
}

func premained(t testing.TB, start func(t testing.TB) node) node {
	t.Helper()
	n := start(t)
	if _, err := n.Agent.Premain(within(t), n.premain(t)); err != nil {
		t.Fatal(err)
	}
	return n
}

func steps(message string, n int) []profiler.StepEvent {
	events := make([]profiler.StepEvent, n)
	for i := range events {
		events[i] = profiler.StepEvent{
			MessageID: message, StepName: "stamp", StepInstanceID: "s-1", WorkflowID: "w",
			StepType: profiler.KindService, Order: i + 1, StartUnixNano: 1_700_000_000_000_000_000, DurationNanos: 1200,
		}
	}
	return events
}
