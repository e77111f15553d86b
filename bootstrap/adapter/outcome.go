package adapter

import (
	"context"
	"errors"
	"fmt"
)

// acknowledge tells the source that the message is safe. It returns false if this node may not any more. A
// source that cannot be told delivers the message again, and the mirror knows that it is done.
func (l *loop) acknowledge(m *message) bool {
	if m.settle == nil {
		return true
	}
	if err := l.run.halted(); err != nil {
		l.giveBack(m, err)
		return false
	}
	if err := m.end(l.run.ctx, nil); err != nil {
		l.workflow.counters.failure(err)
		l.workflow.log.Warn("the source could not be told that a message is done", "message-id", m.id, "error", err)
	}
	return true
}

// giveBack lets the source go without a word to the mirror: whoever leads next goes on with the message.
func (l *loop) giveBack(m *message, why error) {
	l.workflow.log.Info("a message is left as it is", "message-id", m.id, "reason", why)
	if errors.Is(why, ErrRefused) || errors.Is(why, ErrFenced) {
		// This node works still, so the source may be quick to deliver it again.
		l.workflow.counters.failure(why)
		l.pause(m)
	}
	l.settleFailed(m, why)
}

// refuse gives a delivery back that the mirror does not have.
func (l *loop) refuse(m *message, failure error) {
	l.noteFailure(m, &stepError{step: l.workflow.cfg.Consumer.ID, err: failure})
	l.pause(m)
	l.settleFailed(m, failure)
}

// release gives a failed message back to its source, which has it still. If the receiver may have it, too, and
// the source will say which message it is, the mirror keeps the entry, so that the next produce is marked.
func (l *loop) release(m *message, failure error) {
	l.workflow.log.Warn("a message failed and is given back to its source", "message-id", m.id, "error", failure)
	l.pause(m)
	if m.repeats && l.workflow.awaitsSource {
		if err := l.run.halted(); err != nil {
			l.giveBack(m, err)
			return
		}
		l.run.takeover.add(l.entry(m), awaited)
		l.settleFailed(m, failure)
		return
	}
	err := l.run.write(l.run.ctx, l.workflow.log, m.id, "released", func(ctx context.Context) error {
		return l.run.mirror.Release(ctx, m.id)
	})
	if err != nil {
		l.giveBack(m, err)
		return
	}
	l.settleFailed(m, failure)
}

// entry is the message as the mirror has it, with a produce that has begun.
func (l *loop) entry(m *message) Entry {
	e := Entry{MessageID: m.id, Workflow: l.workflow.cfg.ID, State: EntryProducing, Payload: m.payload, PossibleDuplicate: true}
	if m.next > 0 {
		e.Step = l.workflow.services[m.next-1].id
	}
	return e
}

// pause keeps a failed message for a while before its source may deliver it again at once.
func (l *loop) pause(m *message) { sleep(l.run.receiving, m.failures.NextBackOff()) }

// settleFailed has time even when everything has been cancelled.
func (l *loop) settleFailed(m *message, failure error) {
	ctx, cancel := extended(l.run.ctx, l.run.options.Grace)
	defer cancel()
	if err := m.end(ctx, failure); err != nil {
		l.workflow.counters.failure(err)
		l.workflow.log.Warn("a message could not be given back to its source", "message-id", m.id, "error", err)
	}
}

// noteFailure counts a message once, however often it fails.
func (l *loop) noteFailure(m *message, failure error) {
	l.workflow.counters.failure(failure)
	if !m.failed {
		m.failed = true
		l.workflow.counters.failed.Add(1)
	}
}

// divert gives what has no receiver yet to on-error.
func (l *loop) divert(m *message, failure *stepError) error {
	if failure.spoilt {
		if err := l.rewind(m); err != nil {
			return l.hold(m, err.Error())
		}
	}
	order := orderFirstService + len(l.workflow.services) + 1
	if err := l.produce(m, l.workflow.onError, order, failure); err != nil {
		if !errors.Is(err, errLeft) && !errors.Is(err, errHeld) {
			err = fmt.Errorf("%w; and on-error failed: %w", failure, err)
			l.workflow.counters.failure(err)
		}
		return err
	}
	l.workflow.log.Warn("a message failed and is with on-error", "message-id", m.id, "step", failure.step, "error", failure.err)
	return nil
}

// rewind makes the batches anew from what the mirror has.
func (l *loop) rewind(m *message) (err error) {
	defer recovered("decoding of the mirrored message", &err)
	m.batches, err = l.run.codec.Unmarshal(m.payload)
	switch {
	case err != nil:
		return fmt.Errorf("the mirrored message cannot be decoded: %w", err)
	case len(m.batches) == 0:
		return errors.New("the mirrored message is empty")
	}
	return nil
}

// errHeld marks that a message waits for an operator, and has been taken care of.
var errHeld = errors.New("held for an operator")

// hold keeps the message for an operator, in the mirror and, if there is a delivery, in the source. It returns
// errHeld, or an errLeft.
func (l *loop) hold(m *message, reason string) error {
	l.workflow.log.Error("a message is held for an operator", "message-id", m.id, "reason", reason)
	err := l.run.write(l.run.ctx, l.workflow.log, m.id, "held", func(ctx context.Context) error {
		return l.run.mirror.Hold(ctx, m.id, reason)
	})
	if err != nil {
		return err
	}
	l.workflow.counters.held.Add(1)
	l.run.takeover.add(Entry{MessageID: m.id}, held)
	if m.settle != nil {
		l.run.park(m)
	}
	return errHeld
}
