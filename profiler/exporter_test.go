package profiler_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/profiler"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func stepEvent(order int) profiler.StepEvent {
	return profiler.StepEvent{
		MessageID: "0b5f3c1e-8a4e-4f5e-9d3e-6a0c7f1b2d3e", StepName: "mapping", StepInstanceID: "stamp",
		WorkflowID: "orders/files/in-to-out", StepType: profiler.KindService, Order: order,
		StartUnixNano: 1_790_000_000_000_000_000, DurationNanos: 5_200,
	}
}

// batch is one export as the agent sees it.
type batch struct {
	at      time.Duration
	orders  []int
	dropped uint64
}

// receiver is the agent's end.
type receiver struct {
	started time.Time
	// export, if set, decides how an export goes.
	export func(ctx context.Context) error

	mu      sync.Mutex // guards batches
	batches []batch
}

func (r *receiver) take(ctx context.Context, events []profiler.StepEvent, dropped uint64) error {
	b := batch{at: time.Since(r.started), dropped: dropped}
	for _, e := range events {
		b.orders = append(b.orders, e.Order)
	}
	r.mu.Lock()
	r.batches = append(r.batches, b)
	r.mu.Unlock()
	if r.export != nil {
		return r.export(ctx)
	}
	return nil
}

// batch gives the i-th.
func (r *receiver) batch(i int) batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.batches[i]
}

// sizes gives the number of events of each batch.
func (r *receiver) sizes() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sizes []int
	for _, b := range r.batches {
		sizes = append(sizes, len(b.orders))
	}
	return sizes
}

// running is an exporter at work in a synctest bubble.
type running struct {
	*profiler.Exporter
	*receiver
	cancel context.CancelFunc
	done   chan struct{}
}

func run(t *testing.T, buffer int, export func(ctx context.Context) error) *running {
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{
		Exporter: profiler.NewExporter(buffer),
		receiver: &receiver{started: time.Now(), export: export},
		cancel:   cancel,
		done:     make(chan struct{}),
	}
	go func() {
		defer close(r.done)
		r.Run(ctx, r.take)
	}()
	synctest.Wait()
	return r
}

func (r *running) record(from, to int) {
	for i := from; i < to; i++ {
		r.Record(stepEvent(i))
	}
	synctest.Wait()
}

func (r *running) stop() {
	r.cancel()
	<-r.done
}

func (r *running) checkStats(t *testing.T, want profiler.ExporterStats) {
	t.Helper()
	if got := r.Stats(); got != want {
		t.Errorf("stats: %+v, want %+v", got, want)
	}
}

func (r *running) checkSizes(t *testing.T, want ...int) {
	t.Helper()
	if got := r.sizes(); !slices.Equal(got, want) {
		t.Errorf("batches of %v, want %v", got, want)
	}
}

func TestExporterLingersForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 0, nil)
		time.Sleep(time.Hour) // idle: nothing to wake up for
		r.record(0, 3)
		time.Sleep(20 * time.Millisecond)
		r.record(3, 5)
		r.checkSizes(t)
		time.Sleep(30 * time.Millisecond)
		synctest.Wait()
		r.checkSizes(t, 5)
		if at := r.batch(0).at; at != time.Hour+50*time.Millisecond {
			t.Errorf("exported after %s, want 50ms after the first event", at-time.Hour)
		}
		r.stop()
		r.checkStats(t, profiler.ExporterStats{Recorded: 5, Exported: 5})
	})
}

func TestExporterDoesNotWaitWithAFullBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 0, nil)
		r.record(0, 600)
		r.checkSizes(t, 256, 256)
		if at := r.batch(1).at; at != 0 {
			t.Errorf("the second batch came after %s", at)
		}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		r.checkSizes(t, 256, 256, 88)
		r.stop()

		var orders []int
		for i := range 3 {
			orders = append(orders, r.batch(i).orders...)
		}
		for i, order := range orders {
			if order != i {
				t.Fatalf("event %d came as number %d", order, i)
			}
		}
	})
}

func TestExporterWithASmallBuffer(t *testing.T) {
	for _, buffer := range []int{1, 2, 3, 64} {
		synctest.Test(t, func(t *testing.T) {
			r := run(t, buffer, nil)
			for i := range 1000 {
				r.record(i, i+1)
			}
			r.stop()
			if s := r.Stats(); s.Recorded != 1000 || s.Exported != 1000 {
				t.Errorf("buffer %d: %+v", buffer, s)
			}
		})
	}
}

