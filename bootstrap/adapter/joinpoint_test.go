package adapter

import (
	"testing"

	"github.com/understudy-ha/understudy/profiler"
)

// last keeps the last event, as cheap as a sink can be.
type last struct{ event profiler.StepEvent }

func (l *last) Record(e profiler.StepEvent) { l.event = e }

// BenchmarkJoinpoint is the cost of one step's joinpoint, beside the step itself.
func BenchmarkJoinpoint(b *testing.B) {
	for name, sink := range map[string]profiler.Sink{"bare": nil, "woven": &last{}} {
		b.Run(name, func(b *testing.B) {
			j := &joinpoint{sink: sink, event: profiler.StepEvent{StepName: "mapping", StepInstanceID: "stamp", StepType: profiler.KindService}}
			var w stopwatch
			b.ReportAllocs()
			for range b.N { // b.Loop would forbid the inlining that makes bare cheap
				j.begin(&w)
				j.end(&w, "id", "workflow", 2, false)
			}
		})
	}
}

func TestJoinpointDoesNotAllocate(t *testing.T) {
	for name, sink := range map[string]profiler.Sink{"bare": nil, "woven": &last{}} {
		j := &joinpoint{sink: sink}
		var w stopwatch
		if n := testing.AllocsPerRun(100, func() {
			j.begin(&w)
			j.end(&w, "id", "workflow", 2, false)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
