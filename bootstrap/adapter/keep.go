package adapter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// errStored marks that a message is in the failed-message store, and has been taken care of.
var errStored = errors.New("in the failed-message store")

// keep is the end of a failed message in the store: this node's disk first, then the mirror, so that it is not lost
// with its node, and only then its source lets it go. Another error than errStored or an errLeft says that it could
// not be stored; nothing has changed then.
func (l *loop) keep(m *message, failure *stepError) error {
	if err := l.halted(); err != nil {
		return err
	}
	failed := l.failed(m, failure)
	if err := l.run.failed.Put(l.ctx, failed); err != nil {
		if halted := l.halted(); halted != nil {
			return halted
		}
		if m.retry == nil || !m.retry.stored {
			return fmt.Errorf("the failed-message store could not take it: %w", err)
		}
		l.workflow.log.Error("the new failure of a stored message could not be noted", "message-id", m.id, "error", err)
	}
	entry := l.mirrored(m, EntryHeld)
	entry.Reason = failedReason(failure.step, failure.err.Error())
	mirrored, err := l.mirrorFailed(m.id, entry.Reason)
	if err != nil {
		return err
	}
	l.workflow.log.Warn("a message failed and is in the failed-message store", "message-id", m.id, "step", failure.step,
		"error", failure.err, "attempts", failed.Attempts)
	entry.Payload = nil // the store has it
	l.run.takeover.put(remnant{Entry: entry, stands: stored, unmirrored: !mirrored})
	l.workflow.counters.stored.Add(1)
	m.outcome = Outcome{State: RetryFailedAgain, Error: failure.Error()}
	l.acknowledge(m)
	return errStored
}

// failed is the message as the store keeps it: as it was received, if that is known.
func (l *loop) failed(m *message, failure *stepError) Failed {
	f := Failed{
		MessageID: m.id, Channel: l.workflow.channel, Workflow: l.workflow.cfg.ID, ErrorStep: failure.step,
		Error: failure.err.Error(), Received: m.arrived, Failed: time.Now(), Attempts: 1, Term: l.run.gate.Term(),
		PossibleDuplicate: m.repeats || m.producing || m.delivered > 0, Payload: m.original,
	}
	if m.retry != nil {
		f.Attempts = m.retry.attempts + 1
	}
	if f.Payload == nil {
		f.Payload, f.Step = m.payload, l.lastStep(m)
	}
	return f
}

// mirrorFailed lets the mirror have a message of the store as one that nobody takes up by itself. It returns false if
// the mirror will not, or there is none: then the store alone has the message, and nobody must replay it.
func (l *loop) mirrorFailed(id, reason string) (mirrored bool, err error) {
	err = l.write(l.ctx, id, "failed", func(ctx context.Context) error {
		err := l.run.mirror.Hold(ctx, id, reason)
		if mirrored = err == nil; !errors.Is(err, ErrRefused) {
			return err
		}
		if err = l.run.mirror.Release(ctx, id); errors.Is(err, ErrRefused) {
			return nil // it does not have it at all
		}
		return err
	})
	return mirrored, err
}

// failedPrefix begins the reason of a mirrored entry that is a failed message.
const failedPrefix = "failed: "

// maxReason is how long a reason may become; the mirror has a limit of its own, which is higher.
const maxReason = 4096

func failedReason(step, text string) string {
	reason := failedPrefix + step + ": " + text
	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}
	return strings.ToValidUTF8(reason, "?")
}

// parseReason is the opposite of failedReason; ok is false for an entry that is held for another reason.
func parseReason(reason string) (step, text string, ok bool) {
	rest, ok := strings.CutPrefix(reason, failedPrefix)
	step, text, found := strings.Cut(rest, ": ")
	return step, text, ok && found
}

// adopt takes over a failed message that only the mirror has: it failed on another node.
func (l *loop) adopt(e Entry) {
	l.run.takeover.add(e, stored)
	l.workflow.counters.stored.Add(1)
	l.run.later(func() { l.run.settleStored(e.MessageID, func(ctx context.Context) { l.storeAdopted(ctx, e) }) })
}

// storeAdopted gives this node's store what the mirror has. A store that cannot take it is no misfortune: the mirror
// keeps it.
func (l *loop) storeAdopted(ctx context.Context, e Entry) {
	if l.run.failed == nil {
		return
	}
	if _, err := l.run.failed.Get(ctx, e.MessageID); err == nil {
		l.run.takeover.strip(e.MessageID)
		return // it failed here
	}
	step, text, _ := parseReason(e.Reason)
	err := l.run.failed.Put(ctx, Failed{
		MessageID: e.MessageID, Channel: l.workflow.channel, Workflow: e.Workflow, Step: e.Step, ErrorStep: step, Error: text,
		Received: e.Received, Failed: time.Now(), Attempts: 1, PossibleDuplicate: e.PossibleDuplicate, Payload: e.Payload,
	})
	if err != nil {
		l.workflow.log.Error("a failed message of another node could not be stored here, the mirror alone has it",
			"message-id", e.MessageID, "error", err)
		return
	}
	l.run.takeover.strip(e.MessageID)
}