func TestExporterSlowExport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := run(t, 1024, func(context.Context) error { <-release; return nil })
		r.record(0, 256)  // in the hands of the agent, which is slow
		r.record(0, 1024) // fill the buffer
		r.record(0, 77)   // find no room, and do not wait for it
		r.checkStats(t, profiler.ExporterStats{Recorded: 1357, Exported: 0, Dropped: 77, Pending: 1280})
		close(release)
		synctest.Wait()
		r.checkSizes(t, 256, 256, 256, 256, 256)
		if got := r.batch(4).dropped; got != 77 {
			t.Errorf("the agent was told of %d dropped events, want 77", got)
		}
		r.stop()
		r.checkStats(t, profiler.ExporterStats{Recorded: 1357, Exported: 1280, Dropped: 77})
	})
}

func TestExporterFailingExport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		r := run(t, 0, func(context.Context) error {
			if up.Load() {
				return nil
			}
			return errors.New("the plugin is down")
		})
		r.record(0, 300)
		time.Sleep(time.Second)
		up.Store(true)
		r.record(0, 10)
		time.Sleep(time.Second)
		synctest.Wait()
		r.checkSizes(t, 256, 44, 10)
		if got := r.batch(2).dropped; got != 300 {
			t.Errorf("the agent was told of %d dropped events, want 300", got)
		}
		r.stop()
		r.checkStats(t, profiler.ExporterStats{Recorded: 310, Exported: 10, Dropped: 300})
	})
}

func TestExporterFlushesAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 0, func(ctx context.Context) error { return ctx.Err() })
		r.record(0, 100) // still lingering
		r.stop()
		r.checkSizes(t, 100)
		r.checkStats(t, profiler.ExporterStats{Recorded: 100, Exported: 100})
		if took := time.Since(r.started); took != 0 {
			t.Errorf("the end took %s", took)
		}

		r.Record(stepEvent(1)) // nobody is there any more
		r.checkStats(t, profiler.ExporterStats{Recorded: 101, Exported: 100, Dropped: 1})
	})
}

func TestExporterFlushHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 0, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		r.record(0, 600)
		time.Sleep(time.Minute) // an agent may take its time, as long as nobody wants to leave
		before := time.Now()
		r.stop()
		if took := time.Since(before); took != 2*time.Second {
			t.Errorf("the end took %s, want 2s", took)
		}
		r.checkSizes(t, 256)
		r.checkStats(t, profiler.ExporterStats{Recorded: 600, Dropped: 600})
	})
}

func TestExporterBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exporter := profiler.NewExporter(16)
		for i := range 20 {
			exporter.Record(stepEvent(i))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := &receiver{started: time.Now()}
		exporter.Run(ctx, r.take)
		if got := exporter.Stats(); got != (profiler.ExporterStats{Recorded: 20, Exported: 16, Dropped: 4}) {
			t.Errorf("stats: %+v", got)
		}
		exporter.Run(ctx, r.take) // a second time is of no use, and does no harm
	})
}

// TestExporterAccounts: whatever the agent does and whenever the end comes, every event is exported or counted
// as dropped, none twice, and each goroutine's events stay in order.
func TestExporterAccounts(t *testing.T) {
	const recorders, each = 8, 20_000
	for _, buffer := range []int{2, 64, 1 << 14} {
		t.Run(fmt.Sprint("buffer ", buffer), func(t *testing.T) {
			exporter := profiler.NewExporter(buffer)
			var last [recorders]int
			var exported, failed uint64
			export := func(_ context.Context, events []profiler.StepEvent, _ uint64) error {
				for _, e := range events {
					who := int(e.DurationNanos)
					if e.Order <= last[who] {
						t.Errorf("recorder %d: event %d after %d", who, e.Order, last[who])
					}
					last[who] = e.Order
				}
				if len(events)%3 == 0 {
					failed += uint64(len(events))
					return errors.New("no")
				}
				exported += uint64(len(events))
				return nil
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var run, recording sync.WaitGroup
			run.Go(func() { exporter.Run(ctx, export) })
			var done atomic.Int64
			for who := range recorders {
				recording.Go(func() {
					for i := range each {
						exporter.Record(profiler.StepEvent{DurationNanos: int64(who), Order: i + 1})
						if i%64 == 0 {
							runtime.Gosched()
						}
						if done.Add(1) == recorders*each/2 {
							cancel() // in the middle of it all
						}
					}
				})
			}
			recording.Wait()
			run.Wait()
			s := exporter.Stats()
			if s.Recorded != recorders*each || s.Pending != 0 || s.Recorded != s.Exported+s.Dropped {
				t.Errorf("not every event is accounted for: %+v", s)
			}
			if s.Exported != exported || s.Dropped < failed {
				t.Errorf("the agent got %d, failed for %d: %+v", exported, failed, s)
			}
		})
	}
}

func TestRecordWithoutAllocation(t *testing.T) {
	exporter := profiler.NewExporter(64)
	event := stepEvent(1)
	// The first 64 find room, the others none.
	if n := testing.AllocsPerRun(128, func() { exporter.Record(event) }); n != 0 {
		t.Errorf("%v allocations per event", n)
	}
}
