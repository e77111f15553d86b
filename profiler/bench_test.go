package profiler_test

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/understudy-ha/understudy/profiler"
)

// BenchmarkRecord is what a message pays for one step event: with room in the buffer, while Run is taking
// events out of it, and without room.
func BenchmarkRecord(b *testing.B) {
	for _, goroutines := range []int{1, 8} {
		b.Run("g"+strconv.Itoa(goroutines), func(b *testing.B) {
			exporter := profiler.NewExporter(0)
			stop := drain(exporter)
			defer stop()
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += profiler.DefaultBuffer {
				record(min(b.N-n, profiler.DefaultBuffer), goroutines, exporter)
				b.StopTimer()
				for exporter.Stats().Pending > 0 {
					runtime.Gosched()
				}
				b.StartTimer()
			}
			b.StopTimer()
			if dropped := exporter.Stats().Dropped; dropped > 0 {
				b.Errorf("%d events found no room", dropped)
			}
		})
	}
	b.Run("full", func(b *testing.B) {
		exporter := profiler.NewExporter(1)
		b.ReportAllocs()
		record(b.N, 1, exporter)
	})
}

// BenchmarkStepEvents is how many events reach the other end of the buffer. bare is what Go gives for nothing:
// a buffered channel, with one receiver that batches.
func BenchmarkStepEvents(b *testing.B) {
	for _, goroutines := range []int{1, 8} {
		b.Run("ours/g"+strconv.Itoa(goroutines), func(b *testing.B) {
			exporter := profiler.NewExporter(0)
			stop := drain(exporter)
			b.ReportAllocs()
			record(b.N, goroutines, exporter)
			stop()
			reportDelivered(b, exporter.Stats().Exported)
		})
		b.Run("bare/g"+strconv.Itoa(goroutines), func(b *testing.B) {
			bare := &channelSink{events: make(chan profiler.StepEvent, profiler.DefaultBuffer)}
			var drained sync.WaitGroup
			drained.Go(bare.drain)
			b.ReportAllocs()
			record(b.N, goroutines, bare)
			close(bare.events)
			drained.Wait()
			reportDelivered(b, bare.delivered)
		})
	}
}

// drain runs the exporter with an agent that does nothing.
func drain(exporter *profiler.Exporter) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		exporter.Run(ctx, func(context.Context, []profiler.StepEvent, uint64) error { return nil })
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// record shares events among goroutines and waits for them.
func record(events, goroutines int, sink profiler.Sink) {
	if goroutines == 1 {
		recordSome(events, sink)
		return
	}
	var recording sync.WaitGroup
	for i := range goroutines {
		recording.Go(func() { recordSome((events+i)/goroutines, sink) })
	}
	recording.Wait()
}

func recordSome(events int, sink profiler.Sink) {
	event := stepEvent(1)
	for range events {
		sink.Record(event)
	}
}

func reportDelivered(b *testing.B, delivered uint64) {
	b.ReportMetric(float64(delivered)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(100-100*float64(delivered)/float64(b.N), "drop-%")
}

type channelSink struct {
	events    chan profiler.StepEvent
	delivered uint64
}

func (c *channelSink) Record(event profiler.StepEvent) {
	select {
	case c.events <- event:
	default:
	}
}

func (c *channelSink) drain() {
	batch := make([]profiler.StepEvent, 0, 256)
	for event := range c.events {
		batch = append(batch, event)
		c.delivered++
		if len(batch) == cap(batch) {
			batch = make([]profiler.StepEvent, 0, 256)
		}
	}
}
