package adapter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
)

// workflow is one way from a consumer to a producer, as it was built.
type workflow struct {
	cfg       *WorkflowConfig
	channel   string
	node      *node
	joinpoint joinpoint
	log       *slog.Logger
	consumer  Consumer
	// awaitsSource: what is in flight at a takeover is delivered again by the source.
	awaitsSource bool
	services     []serviceStep
	// stepIndex finds a service by its id, as mirrored entries name it.
	stepIndex map[string]int
	producer  *producerStep
	// onError are those that take failed messages, the nearest first.
	onError []*errorHandler
	// counters go on through all restarts.
	counters *counters
}

// loop is a workflow at work in one run. One goroutine receives, as many as the pool is large carry messages.
type loop struct {
	run      *run
	unit     *unit
	workflow *workflow
	// ctx and receiving are the run's, and end earlier if only this workflow is stopped.
	ctx           context.Context
	cancel        context.CancelCauseFunc
	receiving     context.Context
	stopReceiving context.CancelFunc
	// broken is why the workflow has to be restarted.
	broken atomic.Pointer[error]
	// produceFailures counts the messages in a row that the producer has not taken.
	produceFailures atomic.Int64
	// replays go on from the mirror, before any new input.
	replays []Entry
	// injected are messages that an operator has sent.
	injected chan job
	// fed is closed when nothing will be received any more, and all that was has been worked off. endOfInput, which
	// is set before, says whether that is the consumer's word.
	fed        chan struct{}
	endOfInput bool
	// finished is closed when no goroutine of the loop is left.
	finished chan struct{}
}

// halted returns why nothing may be done any more, as an errLeft, or nil.
func (l *loop) halted() error {
	if err := l.run.halted(); err != nil {
		return err
	}
	if l.ctx.Err() != nil {
		return left(errWorkflowStopping)
	}
	return nil
}

// stopping returns why receiving has ended, as an errLeft, for what must not wait any longer.
func (l *loop) stopping() error {
	if err := l.halted(); err != nil {
		return err
	}
	if l.run.receiving.Err() != nil {
		return left(ErrStopping)
	}
	return left(errWorkflowStopping)
}

func (l *loop) write(ctx context.Context, id, change string, op func(context.Context) error) error {
	return write(ctx, l.halted, l.workflow.log, id, change, op)
}

// hasEnded says whether the input has come to its end, and all of it has been worked off.
func (l *loop) hasEnded() bool {
	select {
	case <-l.fed:
		return l.endOfInput
	default:
		return false
	}
}

// breaks ends the loop, so that its workflow is built anew.
func (l *loop) breaks(err error) {
	if l.broken.CompareAndSwap(nil, &err) {
		l.stopReceiving()
	}
}

// job is work for one worker: a delivery, or a mirrored entry that nobody delivers, or one that is tried again.
type job struct {
	delivery *Delivery
	entry    Entry
	retry    *retry
}

func (l *loop) work() {
	jobs := make(chan job)
	var workers sync.WaitGroup
	for range l.workflow.cfg.Pool {
		workers.Go(func() {
			failures := newBackOff()
			for {
				select {
				case j, more := <-jobs:
					if !more {
						return
					}
					l.handle(j, failures)
				case j := <-l.injected:
					l.handle(j, failures)
				}
			}
		})
	}
	var watch sync.WaitGroup
	watching, unwatch := context.WithCancel(l.receiving)
	watch.Go(func() { l.awaitSource(watching) })

	l.endOfInput = l.feed(jobs)
	close(jobs)
	workers.Wait()
	unwatch()
	watch.Wait()
	if l.endOfInput {
		l.giveUpWaiting("the source came to its end without it")
	}
	close(l.fed)
	l.run.checkEnd()
	l.afterwards()
	close(l.finished)
	if err := l.broken.Load(); err != nil && l.run.receiving.Err() == nil {
		l.run.restarting.Go(func() { l.run.adapter.restart(l.run, l.unit, l, *err) })
	}
}

// afterwards is for what operators send when the input has ended.
func (l *loop) afterwards() {
	failures := newBackOff()
	for {
		select {
		case j := <-l.injected:
			l.handle(j, failures)
		case <-l.receiving.Done():
			return
		}
	}
}

