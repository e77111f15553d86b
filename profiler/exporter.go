package profiler

import (
	"context"
	"math"
	"math/bits"
	"runtime"
	"sync/atomic"
	"time"
)

const (
	// DefaultBuffer is the number of events that an Exporter holds: a second of work at 8000 steps/s.
	DefaultBuffer = 8192

	// batchSize: smaller batches cost calls, larger ones were measured to be slower over gRPC.
	batchSize = 256
	// linger is how long the first event of a batch waits for others.
	linger = 50 * time.Millisecond
	// flushTimeout is how long the exports at the end may take together.
	flushTimeout = 2 * time.Second

	// closed is set in tail when nothing is taken any more. It is far above any position that can be reached.
	closed = 1 << 62
	// never is a position that is not reached either.
	never = math.MaxUint64
)

// Exporter is the Sink that carries step events to one agent without ever holding a message up: a bounded
// buffer, from which Run takes batches. Record allocates nothing and takes no lock; what finds no room is
// dropped, and counted.
//
// The buffer is Dmitry Vyukov's bounded queue (1024cores.net, "Bounded MPMC queue"), with one consumer. Each
// slot carries a sequence number: position p may be written when it is p, and read when it is p+1; reading sets
// it to p + the size of the buffer, which is when the slot's next turn comes. All of it is atomic, so that the
// event itself is always handed over.
type Exporter struct {
	slots []slot
	mask  uint64

	_ [64]byte // tail is written by every Record: a cache line of its own
	// tail is the next position to be written, with the closed bit. It counts the events accepted.
	tail atomic.Uint64
	_    [56]byte
	// wakeAt is the tail at which Run wants to be woken; never while it is awake.
	wakeAt atomic.Uint64
	wake   chan struct{}

	// refused are the events that found no room, givenUp those whose export failed.
	refused  atomic.Uint64
	givenUp  atomic.Uint64
	exported atomic.Uint64

	// head is the next position to be read. Only Run uses it.
	head uint64
}

type slot struct {
	sequence atomic.Uint64
	event    StepEvent
}

// NewExporter returns an exporter with room for at least buffer events; 0 is DefaultBuffer.
func NewExporter(buffer int) *Exporter {
	if buffer <= 0 {
		buffer = DefaultBuffer
	}
	// A power of two; not 1, where a written slot would look like one that is free for the next round.
	size := uint64(1) << bits.Len(uint(max(buffer, 2)-1))
	e := &Exporter{slots: make([]slot, size), mask: size - 1, wake: make(chan struct{}, 1)}
	for i := range e.slots {
		e.slots[i].sequence.Store(uint64(i))
	}
	e.wakeAt.Store(never)
	return e
}

// Record takes an event, or drops it and counts it if there is no room, or if Run has ended. It may be called
// from any number of goroutines, also before Run.
func (e *Exporter) Record(event StepEvent) {
	position := e.tail.Load()
	for {
		s := &e.slots[position&e.mask]
		// Zero: the slot is free and the position is ours to take. Below: it holds an event of the last round
		// still, or the exporter is closed. Above: another goroutine was faster.
		switch ahead := int64(s.sequence.Load() - position); {
		case ahead == 0:
			if !e.tail.CompareAndSwap(position, position+1) {
				position = e.tail.Load()
				continue
			}
			s.event = event
			s.sequence.Store(position + 1)
			if position+1 >= e.wakeAt.Load() {
				e.wakeRun()
			}
			return
		case ahead < 0:
			e.refused.Add(1)
			return
		default:
			position = e.tail.Load()
		}
	}
}

// wakeRun may overwrite a newer wish of Run. That does no harm: the token comes after it, and makes Run look
// and wish again.
func (e *Exporter) wakeRun() {
	e.wakeAt.Store(never)
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// ExporterStats are counters since the start. Recorded = Exported + Dropped + Pending; when Run has ended,
// Pending is 0.
type ExporterStats struct {
	Recorded, Exported, Dropped, Pending uint64
}

// Stats may be called at any time. While events are being recorded the counters are of slightly different
// moments.
func (e *Exporter) Stats() ExporterStats {
	refused := e.refused.Load()
	s := ExporterStats{Exported: e.exported.Load(), Dropped: e.givenUp.Load() + refused}
	// Read last: an event is accepted before it is exported, so that Pending is never negative.
	s.Recorded = e.tail.Load()&^closed + refused
	s.Pending = s.Recorded - s.Exported - s.Dropped
	return s
}

// Run gives the events to export in batches: as soon as there are 256, or 50 ms after the first. dropped is the
// number of events dropped since the start. The events of a batch whose export fails are dropped and counted;
// export is the one to log that. The slice belongs to export, which is called from this goroutine, and must
// return when its ctx ends.
//
// When ctx ends Run stops taking events, exports what there is for at most two seconds, and returns. It is
// called once.
func (e *Exporter) Run(ctx context.Context, export func(ctx context.Context, events []StepEvent, dropped uint64) error) {
	// Exports outlive ctx by the time of the flush, the one that is under way when it ends as well.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(flushTimeout, cancel) })
	defer stop()

	timer := time.NewTimer(linger)
	defer timer.Stop()
	for ctx.Err() == nil {
		if !e.waitFor(ctx, 1, nil) {
			break
		}
		timer.Reset(linger)
		e.waitFor(ctx, min(batchSize, e.mask+1), timer.C)
		e.exportBatch(work, export)
	}

	end := e.tail.Or(closed) &^ closed
	for e.head != end {
		// An event whose position has been taken but that is not yet written is about to be.
		if !e.exportBatch(work, export) {
			runtime.Gosched()
		}
	}
}

// waitFor waits until so many events are there, the timeout comes, or ctx ends. It reports the first.
func (e *Exporter) waitFor(ctx context.Context, events uint64, timeout <-chan time.Time) bool {
	for {
		// First the wish, then the look: a Record that comes after the look sees the wish.
		e.wakeAt.Store(e.head + events)
		if e.ready(events) {
			e.wakeAt.Store(never)
			return true
		}
		select {
		case <-e.wake:
		case <-timeout:
			e.wakeAt.Store(never)
			return false
		case <-ctx.Done():
			e.wakeAt.Store(never)
			return false
		}
	}
}

// ready reports whether so many events can be read.
func (e *Exporter) ready(events uint64) bool {
	last := e.head + events - 1
	return e.slots[last&e.mask].sequence.Load() == last+1
}

// exportBatch exports what there is, up to one batch, and reports whether there was anything.
func (e *Exporter) exportBatch(ctx context.Context, export func(context.Context, []StepEvent, uint64) error) bool {
	events := e.take()
	if len(events) == 0 {
		return false
	}
	n := uint64(len(events))
	if err := ctx.Err(); err != nil {
		e.givenUp.Add(n)
		return true
	}
	if err := export(ctx, events, e.refused.Load()+e.givenUp.Load()); err != nil {
		e.givenUp.Add(n)
		return true
	}
	e.exported.Add(n)
	return true
}

// take moves events out of the buffer.
func (e *Exporter) take() []StepEvent {
	var events []StepEvent
	for len(events) < batchSize && e.ready(1) {
		s := &e.slots[e.head&e.mask]
		if events == nil {
			events = make([]StepEvent, 0, batchSize)
		}
		events = append(events, s.event)
		s.event = StepEvent{} // let go of its strings
		s.sequence.Store(e.head + e.mask + 1)
		e.head++
	}
	return events
}
