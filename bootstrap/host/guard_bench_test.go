package host_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/host"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// BenchmarkGuardedProduce is what the lease costs a produce that takes no time itself.
func BenchmarkGuardedProduce(b *testing.B) {
	d := &diary{}
	f := newFakeFailover(d)
	started := make(chan struct{})
	w := &fakeWorkload{diary: d, starting: func(context.Context) { close(started) }}
	node := host.New(host.Options{
		NodeID: "a", Failover: true, Delay: time.Second, Patience: time.Hour, StopTimeout: time.Minute, Lifecycle: gateHook{f},
		Log: slog.New(slog.DiscardHandler), Now: time.Now, Clock: host.Boottime, Build: func() (host.Workload, error) { return w, nil },
	})
	f.gateOpen = func() bool { return node.Status().GateOpen }
	node.FailoverUp(f)
	f.become(contract.RoleReport{Role: contract.RoleMaster, Term: term7, Valid: time.Hour})
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	<-started
	producer, err := node.Guard(fakeFactory{producer: fakeProducer{produce: func(context.Context) error { return nil }}}).Producer(adapter.Spec{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := producer.Produce(w.run.Gate.Context(), fakeBatch{}); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	stop()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}
