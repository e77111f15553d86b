package profiler

import (
	"context"
	"errors"
	"slices"
)

// hookChain runs the hooks of several agents around one change.
//
// Before an init or a start the first veto ends it: the agents ahead of it, which have agreed and now wait for
// an After, get one that says so; those behind it hear nothing; and nobody calls the chain's After, because
// there was no change. A stop or a close cannot be prevented, so that everybody is asked, the vetoes are
// joined for the log, and After comes for all.
type hookChain []Hook

func (c hookChain) Before(ctx context.Context, at Joinpoint) error {
	var vetoes []error
	for i, hook := range c {
		err := hook.Before(ctx, at)
		if err == nil {
			continue
		}
		if at.Transition == TransitionInit || at.Transition == TransitionStart {
			c[:i].After(ctx, at, err)
			return err
		}
		vetoes = append(vetoes, err)
	}
	return errors.Join(vetoes...)
}

func (c hookChain) After(ctx context.Context, at Joinpoint, failure error) {
	for _, hook := range slices.Backward(c) {
		hook.After(ctx, at, failure)
	}
}

// sinkChain gives a step to several agents.
type sinkChain []Sink

func (c sinkChain) Record(event StepEvent) {
	for _, sink := range c {
		sink.Record(event)
	}
}
