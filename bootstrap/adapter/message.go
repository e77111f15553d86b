package adapter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// message is one on its way through a workflow. One goroutine has it.
type message struct {
	id      string
	batches []Batch
	// payload is batches as the mirror has them; next is the service that comes next.
	payload []byte
	next    int
	// original is the message as it was received, nil if that is not known any more; arrived is when.
	original []byte
	arrived  time.Time
	// retry is the order of an operator to try the message again, nil without; outcome is what its giver is told.
	retry   *retry
	outcome Outcome
	// settle ends the delivery; nil if there is none, or no longer.
	settle func(context.Context, error) error
	// workflow is the id of the workflow that has it; mirrored: the mirror has it, too.
	workflow string
	mirrored bool
	// kept: no source will deliver it again, so it must be brought to an end here.
	kept bool
	// producing: the mirror knows that a produce may have begun. repeats: it may have ended, too.
	producing, repeats bool
	// delivered is how many of the batches are with a receiver.
	delivered int
	failed    bool
	whole     stopwatch
	watch     stopwatch
	// failures are the pauses of the worker that has the message.
	failures *backoff.ExponentialBackOff
}

// Order of the step events: the workflow begins first, then the services, then the producers.
const (
	orderWorkflow     = 1
	orderFirstService = 2
)

// received is when work on the message began.
func (m *message) received() time.Time {
	if m.whole.fresh {
		return m.whole.last
	}
	return time.Now()
}

// end settles the delivery, once.
func (m *message) end(ctx context.Context, failure error) (err error) {
	settle := m.settle
	m.settle = nil
	if settle == nil {
		return nil
	}
	defer recovered("settling", &err)
	return settle(ctx, failure)
}

// stepError is the failure of one step.
type stepError struct {
	step string
	err  error
	// spoilt: nobody knows what the step has made of the batches.
	spoilt bool
}

func (e *stepError) Error() string { return e.step + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// bring carries the message to its end: done, given to on-error, given back to its source, held, or left in
// the mirror because this node may not go on.
func (l *loop) bring(m *message) {
	err := l.attempt(m)
	for err != nil && m.kept && m.retry == nil && !settled(err) {
		err = l.again(m, err)
	}
	l.workflow.joinpoint.end(&m.whole, m.id, l.workflow.cfg.ID, orderWorkflow, m.failed || err != nil)
	switch {
	case err == nil:
		m.failures.Reset()
	case errors.Is(err, errStored):
		m.failures.Reset()
	case errors.Is(err, errHeld):
	case errors.Is(err, errLeft):
		if m.retry != nil {
			l.returnRetry(m, err)
			return
		}
		l.giveBack(m, err)
	case m.kept: // an operator has sent it, and does not wait for another attempt
		if err := l.hold(m, err.Error()); !errors.Is(err, errHeld) {
			l.returnRetry(m, err)
		}
	default:
		m.outcome = Outcome{State: RetryReturned, Error: err.Error()}
		l.release(m, err)
	}
}

// settled says whether what an error is about has been taken care of.
func settled(err error) bool {
	return errors.Is(err, errLeft) || errors.Is(err, errHeld) || errors.Is(err, errStored)
}

// again makes another attempt after a pause, with the message as the mirror has it.
func (l *loop) again(m *message, failure error) error {
	pause := m.failures.NextBackOff()
	l.workflow.log.Warn("a message failed that nobody else has, trying again",
		"message-id", m.id, "error", failure, "pause", pause)
	if !sleep(l.receiving, pause) {
		return l.stopping()
	}
	if err := l.rewind(m); err != nil {
		return l.hold(m, err.Error())
	}
	return l.attempt(m)
}

// attempt is one way through what is left of the workflow. It returns nil when the message has come to its
// end, errHeld, errStored, an errLeft, or the failure that no on-error could take.
func (l *loop) attempt(m *message) error {
	err := l.carry(m)
	var failure *stepError
	if errors.As(err, &failure) {
		l.noteFailure(m, failure)
		err = l.divert(m, failure)
		if err != nil && !settled(err) && failure.step == l.workflow.producer.id {
			l.producerFailed(err)
		}
	}
	if err != nil {
		return err
	}
	return l.finish(m)
}

// carry takes the message through the services that are left, and to the producer.
func (l *loop) carry(m *message) error {
	for m.next < len(l.workflow.services) && len(m.batches) > 0 {
		if err := l.serveAgain(m, &l.workflow.services[m.next]); err != nil {
			return err
		}
	}
	if len(m.batches) == 0 {
		l.workflow.counters.filtered.Add(1)
		return nil
	}
	order := orderFirstService + len(l.workflow.services)
	if err := l.produce(m, l.workflow.producer, order, nil); err != nil {
		return err
	}
	l.workflow.counters.produced.Add(1)
	l.produceFailures.Store(0)
	return nil
}

// serveAgain runs one service, as often as the workflow says if it fails.
func (l *loop) serveAgain(m *message, s *serviceStep) error {
	retry := &l.workflow.cfg.Retry
	var wait *backoff.ExponentialBackOff
	for try := 0; ; try++ {
		err := l.serve(m, s)
		var failure *stepError
		if !retry.Services || try >= retry.Max || !errors.As(err, &failure) {
			return err
		}
		if wait == nil {
			wait = retry.backOff()
		}
		l.workflow.counters.failure(failure)
		pause := wait.NextBackOff()
		l.workflow.log.Warn("the service failed, trying again", "message-id", m.id, "step", s.id, "error", failure.err, "pause", pause)
		if !sleep(l.ctx, pause) {
			return l.halted()
		}
		if err := l.rewind(m); err != nil {
			return l.hold(m, err.Error())
		}
	}
}

// serve runs one service, and mirrors what it has made.
func (l *loop) serve(m *message, s *serviceStep) error {
	if err := l.halted(); err != nil {
		return err
	}
	s.begin(&m.watch)
	out, err := process(l.ctx, s, m.batches)
	s.end(&m.watch, m.id, l.workflow.cfg.ID, orderFirstService+m.next, err != nil)
	if err != nil {
		// Whatever is cancelled when the gate shuts looks like a failure.
		if halted := l.halted(); halted != nil {
			return halted
		}
		if out == nil {
			return &stepError{step: s.id, err: err, spoilt: true}
		}
		m.batches = out
		return &stepError{step: s.id, err: err}
	}
	m.batches = out
	if len(out) == 0 {
		return nil // filtered; done is all that the mirror needs to know
	}
	payload, err := l.marshal(out)
	if err != nil {
		return &stepError{step: s.id, err: err, spoilt: true}
	}
	changed := payload
	if bytes.Equal(payload, m.payload) {
		changed = nil
	}
	err = l.write(l.ctx, m.id, "stepped", func(ctx context.Context) error {
		return l.run.mirror.Step(ctx, m.id, s.id, changed, s.checkpoint)
	})
	if err != nil {
		return err
	}
	if s.checkpoint {
		m.watch.fresh = false
	}
	m.payload = payload
	m.next++
	return nil
}

// process runs a service over every batch. With an error, the batches are nil if they are spoilt.
func process(ctx context.Context, s *serviceStep, batches []Batch) (out []Batch, err error) {
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("panicked: %v", r)
		}
	}()
	for _, b := range batches {
		made, err := s.Process(ctx, b)
		if err != nil {
			return nil, err
		}
		out = append(out, made...)
	}
	for _, b := range out {
		if err := b.Err(); err != nil {
			return out, err
		}
	}
	return out, nil
}

