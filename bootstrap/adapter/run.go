package adapter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// run is one mastership: what the workflows share while the adapter is started.
type run struct {
	gate   Gate
	mirror Mirror
	// failed is nil if this node keeps no failed messages.
	failed  FailedStore
	codec   Codec
	options Options
	// ctx ends when the gate shuts or the time to stop politely is over; receiving ends earlier, with the
	// call of stopReceiving.
	ctx           context.Context
	cancel        context.CancelCauseFunc
	receiving     context.Context
	stopReceiving context.CancelFunc

	flights  flights
	takeover takeover
	loops    []*loop
	// finished is closed when no goroutine of the loops is left.
	finished chan struct{}

	mu sync.Mutex
	// parked are deliveries of held messages, which nobody may take up now. Guarded by mu.
	parked []*message
}

func newRun(a *Adapter, with Run) *run {
	r := &run{
		gate: with.Gate, mirror: with.Mirror, failed: a.options.Failed, codec: a.codec, options: a.options,
		finished: make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancelCause(with.Gate.Context())
	r.receiving, r.stopReceiving = context.WithCancel(r.ctx)
	for _, w := range a.workflows {
		r.loops = append(r.loops, &loop{run: r, workflow: w, injected: make(chan job), fed: make(chan struct{})})
	}
	return r
}

// launch lets the workflows work. done is closed if all of them come to the end of their input.
func (r *run) launch(done chan<- struct{}) {
	var loops sync.WaitGroup
	for _, l := range r.loops {
		loops.Go(l.work)
	}
	go func() { // drain waits for it
		for _, l := range r.loops {
			<-l.fed
		}
		// After the call of stopReceiving, and after the gate was shut, messages may have been left.
		if r.receiving.Err() == nil && !slices.ContainsFunc(r.loops, func(l *loop) bool { return !l.endOfInput }) {
			close(done)
		}
		loops.Wait()
		close(r.finished)
	}()
}

// loop returns the workflow with this id, or nil.
func (r *run) loop(id string) *loop {
	for _, l := range r.loops {
		if l.workflow.cfg.ID == id {
			return l
		}
	}
	return nil
}

// drain ends the run: politely until ctx ends, then firmly. Its error means that goroutines are left.
func (r *run) drain(ctx context.Context, grace time.Duration) error {
	r.stopReceiving()
	select {
	case <-r.finished:
	case <-ctx.Done():
	}
	r.cancel(ErrStopping)
	firm := time.NewTimer(grace)
	defer firm.Stop()
	select {
	case <-r.finished:
	case <-firm.C:
		var stuck []string
		for _, l := range r.loops {
			if !l.finished.Load() {
				stuck = append(stuck, l.workflow.cfg.ID)
			}
		}
		return fmt.Errorf("a component did not give up %s after it was cancelled, in workflow %s: end the process",
			grace, strings.Join(stuck, ", "))
	}
	ctx, cancel := extended(ctx, grace)
	defer cancel()
	for _, m := range r.parked {
		_ = m.end(ctx, r.halted())
	}
	return nil
}

func (r *run) park(m *message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parked = append(r.parked, m)
}

// unpark returns how the delivery of a held message is settled, nil if there is none.
func (r *run) unpark(id string) func(context.Context, error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, m := range r.parked {
		if m.id == id {
			r.parked = slices.Delete(r.parked, i, i+1)
			return m.settle
		}
	}
	return nil
}

// errLeft marks that a message stays in the mirror as it is, for whoever leads next.
var errLeft = errors.New("left in the mirror")

func left(cause error) error { return fmt.Errorf("%w: %w", errLeft, cause) }

// halted returns why nothing may be done any more, as an errLeft, or nil.
func (r *run) halted() error {
	if err := r.gate.Check(); err != nil {
		return left(err)
	}
	if r.ctx.Err() == nil {
		return nil
	}
	if errors.Is(context.Cause(r.ctx), ErrStopping) {
		return left(ErrStopping)
	}
	return left(ErrGateShut)
}

// write changes the mirror, again and again until it is done. It returns an errLeft if that may not or cannot
// be: the mirror of a term is written only while the gate of that term is open.
func (r *run) write(ctx context.Context, log *slog.Logger, id, change string, op func(context.Context) error) error {
	for wait := newBackOff(); ; {
		if err := r.halted(); err != nil {
			return err
		}
		err := op(ctx)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrNotLeading):
			return left(err)
		case errors.Is(err, ErrRefused):
			log.Error("the mirror refused a change", "message-id", id, "change", change, "error", err)
			return left(err)
		}
		if halted := r.halted(); halted != nil {
			return halted
		}
		log.Warn("the mirror could not be written, trying again", "message-id", id, "change", change, "error", err)
		if !sleep(ctx, wait.NextBackOff()) {
			if err := r.halted(); err != nil {
				return err
			}
			return left(context.Cause(ctx))
		}
	}
}

// backOff gives the pauses between the attempts of one step.
func (r *Retry) backOff() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: r.Delay, Multiplier: r.Factor, RandomizationFactor: 0.5, MaxInterval: r.MaxDelay,
	}
}

// newBackOff gives the pauses after failures: from 100 ms doubling up to 30 s, each half as long again or
// short, so that nodes and workers do not keep in step.
func newBackOff() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: 100 * time.Millisecond, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: 30 * time.Second,
	}
}

// sleep returns false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
