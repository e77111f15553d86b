package adapter

import (
	"time"

	"github.com/understudy-ha/understudy/profiler"
)

// joinpoint is the place of one component where finished steps are recorded. Without a sink it is bare, and
// costs a comparison.
type joinpoint struct {
	sink profiler.Sink
	// event has what is the same for every message.
	event profiler.StepEvent
}

// stopwatch shares clock readings between the steps of one message: the end of a step is the start of the
// next one. The clock is most of what a recorded step costs.
type stopwatch struct {
	last time.Time
	// fresh: last is now, as nothing that takes time has happened since.
	fresh bool
}

// begin is called right before the step.
func (j *joinpoint) begin(w *stopwatch) {
	if j.sink != nil && !w.fresh {
		w.last, w.fresh = time.Now(), true
	}
}

// end is called right after it.
func (j *joinpoint) end(w *stopwatch, id, workflow string, order int, failed bool) {
	if j.sink == nil {
		w.fresh = false
		return
	}
	j.record(w, id, workflow, order, failed)
}

func (j *joinpoint) record(w *stopwatch, id, workflow string, order int, failed bool) {
	// A sink that panics must not stop the message.
	defer func() { _ = recover() }()
	start, now := w.last, time.Now()
	w.last, w.fresh = now, true
	event := j.event
	event.MessageID, event.WorkflowID, event.Order, event.Failed = id, workflow, order, failed
	event.StartUnixNano, event.DurationNanos = start.UnixNano(), int64(now.Sub(start))
	j.sink.Record(event)
}

// serviceStep and producerStep are components as a workflow uses them.
type serviceStep struct {
	Service
	joinpoint
	id         string
	checkpoint bool
}

// errorHandler takes failed messages: a producer, or the failed-message store, if producer is nil.
type errorHandler struct {
	producer *producerStep
	at       string
}

// path is its place in the adapter, for people.
func (h *errorHandler) path() string {
	if h.producer == nil {
		return wordStore
	}
	return h.at
}

type producerStep struct {
	Producer
	joinpoint
	id         string
	idempotent bool
}
