package contract_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/plugins/contract/contracttest"
	"github.com/understudy-ha/understudy/profiler"
	profilerv1 "github.com/understudy-ha/understudy/proto/gen/understudy/profiler/v1"
)

// batch is how many steps travel together: best in what was measured of gRPC over a unix socket.
const batch = 64

// Steps from the host to the plugin, both ends in one process over a unix socket. bare is gRPC's client stream
// with messages that were made before and a server that throws them away.
func BenchmarkStepEvents(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		agent := contracttest.Pair(b, contract.Plugin{Name: "fake", Agent: &discardAgent{}}).Agent
		events := make([]profiler.StepEvent, batch)
		for i := range events {
			events[i] = profiler.StepEvent{
				MessageID: "9f1c2f0e-6d2e-4b0c-8c7e-0d6e3a1b2c3d", StepName: "stamp", StepInstanceID: "stamp-1",
				WorkflowID: "in-to-out", StepType: profiler.KindService, Order: i, StartUnixNano: 1_800_000_000_000_000_000, DurationNanos: 1200,
			}
		}
		b.ReportAllocs()
		for b.Loop() {
			if err := agent.Steps(b.Context(), events, 0); err != nil {
				b.Fatal(err)
			}
		}
		if err := agent.Shutdown(b.Context()); err != nil { // waits for the last
			b.Fatal(err)
		}
		b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("bare", func(b *testing.B) {
		conn, _ := plugin.TestGRPCConn(b, func(s *grpc.Server) { profilerv1.RegisterAgentServiceServer(s, bareAgent{}) })
		defer conn.Close()
		stream, err := profilerv1.NewAgentServiceClient(conn).Steps(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		request := &profilerv1.StepsRequest{}
		for i := range batch {
			request.Events = append(request.Events, &profilerv1.StepEvent{
				MessageId: "9f1c2f0e-6d2e-4b0c-8c7e-0d6e3a1b2c3d", StepName: "stamp", StepInstanceId: "stamp-1",
				WorkflowId: "in-to-out", StepType: 5, Order: int32(i), StartUnixNanos: 1_800_000_000_000_000_000, DurationNanos: 1200,
			})
		}
		b.ReportAllocs()
		for b.Loop() {
			if err := stream.Send(request); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := stream.CloseAndRecv(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "events/s")
	})
}

type discardAgent struct{ contracttest.Agent }

func (*discardAgent) Steps(context.Context, []profiler.StepEvent, uint64) error { return nil }

type bareAgent struct {
	profilerv1.UnimplementedAgentServiceServer
}

func (bareAgent) Steps(stream profilerv1.AgentService_StepsServer) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return stream.SendAndClose(&profilerv1.StepsResponse{})
		}
	}
}

// One change from the host to a mirror that commits it at once, and the answer back; unary is a call that does
// nothing, for comparison.
func BenchmarkCommit(b *testing.B) {
	m := mirror(b, &scriptedMirror{onCommit: func(_ contract.Term, _ contract.Op, _ bool, settle func(contract.CommitResult, error)) {
		settle(contract.Committed, nil)
	}})
	payload := make([]byte, 256)
	for _, writers := range []int{1, 8, 64} {
		b.Run(name("w", writers), func(b *testing.B) {
			latencies(b, writers, func() {
				settled := make(chan struct{})
				m.Commit(term, contract.Op{Kind: contract.OpReceived, MessageID: "m", WorkflowID: "w", Payload: payload}, false,
					func(contract.CommitResult, error) { close(settled) })
				<-settled
			})
		})
	}
	b.Run("unary", func(b *testing.B) {
		agent := contracttest.Pair(b, contract.Plugin{Name: "fake", Agent: &contracttest.Agent{}}).Agent
		latencies(b, 1, func() {
			if err := agent.After(b.Context(), start, nil); err != nil {
				b.Error(err)
			}
		})
	})
}

// latencies runs one from so many goroutines and reports how long it takes.
func latencies(b *testing.B, writers int, one func()) {
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	var running sync.WaitGroup
	b.ResetTimer()
	for range writers {
		running.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(b.N) {
					return
				}
				begun := time.Now()
				one()
				took[i] = time.Since(begun)
			}
		})
	}
	running.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-us")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}