// later has something done when the workflows work: a takeover must not wait for a disk.
func (r *run) later(do func()) {
	if r.started {
		r.restarting.Go(do)
		return
	}
	r.afterwards = append(r.afterwards, do)
}

// settleStored does something about a stored message while nobody else does anything with it.
func (r *run) settleStored(id string, do func(context.Context)) {
	if r.flights.tryEnter(id) != nil {
		return // an operator has sent it again
	}
	defer r.flights.leave(id)
	if r.takeover.stands(id) == stored {
		do(r.receiving)
	}
}

// takeOverStored compares the store of this node with the mirror: what another node has dealt with in the meantime is
// removed, what the mirror has lost is given back to it. entries are those of the mirror.
func (a *Adapter) takeOverStored(ctx context.Context, r *run, entries map[string]Entry) {
	if r.failed == nil {
		return
	}
	list, err := r.failed.List(ctx)
	if err != nil {
		a.log.Error("some messages of the failed-message store cannot be read", "error", err)
	}
	for _, f := range list {
		l := r.loop(f.Workflow)
		e, mirrored := entries[f.MessageID]
		switch {
		case mirrored && e.State != EntryHeld:
			// It was tried again there, and is in flight.
			a.forgetStored(ctx, r, f.MessageID)
			continue
		case l == nil && !mirrored:
			a.strays.Add(1)
		case !mirrored:
			r.later(func() { r.settleStored(f.MessageID, func(context.Context) { a.remirror(l, f) }) })
		}
		r.putStored(remnant{Entry: f.entry(), stands: stored, unmirrored: !mirrored})
	}
}

// putStored lets a message of the store stand as one, whatever it was taken for before.
func (r *run) putStored(rem remnant) {
	before, was := r.takeover.take(rem.MessageID)
	r.takeover.put(rem)
	if was {
		r.gauge(before).Add(-1)
	}
	r.gauge(rem).Add(1)
}

func (a *Adapter) forgetStored(ctx context.Context, r *run, id string) {
	if err := r.failed.Remove(ctx, id); err != nil {
		a.log.Error("a message could not be removed from the failed-message store", "message-id", id, "error", err)
	}
}

// entry is the message as a mirror would hold it, without payload.
func (f *Failed) entry() Entry {
	return Entry{
		MessageID: f.MessageID, Workflow: f.Workflow, State: EntryHeld, Step: f.Step, Received: f.Received,
		PossibleDuplicate: f.PossibleDuplicate, Reason: failedReason(f.ErrorStep, f.Error),
	}
}

// remirror gives the mirror a message that only the store has, unless the mirror knows that somebody has finished it.
func (a *Adapter) remirror(l *loop, f Failed) {
	r := l.run
	whole, err := r.failed.Get(r.ctx, f.MessageID)
	if err != nil {
		l.workflow.log.Error("a message of the failed-message store cannot be read", "message-id", f.MessageID, "error", err)
		return
	}
	entry := whole.entry()
	entry.Payload = whole.Payload
	done, err := l.intoMirror(r.ctx, entry)
	switch {
	case err != nil:
		return // this node stops to lead; the next time
	case done:
		a.log.Info("a failed message was finished by another node", "message-id", f.MessageID)
		if rem, found := r.takeover.take(f.MessageID); found {
			r.gauge(rem).Add(-1)
		}
		a.forgetStored(r.ctx, r, f.MessageID)
		return
	}
	if mirrored, err := l.mirrorFailed(f.MessageID, entry.Reason); err == nil && mirrored {
		r.takeover.put(remnant{Entry: f.entry(), stands: stored})
	}
}

// intoMirror gives an entry to the mirror as it is.
func (l *loop) intoMirror(ctx context.Context, e Entry) (done bool, err error) {
	err = l.write(ctx, e.MessageID, "received", func(ctx context.Context) (err error) {
		first := e
		first.State, first.Step = EntryReceived, ""
		if done, err = l.run.mirror.Receive(ctx, first); err != nil || done || e.Step == "" {
			return err
		}
		return l.run.mirror.Step(ctx, e.MessageID, e.Step, nil, true)
	})
	return done, err
}
