package adapter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// ErrNotRunning is returned by what only a node at work can do.
var ErrNotRunning = errors.New("the workflows do not run on this node: only the master's can be told what to do")

// RetryState is what has become of a message that was tried again.
type RetryState string

// The states.
const (
	// RetryDone: it came to its end.
	RetryDone RetryState = "done"
	// RetryDoneBefore: it had come to its end before, on another node; nothing was produced.
	RetryDoneBefore RetryState = "done before"
	// RetryOnError: it failed, and is with an on-error.
	RetryOnError RetryState = "with on-error"
	// RetryFailedAgain: it failed, and is where it was.
	RetryFailedAgain RetryState = "failed again"
	// RetryReturned: it failed, and its source has it.
	RetryReturned RetryState = "given back to its source"
	// RetryLeft: this node stopped to lead meanwhile; it is where it was, or in the mirror for whoever leads next.
	RetryLeft RetryState = "left"
	// RetryUnderWay: it is still under way.
	RetryUnderWay RetryState = "under way"
)

// Outcome is the end of a retry.
type Outcome struct {
	State RetryState
	// Error is why it failed, "" if it has not.
	Error string
}

// retry is the order to try a message again.
type retry struct {
	remnant remnant
	// stored: the store has the message; attempts is how often it has come there.
	stored   bool
	attempts int
	result   chan Outcome
}

// FailedMessage is a message that waits for an operator.
type FailedMessage struct {
	Failed
	// Held: it has not failed, but cannot go on; the mirror keeps it, not the store. Error says why.
	Held bool
	// Mirrored: the mirror has it, so it is not lost with this node.
	Mirrored bool
}

// FailedMessages returns what waits for an operator, in the order of failing: what this node's store has, and, on a
// node at work, what the mirror holds. An error that comes beside them is about messages that cannot be read.
func (a *Adapter) FailedMessages(ctx context.Context) ([]FailedMessage, error) {
	var list []Failed
	var err error
	if a.options.Failed != nil {
		list, err = a.options.Failed.List(ctx)
	}
	out := make([]FailedMessage, 0, len(list))
	waiting := map[string]remnant{}
	if r := a.current.Load(); r != nil {
		waiting = r.takeover.waiting()
	}
	for _, f := range list {
		rem, found := waiting[f.MessageID]
		out = append(out, FailedMessage{Failed: f, Mirrored: found && !rem.unmirrored})
		delete(waiting, f.MessageID)
	}
	for _, rem := range waiting {
		m := rem.message()
		m.Payload = nil
		out = append(out, m)
	}
	slices.SortStableFunc(out, func(x, y FailedMessage) int {
		return cmp.Or(x.Failed.Failed.Compare(y.Failed.Failed), cmp.Compare(x.MessageID, y.MessageID))
	})
	return out, err
}

// message is the remnant as an operator sees it.
func (r remnant) message() FailedMessage {
	m := FailedMessage{Held: r.stands != stored, Mirrored: true}
	m.Failed = Failed{
		MessageID: r.MessageID, Workflow: r.Workflow, Step: r.Step, Error: r.Reason, Received: r.Received, Failed: r.Received,
		PossibleDuplicate: r.PossibleDuplicate, Payload: r.Payload, Bytes: int64(len(r.Payload)),
	}
	if step, text, ok := parseReason(r.Reason); ok {
		m.ErrorStep, m.Error = step, text
	}
	return m
}

// FailedMessage returns one of them with its payload.
func (a *Adapter) FailedMessage(ctx context.Context, id string) (FailedMessage, error) {
	var rem remnant
	var found bool
	if r := a.current.Load(); r != nil {
		rem, found = r.takeover.find(id)
	}
	if a.options.Failed != nil {
		f, err := a.options.Failed.Get(ctx, id)
		if !errors.Is(err, ErrNoSuchFailed) {
			return FailedMessage{Failed: f, Mirrored: found && !rem.unmirrored}, err
		}
	}
	if found {
		return rem.message(), nil
	}
	return FailedMessage{}, fmt.Errorf("%w: %q", ErrNoSuchFailed, id)
}

// RetryFailed sends a message through its workflow again, with its id and its metadata, and waits for the end until
// ctx ends. It goes on when nobody waits. The workflow has to run.
func (a *Adapter) RetryFailed(ctx context.Context, id string) (Outcome, error) {
	r := a.current.Load()
	if r == nil {
		return Outcome{}, ErrNotRunning
	}
	rem, err := r.seize(ctx, id)
	if err != nil {
		return Outcome{}, err
	}
	j, err := r.inject(ctx, rem)
	if err != nil {
		r.putBack(rem)
		r.flights.leave(id)
		return Outcome{}, err
	}
	select {
	case o := <-j.retry.result:
		return o, nil
	case <-ctx.Done():
		return Outcome{State: RetryUnderWay}, nil
	}
}