// produce gives the batches to a producer. failure is what on-error is told; nil for the workflow's own.
func (l *loop) produce(m *message, p *producerStep, order int, failure *stepError) error {
	if err := l.halted(); err != nil {
		return err
	}
	if !p.idempotent && !m.producing {
		err := l.write(l.ctx, m.id, "producing", func(ctx context.Context) error {
			return l.run.mirror.Producing(ctx, m.id)
		})
		if err != nil {
			return err
		}
		m.producing, m.watch.fresh = true, false
	}
	p.begin(&m.watch)
	var err error
	for err == nil && m.delivered < len(m.batches) {
		if err = l.deliver(m, p, failure); err == nil {
			m.delivered++
		}
	}
	p.end(&m.watch, m.id, l.workflow.cfg.ID, order, err != nil)
	return err
}

// producerFailed has the workflow restarted if its producer takes nothing any more, and nobody else does.
func (l *loop) producerFailed(err error) {
	if n := int(l.produceFailures.Add(1)); l.workflow.cfg.Restart.exceeded(n) {
		l.breaks(fmt.Errorf("the producer failed for %d messages in a row, last with: %w", n, err))
	}
}

// deliver produces the next batch, and tries again as often as the workflow says.
func (l *loop) deliver(m *message, p *producerStep, failure *stepError) error {
	wait := l.workflow.cfg.Retry.backOff()
	for try := 0; ; try++ {
		if err := l.halted(); err != nil {
			return err
		}
		err := l.produceOnce(m, p, failure)
		if err == nil {
			return nil
		}
		if halted := l.halted(); halted != nil {
			return halted
		}
		if m.kept && errors.Is(err, ErrNobodyWaits) {
			l.workflow.log.Warn("a request was replayed, and its answer has nobody to go to", "message-id", m.id, "step", p.id)
			return nil
		}
		if errors.Is(err, ErrFenced) {
			l.workflow.log.Error("another node leads, as the receiver knows", "message-id", m.id, "step", p.id, "error", err)
			return left(err)
		}
		// An error does not say that the receiver has nothing.
		m.repeats = m.repeats || !p.idempotent
		if try >= l.workflow.cfg.Retry.Max {
			return &stepError{step: p.id, err: err}
		}
		l.workflow.counters.failure(&stepError{step: p.id, err: err})
		pause := wait.NextBackOff()
		l.workflow.log.Warn("the produce failed, trying again", "message-id", m.id, "step", p.id, "error", err, "pause", pause)
		if !sleep(l.ctx, pause) {
			return l.halted()
		}
	}
}

func (l *loop) produceOnce(m *message, p *producerStep, failure *stepError) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panicked: %v", r)
		}
	}()
	b, id := m.batches[m.delivered], m.id
	if m.delivered > 0 {
		id += "#" + strconv.Itoa(m.delivered+1)
	}
	b.SetMeta(MetaMessageID, id)
	b.SetMeta(MetaTerm, l.run.gate.Term())
	if m.repeats {
		b.SetMeta(MetaPossibleDuplicate, "true")
	}
	if failure != nil {
		b.ClearErr()
		b.SetMeta(MetaError, failure.err.Error())
		b.SetMeta(MetaErrorStep, failure.step)
	}
	return p.Produce(l.ctx, b)
}

// finish says that all is done, to the mirror first.
func (l *loop) finish(m *message) error {
	err := l.write(l.ctx, m.id, "done", func(ctx context.Context) error {
		return l.run.mirror.Done(ctx, m.id)
	})
	if err != nil {
		return err
	}
	l.forget(m)
	l.acknowledge(m)
	return nil
}

func (l *loop) marshal(batches []Batch) (payload []byte, err error) {
	defer recovered("encoding for the mirror", &err)
	return l.run.codec.Marshal(batches)
}
