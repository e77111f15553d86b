package adapter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

// acknowledge tells the source that the message is safe. It returns false if this node may not any more. A
// source that cannot be told delivers the message again, and the mirror knows that it is done.
func (l *loop) acknowledge(m *message) bool {
	if m.settle == nil {
		return true
	}
	if err := l.halted(); err != nil {
		l.giveBack(m, err)
		return false
	}
	if err := m.end(l.ctx, nil); err != nil {
		l.workflow.counters.failure(err)
		l.workflow.log.Warn("the source could not be told that a message is done", "message-id", m.id, "error", err)
	}
	return true
}

// giveBack lets the source go without a word to the mirror: whoever leads next goes on with the message. If only this
// workflow stops, nobody else does, and the message is prepared for its next start.
func (l *loop) giveBack(m *message, why error) {
	if errors.Is(why, errWorkflowStopping) && l.run.halted() == nil {
		l.handBack(m, why)
		return
	}
	l.workflow.log.Info("a message is left as it is", "message-id", m.id, "reason", why)
	if errors.Is(why, ErrRefused) || errors.Is(why, ErrFenced) {
		// This node works still, so the source may be quick to deliver it again.
		l.workflow.counters.failure(why)
		l.pause(m)
	}
	l.settleFailed(m, why)
}

// handBack is for a message that is not finished when its workflow is stopped, while this node goes on to lead.
func (l *loop) handBack(m *message, why error) {
	l.workflow.log.Info("a message is given back, as its workflow stops", "message-id", m.id)
	state := EntryReceived
	if m.producing {
		state = EntryProducing
	}
	switch {
	case !m.mirrored:
	case m.settle == nil:
		l.run.leave(l.mirrored(m, state))
		return
	case (m.repeats || m.producing) && l.workflow.awaitsSource:
		l.run.takeover.add(l.mirrored(m, state), awaited)
	default:
		err := l.run.write(l.run.ctx, l.workflow.log, m.id, "released", func(ctx context.Context) error {
			return l.run.mirror.Release(ctx, m.id)
		})
		if err != nil {
			l.workflow.log.Info("a message is left as it is", "message-id", m.id, "reason", err)
		}
	}
	l.settleFailed(m, why)
}

// returnRetry lets a message wait for an operator as it did before it was tried again.
func (l *loop) returnRetry(m *message, why error) {
	m.outcome = Outcome{State: RetryLeft, Error: why.Error()}
	l.run.putBack(m.retry.remnant)
	switch {
	case m.settle == nil:
	case l.run.halted() == nil:
		l.run.park(m)
	default:
		l.settleFailed(m, why)
	}
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
		if err := l.halted(); err != nil {
			l.giveBack(m, err)
			return
		}
		l.run.takeover.add(l.mirrored(m, EntryProducing), awaited)
		l.settleFailed(m, failure)
		return
	}
	err := l.write(l.ctx, m.id, "released", func(ctx context.Context) error {
		return l.run.mirror.Release(ctx, m.id)
	})
	if err != nil {
		l.giveBack(m, err)
		return
	}
	l.settleFailed(m, failure)
}

// mirrored is the message as the mirror has it.
func (l *loop) mirrored(m *message, state EntryState) Entry {
	return Entry{
		MessageID: m.id, Workflow: l.workflow.cfg.ID, State: state, Step: l.lastStep(m), Payload: m.payload, Received: m.arrived,
		PossibleDuplicate: m.repeats || m.producing,
	}
}

// lastStep is the service that has finished last.
func (l *loop) lastStep(m *message) string {
	if m.next == 0 {
		return ""
	}
	return l.workflow.services[m.next-1].id
}

// pause keeps a failed message for a while before its source may deliver it again at once.
func (l *loop) pause(m *message) { sleep(l.receiving, m.failures.NextBackOff()) }

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

// divert gives what has no receiver yet to the nearest on-error, and to the next one if that fails. If all fail, and
// this node has a failed-message store, the store has the last word: a message must not be lost because the
// receiver of failed messages is down. Another error than errStored, errHeld and an errLeft has the failures of all.
func (l *loop) divert(m *message, failure *stepError) error {
	if failure.spoilt {
		if err := l.rewind(m); err != nil {
			return l.hold(m, err.Error())
		}
	}
	all := error(failure)
	for _, h := range l.handlers(m) {
		err := l.giveTo(h, m, failure)
		if err == nil {
			l.workflow.log.Warn("a message failed and is with on-error",
				"message-id", m.id, "step", failure.step, "error", failure.err, "on-error", h.path())
			m.outcome = Outcome{State: RetryOnError, Error: failure.Error()}
			return nil
		}
		if settled(err) {
			return err
		}
		all = fmt.Errorf("%w; and on-error failed: %s: %w", all, h.path(), err)
		l.workflow.counters.failure(all)
		l.workflow.log.Error("an on-error has failed", "message-id", m.id, "on-error", h.path(), "error", err)
	}
	return all
}

// handlers are whom a failed message is given to, one after the other.
func (l *loop) handlers(m *message) []*errorHandler {
	handlers := l.workflow.onError
	if l.run.failed == nil {
		return slices.DeleteFunc(slices.Clone(handlers), func(h *errorHandler) bool { return h.producer == nil })
	}
	if n := len(handlers); n > 0 && handlers[n-1].producer != nil || n == 0 && m.retry != nil && m.retry.stored {
		handlers = append(slices.Clone(handlers), &errorHandler{})
	}
	return handlers
}

func (l *loop) giveTo(h *errorHandler, m *message, failure *stepError) error {
	if h.producer == nil {
		return l.keep(m, failure)
	}
	return l.produce(m, h.producer, orderFirstService+len(l.workflow.services)+1, failure)
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
	err := l.write(l.ctx, m.id, "held", func(ctx context.Context) error {
		return l.run.mirror.Hold(ctx, m.id, reason)
	})
	if err != nil {
		return err
	}
	entry, stands := l.mirrored(m, EntryHeld), held
	entry.Reason = reason
	if m.retry != nil && m.retry.stored {
		stands = stored
	}
	l.run.takeover.add(entry, stands)
	l.run.gauge(remnant{Entry: entry, stands: stands}).Add(1)
	m.outcome = Outcome{State: RetryFailedAgain, Error: reason}
	if m.settle != nil {
		l.run.park(m)
	}
	return errHeld
}

// gauge is the count that a message which waits for an operator is in.
func (r *run) gauge(rem remnant) *atomic.Int64 {
	u := r.adapter.unit(rem.Workflow)
	switch {
	case u == nil:
		return new(atomic.Int64) // its workflow is gone; strays are counted once
	case rem.stands == stored:
		return &u.counters.stored
	}
	return &u.counters.held
}