// feed hands out the replays, then what the consumer gives. It returns true at the end of input. Nothing
// waits here but the one job in hand, so a workflow holds at most one message more than its pool.
func (l *loop) feed(jobs chan<- job) (endOfInput bool) {
	for _, e := range l.replays {
		select {
		case jobs <- job{entry: e}:
		case <-l.receiving.Done():
			return false
		}
	}
	l.replays = nil
	failed := 0
	for failures := newBackOff(); ; {
		if err := l.halted(); err != nil {
			l.workflow.log.Info("receiving has ended", "reason", err)
			return false
		}
		if l.unit.limiter != nil && l.unit.limiter.Wait(l.receiving) != nil {
			return false
		}
		delivery, err := l.receive()
		switch {
		case err == nil:
			failures.Reset()
			failed = 0
			l.workflow.counters.received.Add(1)
			select {
			case jobs <- job{delivery: delivery}:
			case <-l.ctx.Done():
				l.giveBack(&message{id: delivery.MessageID, settle: delivery.Settle}, l.stopping())
				return false
			}
		case errors.Is(err, ErrEndOfInput):
			l.workflow.log.Info("end of input")
			return true
		case l.receiving.Err() != nil:
			return false
		default:
			l.workflow.counters.failure(err)
			if failed++; l.workflow.cfg.Restart.exceeded(failed) {
				l.breaks(fmt.Errorf("the consumer failed %d times in a row, last with: %w", failed, err))
				return false
			}
			pause := failures.NextBackOff()
			l.workflow.log.Warn("receiving failed, trying again", "error", err, "pause", pause)
			if !sleep(l.receiving, pause) {
				return false
			}
		}
		if l.receiving.Err() != nil {
			return false
		}
	}
}

func (l *loop) receive() (d *Delivery, err error) {
	defer recovered("receive", &err)
	d, err = l.workflow.consumer.Receive(l.receiving)
	if err == nil && d == nil {
		err = errors.New("the consumer returned no message and no error")
	}
	return d, err
}

// handle brings one job to its end.
func (l *loop) handle(j job, failures *backoff.ExponentialBackOff) {
	c := l.workflow.counters
	m := &message{failures: failures, workflow: l.workflow.cfg.ID}
	if j.retry != nil {
		defer func() { j.retry.result <- m.outcome }() // when nothing of it is under way any more
	}
	c.inFlight.Add(1)
	defer c.inFlight.Add(-1)
	if l.workflow.cfg.Metrics.Slices > 0 {
		began := time.Now()
		defer func() { c.times.add(m, began) }()
	}
	l.workflow.joinpoint.begin(&m.whole)
	if j.delivery == nil {
		// The takeover has entered the flight already.
		m.id, m.kept = j.entry.MessageID, true
		defer l.run.flights.leave(m.id)
		if j.retry != nil {
			l.tryAgain(m, j)
			return
		}
		l.resume(m, j.entry)
		return
	}
	m.id, m.settle = j.delivery.MessageID, j.delivery.Settle
	if m.id == "" {
		m.id = uuid.NewString()
	}
	if !l.run.flights.enter(l.receiving, m.id) {
		l.giveBack(m, l.stopping())
		return
	}
	defer l.run.flights.leave(m.id)
	switch entry, found := l.run.takeover.claim(m.id, l.workflow.cfg.ID); found {
	case awaited:
		l.resume(m, entry)
	case tooLate:
		l.revive(m, entry)
	case stored:
		l.workflow.log.Info("a message was delivered again that is in the failed-message store", "message-id", m.id)
		l.acknowledge(m)
	case held:
		l.workflow.log.Info("a message was delivered that the mirror holds for an operator", "message-id", m.id)
		l.run.park(m)
	default:
		l.accept(m, j.delivery.Batch)
	}
}

// accept takes a new message into the mirror, and carries it.
func (l *loop) accept(m *message, batch Batch) {
	payload, err := l.open(m, batch)
	if err != nil {
		l.refuse(m, err)
		return
	}
	var done bool
	entry := Entry{
		MessageID: m.id, Workflow: l.workflow.cfg.ID, State: EntryReceived, Payload: payload,
		Received: m.received(),
	}
	m.original, m.arrived = payload, entry.Received
	err = l.write(l.ctx, m.id, "received", func(ctx context.Context) (err error) {
		done, err = l.run.mirror.Receive(ctx, entry)
		return err
	})
	if err != nil {
		l.giveBack(m, err)
		return
	}
	if done {
		l.workflow.counters.duplicates.Add(1)
		l.workflow.log.Debug("a message was delivered again that is done", "message-id", m.id)
		l.acknowledge(m)
		return
	}
	m.payload, m.mirrored = payload, true
	if l.workflow.cfg.AcknowledgeEarly {
		m.kept = true
		if !l.acknowledge(m) {
			return
		}
	}
	l.bring(m)
}

// open makes the message of a delivery.
func (l *loop) open(m *message, batch Batch) (payload []byte, err error) {
	defer recovered("reading of the delivery", &err)
	if batch == nil {
		return nil, errors.New("the delivery has no content")
	}
	batch.SetMeta(MetaMessageID, m.id)
	m.batches = []Batch{batch}
	payload, err = l.run.codec.Marshal(m.batches)
	if err != nil {
		return nil, fmt.Errorf("encode for the mirror: %w", err)
	}
	return payload, nil
}