// seize takes a message away from those that wait for an operator, and has its flight.
func (r *run) seize(ctx context.Context, id string) (remnant, error) {
	rem, found := r.takeover.take(id)
	switch {
	case !found && rem.stands == awaited:
		return remnant{}, fmt.Errorf("message %s waits for its source to deliver it again", id)
	case !found:
		return remnant{}, fmt.Errorf("%w: %q", ErrNoSuchFailed, id)
	}
	r.gauge(rem).Add(-1)
	if !r.flights.enter(ctx, id) {
		r.putBack(rem)
		return remnant{}, fmt.Errorf("message %s is under way", id)
	}
	return rem, nil
}

func (r *run) putBack(rem remnant) {
	r.takeover.put(rem)
	r.gauge(rem).Add(1)
}

// inject gives a message to a worker of its workflow, and the flight with it.
func (r *run) inject(ctx context.Context, rem remnant) (job, error) {
	l := r.loop(rem.Workflow)
	j, err := r.retryJob(ctx, l, rem)
	if err != nil {
		return job{}, err
	}
	select {
	case l.injected <- j:
		return j, nil
	case <-ctx.Done():
		return job{}, fmt.Errorf("workflow %s is busy, and has not taken the message up in time", rem.Workflow)
	case <-l.receiving.Done():
		return job{}, fmt.Errorf("workflow %s is stopping", rem.Workflow)
	}
}

// retryJob is what a worker gets; l may be nil.
func (r *run) retryJob(ctx context.Context, l *loop, rem remnant) (job, error) {
	if l == nil {
		if r.adapter.unit(rem.Workflow) != nil {
			return job{}, fmt.Errorf("workflow %s does not run: start it, then try again", rem.Workflow)
		}
		return job{}, fmt.Errorf("this adapter has no workflow %q: add it and try again, or drop the message", rem.Workflow)
	}
	j := job{entry: rem.Entry, retry: &retry{remnant: rem, result: make(chan Outcome, 1)}}
	if rem.stands == stored && l.run.failed != nil {
		f, err := l.run.failed.Get(ctx, rem.MessageID)
		switch {
		case err == nil:
			j.entry = f.entry()
			j.entry.Payload = f.Payload
			j.retry.stored, j.retry.attempts = true, f.Attempts
		case rem.Payload == nil:
			return job{}, err
		}
	}
	if _, known := l.workflow.stepIndex[j.entry.Step]; j.entry.Step != "" && !known {
		return job{}, fmt.Errorf("workflow %s has no service %q, after which the message would go on: give the service its id back, "+
			"or drop the message", l.workflow.cfg.ID, j.entry.Step)
	}
	return j, nil
}

// tryAgain carries a message that an operator has sent.
func (l *loop) tryAgain(m *message, j job) {
	m.retry = j.retry
	m.settle = l.run.unpark(m.id)
	m.kept = m.settle == nil
	m.outcome = Outcome{State: RetryDone}
	l.workflow.log.Info("a message is tried again, as somebody has asked for", "message-id", m.id, "step", j.entry.Step)
	if j.retry.stored {
		// The mirror may have lost it.
		done, err := l.intoMirror(l.ctx, j.entry)
		switch {
		case err != nil:
			l.returnRetry(m, err)
			return
		case done:
			m.outcome = Outcome{State: RetryDoneBefore}
			l.forget(m)
			l.acknowledge(m)
			return
		}
	}
	l.resume(m, j.entry)
}

// forget removes a message that has come to its end from the store. If that fails, it is removed when this node leads
// the next time: the mirror knows that it is done.
func (l *loop) forget(m *message) {
	if m.retry == nil || !m.retry.stored {
		return
	}
	if err := l.run.failed.Remove(context.WithoutCancel(l.ctx), m.id); err != nil {
		l.workflow.counters.failure(err)
		l.workflow.log.Error("a message that is done could not be removed from the failed-message store; do not try it again",
			"message-id", m.id, "error", err)
	}
}

// DropFailed forgets a message for good. If its source delivers it again, it is taken for done.
func (a *Adapter) DropFailed(ctx context.Context, id string) error {
	r := a.current.Load()
	if r == nil {
		return ErrNotRunning
	}
	rem, err := r.seize(ctx, id)
	if err != nil {
		return err
	}
	defer r.flights.leave(id)
	err = r.write(ctx, a.log, id, "done", func(ctx context.Context) error {
		if err := r.mirror.Done(ctx, id); !errors.Is(err, ErrRefused) {
			return err
		}
		return nil // it has not got it
	})
	if err != nil {
		r.putBack(rem)
		return fmt.Errorf("message %s was not dropped: %w", id, err)
	}
	a.log.Warn("a message was dropped, as somebody has asked for", "message-id", id, "workflow", rem.Workflow, "reason", rem.Reason)
	if settle := r.unpark(id); settle != nil {
		err = settle(ctx, nil)
	}
	if rem.stands == stored && r.failed != nil {
		err = errors.Join(err, r.failed.Remove(ctx, id))
	}
	return err
}
