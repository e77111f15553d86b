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
	adapter *Adapter
	gate    Gate
	mirror  Mirror
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
	// afterwards is what the takeover has left for when the workflows work; they do when started. Guarded by the
	// adapter's lifecycle lock, and catchUp's alone once they work.
	afterwards []func()
	started    bool

	// working are the loops, restarting what brings them back after a failure. Both only grow under the adapter's
	// lifecycle lock, or from a loop, while receiving has not ended.
	working, restarting sync.WaitGroup

	mu sync.Mutex
	// loops are those at work, by the ids of their workflows. Guarded by mu, as all below.
	loops map[string]*loop
	// parked are deliveries of held messages, which nobody may take up now.
	parked []*message
	// leftovers are messages of workflows that were stopped, which only the mirror has.
	leftovers map[string][]Entry
	ended     bool
}

func newRun(a *Adapter, with Run) *run {
	r := &run{
		adapter: a, gate: with.Gate, mirror: with.Mirror, failed: a.options.Failed, codec: a.codec, options: a.options,
		loops: map[string]*loop{}, leftovers: map[string][]Entry{},
	}
	r.ctx, r.cancel = context.WithCancelCause(with.Gate.Context())
	r.receiving, r.stopReceiving = context.WithCancel(r.ctx)
	return r
}

// prepare makes the loop of a workflow that has been built, which does not work yet.
func (r *run) prepare(u *unit) *loop {
	l := &loop{
		run: r, unit: u, workflow: u.workflow, injected: make(chan job), fed: make(chan struct{}), finished: make(chan struct{}),
	}
	l.ctx, l.cancel = context.WithCancelCause(r.ctx)
	l.receiving, l.stopReceiving = context.WithCancel(l.ctx)
	context.AfterFunc(r.receiving, l.stopReceiving)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loops[u.cfg.ID] = l
	return l
}

// catchUp does what the takeover has put off, until receiving ends.
func (r *run) catchUp() {
	for _, do := range r.afterwards {
		if r.receiving.Err() != nil {
			return
		}
		do()
	}
	r.afterwards = nil
}

// launch lets a loop work, with what was left when its workflow was stopped before.
func (r *run) launch(l *loop) {
	r.mu.Lock()
	left := r.leftovers[l.workflow.cfg.ID]
	delete(r.leftovers, l.workflow.cfg.ID)
	r.mu.Unlock()
	for _, e := range left {
		if r.flights.tryEnter(e.MessageID) == nil {
			l.replays = append(l.replays, e)
		}
	}
	r.working.Go(l.work)
}

// withdraw forgets a loop that works no more, or never has.
func (r *run) withdraw(l *loop) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loops[l.workflow.cfg.ID] == l {
		delete(r.loops, l.workflow.cfg.ID)
	}
	l.cancel(nil)
}

// loop returns the workflow with this id, or nil if it does not work.
func (r *run) loop(id string) *loop {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loops[id]
}

// checkEnd closes the adapter's done if all workflows have come to the end of their input. After the call of
// stopReceiving, and after the gate was shut, messages may have been left.
func (r *run) checkEnd() {
	units := r.adapter.units()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended || r.receiving.Err() != nil {
		return
	}
	for _, u := range units {
		l := r.loops[u.cfg.ID]
		if l == nil || !l.hasEnded() {
			return
		}
	}
	r.ended = true
	close(r.adapter.done)
}

// drain ends the run: politely until ctx ends, then firmly. Its error means that goroutines are left.
func (r *run) drain(ctx context.Context, grace time.Duration) error {
	r.stopReceiving()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		r.working.Wait()
		r.restarting.Wait()
	}()
	select {
	case <-finished:
	case <-ctx.Done():
	}
	r.cancel(ErrStopping)
	firm := time.NewTimer(grace)
	defer firm.Stop()
	select {
	case <-finished:
	case <-firm.C:
		return stuck(grace, r.unfinished())
	}
	ctx, cancel := extended(ctx, grace)
	defer cancel()
	r.settleParked(ctx, "", r.halted())
	return nil
}

// stuck is the error of components that do not give up.
func stuck(grace time.Duration, workflows []string) error {
	return fmt.Errorf("a component did not give up %s after it was cancelled, in workflow %s: end the process",
		grace, strings.Join(workflows, ", "))
}

// unfinished are the workflows that work still.
func (r *run) unfinished() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []string
	for id, l := range r.loops {
		select {
		case <-l.finished:
		default:
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// settleParked gives the deliveries of held messages back, of one workflow or, with "", of all.
func (r *run) settleParked(ctx context.Context, workflow string, why error) {
	r.mu.Lock()
	var mine []*message
	r.parked = slices.DeleteFunc(r.parked, func(m *message) bool {
		if workflow != "" && m.workflow != workflow {
			return false
		}
		mine = append(mine, m)
		return true
	})
	r.mu.Unlock()
	for _, m := range mine {
		_ = m.end(ctx, why)
	}
}

// leave keeps a message that only the mirror has for the next start of its workflow in this run.
func (r *run) leave(e Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leftovers[e.Workflow] = append(r.leftovers[e.Workflow], e)
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

// write changes the mirror for no workflow in particular.
func (r *run) write(ctx context.Context, log *slog.Logger, id, change string, op func(context.Context) error) error {
	return write(ctx, r.halted, log, id, change, op)
}

// write changes the mirror, again and again until it is done. It returns an errLeft if that may not or cannot
// be: the mirror of a term is written only while the gate of that term is open.
func write(
	ctx context.Context, halted func() error, log *slog.Logger, id, change string, op func(context.Context) error,
) error {
	for wait := newBackOff(); ; {
		if err := halted(); err != nil {
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
		if err := halted(); err != nil {
			return err
		}
		log.Warn("the mirror could not be written, trying again", "message-id", id, "change", change, "error", err)
		if !sleep(ctx, wait.NextBackOff()) {
			if err := halted(); err != nil {
				return err
			}
			return left(context.Cause(ctx))
		}
	}
}

// backOff gives the pauses between the attempts of one step.
func (r *Retry) backOff() *backoff.ExponentialBackOff {
	return growing(r.Delay, r.Factor, r.MaxDelay)
}

// newBackOff gives the pauses after failures: from 100 ms doubling up to 30 s.
func newBackOff() *backoff.ExponentialBackOff {
	return growing(100*time.Millisecond, 2, 30*time.Second)
}

// growing gives pauses from first to longest, each factor times as long as the one before, and half as long again or
// short, so that nodes and workers do not keep in step.
func growing(first time.Duration, factor float64, longest time.Duration) *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: first, Multiplier: factor, RandomizationFactor: 0.5, MaxInterval: longest}
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
