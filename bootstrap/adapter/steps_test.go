package adapter_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/profiler"
)

func TestStepEvents(t *testing.T) {
	for name, panics := range map[string]string{"plain": "", "a sink that panics": "sink"} {
		t.Run(name, func(t *testing.T) {
			scenario(t, func(t *testing.T, w *world) {
				slow := func(_ context.Context, b *batch) ([]adapter.Batch, error) {
					time.Sleep(time.Second)
					return []adapter.Batch{b}, nil
				}
				w.factory.services = map[string]serviceFunc{"slow": slow, "bad": mark}
				w.source().put("a")
				close(w.source().input)
				v := &weaver{steps: func(profiler.Kind) bool { return true }, panics: panics}
				a := w.weave(t, workflowText("services: [{id: slow, mapping: x}, {id: bad, mapping: x}]", "on-error: {out: {}}"), v)
				began := time.Now()
				if err := a.Init(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := a.Start(t.Context(), adapter.Run{Gate: w, Mirror: mirror{w}}); err != nil {
					t.Fatal(err)
				}
				<-a.Done()
				stop(t, a)
				var got []string
				for _, e := range v.events {
					got = append(got, fmt.Sprintf("%d %s %s(%s) %s %s start=%s took=%s failed=%t", e.Order, e.StepType, e.StepName, e.StepInstanceID,
						e.WorkflowID, e.MessageID, time.Duration(e.StartUnixNano-began.UnixNano()), time.Duration(e.DurationNanos), e.Failed))
				}
				want := []string{
					"2 service mapping(slow) w a start=0s took=1s failed=false",
					"3 service mapping(bad) w a start=1s took=0s failed=true",
					"5 producer out(on-error) w a start=1s took=0s failed=false",
					"1 workflow StandardWorkflow(w) w a start=0s took=1s failed=true",
				}
				for i := range max(len(got), len(want)) {
					if i >= len(got) || i >= len(want) || got[i] != want[i] {
						t.Fatalf("got %q\nwant %q", got, want)
					}
				}
			})
		})
	}
}
