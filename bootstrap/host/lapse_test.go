package host_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/host"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// lapsedMaster is the report of an election that keeps the role, but has lost its majority.
var lapsedMaster = contract.RoleReport{Role: contract.RoleMaster, Term: term7}

func TestGateOpensAgainInTheSameTerm(t *testing.T) {
	clock := &handClock{}
	var events []host.GateEvent
	gate := host.NewGate(host.GateConfig{
		Clock: clock.read, MaxGap: maxGap, Grace: 5 * time.Second, Ask: func() {}, Noted: func(e host.GateEvent) { events = append(events, e) },
	})
	pass := gate.Open(term7, clock.read(), clock.until(time.Second))
	clock.advance(time.Second)
	gate.Tick()
	if s := gate.State(); !s.Held || s.Open || s.Term != term7 {
		t.Fatalf("after the lapse: %+v", s)
	}
	if pass.Context().Err() != nil {
		t.Fatal("the lapse ended the mastership")
	}
	clock.advance(time.Second / 2)
	gate.Renew(contract.Term{Number: 8, Node: "a"}, clock.read(), clock.until(time.Hour))
	if s := gate.State(); s.Open {
		t.Fatal("another term's renewal opened the gate")
	}
	gate.Renew(term7, clock.read(), clock.until(time.Second))
	gate.Tick()
	if err := pass.Check(); err != nil {
		t.Errorf("after the lease came back: %v", err)
	}
	if len(events) != 2 || events[0].Kind != host.GateLapsed || events[1].Kind != host.GateReopened {
		t.Errorf("events %+v", events)
	}
	clock.advance(time.Second + 5*time.Second)
	gate.Tick()
	if err := pass.Check(); !errors.Is(err, adapter.ErrGateShut) {
		t.Errorf("after the time in which it could come back: %v", err)
	}
}

// A renewal that says nothing of the future does not open the gate, however new it is.
func TestGateStaysShutWithoutALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &handClock{}
		reopened := false
		gate := host.NewGate(host.GateConfig{
			Clock: clock.read, MaxGap: maxGap, Grace: 5 * time.Second, Ask: func() {},
			Noted: func(e host.GateEvent) { reopened = reopened || e.Kind == host.GateReopened },
		})
		pass := gate.Open(term7, clock.read(), clock.until(time.Second))
		clock.advance(2 * time.Second)
		gate.Tick()
		passed := make(chan error, 1)
		go func() { passed <- pass.Check() }()
		synctest.Wait()
		gate.Renew(term7, clock.read(), clock.read())
		synctest.Wait()
		if gate.State().Open || reopened || len(passed) > 0 {
			t.Errorf("open without a lease: %+v, passed %d", gate.State(), len(passed))
		}
		gate.Shut("the end")
		if err := <-passed; !errors.Is(err, adapter.ErrGateShut) {
			t.Error(err)
		}
	})
}

func TestLeaseLapsesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leading(t)
		if n := len(s.reported()); n != 1 {
			t.Errorf("%d reports", n)
		}
		s.failover.become(lapsedMaster)
		time.Sleep(6 * time.Second)
		s.expect(t)
		if st := s.node.Status(); st.GateOpen || !st.GateLapsed || st.Phase != host.PhaseRunning {
			t.Errorf("after the lapse: %+v", st)
		}
		if _, report, _ := s.failover.now(); report.GateOpen || report.AtRest || !report.CanLead || report.Term != term7 {
			t.Errorf("the election heard %+v", report)
		}
		passed := make(chan error, 1)
		go func() { passed <- s.workload.run.Gate.Check() }()
		synctest.Wait()
		if len(passed) > 0 {
			t.Fatal("a message passed without a lease")
		}
		s.failover.promote(term7)
		if err := <-passed; err != nil {
			t.Errorf("the lease came back, but: %v", err)
		}
		s.expect(t)
		if st := s.node.Status(); !st.GateOpen || st.GateLapsed {
			t.Errorf("after the lease came back: %+v", st)
		}
		if changes := s.reported(); len(changes) != 0 {
			t.Errorf("a lapse was reported as a change of role: %+v", changes)
		}
		s.end(t)
	})
}

func TestLeaseDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leading(t)
		s.failover.become(lapsedMaster)
		time.Sleep(9 * time.Second) // 5 s of the last lease, and not yet 5 s without
		s.expect(t)
		time.Sleep(2 * time.Second)
		s.expect(t, "stop gate-open=false", "follow", "resign 7:a")
		s.end(t)
	})
}

func TestAnotherMasterDuringALapse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leading(t)
		s.failover.become(lapsedMaster)
		time.Sleep(6 * time.Second)
		passed := make(chan error, 1)
		go func() { passed <- s.workload.run.Gate.Check() }()
		s.failover.become(leadsOfB)
		if err := <-passed; !errors.Is(err, adapter.ErrGateShut) {
			t.Errorf("passed: %v", err)
		}
		s.expect(t, "stop gate-open=false", "follow", "resign 7:a")
		s.end(t)
	})
}

// A workload that cannot wait at the gate is stopped when the lease ends.
func TestLapseEndsABrittleWorkload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true)
		s.workload.brittle = true
		s.failover.promote(term7)
		s.expect(t, "lead 7:a", "start term=7:a in-flight=1")
		s.failover.become(lapsedMaster)
		time.Sleep(5*time.Second + time.Millisecond)
		s.expect(t, "stop gate-open=false", "follow", "resign 7:a")
		s.end(t)
	})
}

// What waits at the gate must not keep a node from stopping.
func TestStopDuringALapse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leading(t)
		s.failover.become(lapsedMaster)
		time.Sleep(6 * time.Second)
		passed := make(chan error, 1)
		go func() { passed <- s.workload.run.Gate.Check() }()
		s.workload.draining = func(context.Context) {
			if err := <-passed; !errors.Is(err, adapter.ErrGateShut) {
				t.Errorf("passed: %v", err)
			}
		}
		s.end(t)
		s.expect(t, "stop gate-open=false", "follow", "resign 7:a")
	})
}

// The same while it starts.
func TestStopDuringALapseOfTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true)
		s.workload.starting = func(context.Context) {
			s.failover.become(lapsedMaster)
			time.Sleep(6 * time.Second)
			_ = s.workload.run.Gate.Check()
		}
		s.failover.promote(term7)
		time.Sleep(7 * time.Second)
		s.expect(t, "lead 7:a", "start term=7:a in-flight=1")
		began := time.Now()
		s.end(t)
		if took := time.Since(began); took > 0 {
			t.Errorf("the stop waited %v for a lease", took)
		}
		s.expect(t, "stop gate-open=false", "follow", "resign 7:a")
	})
}

// A lease that lapses while a mastership is being ended does not come back.
func TestLapseDuringTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leading(t)
		s.failover.resigned = leadsOfB
		s.workload.draining = func(context.Context) {
			s.failover.become(lapsedMaster)
			began := time.Now()
			for s.workload.run.Gate.Check() == nil {
				time.Sleep(100 * time.Millisecond)
			}
			if waited := time.Since(began); waited > 6*time.Second {
				t.Errorf("what is under way waited %v at the gate", waited)
			}
		}
		s.failover.become(contract.RoleReport{
			Role: contract.RoleMaster, Term: term7, Valid: 5 * time.Second, Handover: contract.Handover{To: "b", Reason: "wished"},
		})
		time.Sleep(time.Minute)
		s.expect(t, "stop gate-open=true", "follow", "resign 7:a to b")
		s.end(t)
	})
}

// The first lease of a term comes with the first answer of a majority, and work begins at once then.
func TestFirstLeaseIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		built := 0
		s := newStageWith(t, true, func(w *fakeWorkload) (host.Workload, error) {
			built++
			return w, nil
		})
		s.failover.become(lapsedMaster)
		time.Sleep(3 * time.Second)
		s.expect(t)
		if built != 1 {
			t.Errorf("the workload was built %d times", built)
		}
		began := time.Now()
		s.failover.promote(term7)
		s.expect(t, "lead 7:a", "start term=7:a in-flight=1")
		if waited := time.Since(began); waited > 0 {
			t.Errorf("it noticed after %v", waited)
		}
		s.end(t)
	})
}

// fakeFactory makes one producer and one consumer.
type fakeFactory struct {
	adapter.Factory
	producer adapter.Producer
	consumer adapter.Consumer
}

func (f fakeFactory) Producer(adapter.Spec) (adapter.Producer, error) { return f.producer, nil }
func (f fakeFactory) Consumer(adapter.Spec) (adapter.Consumer, error) { return f.consumer, nil }

type fakeProducer struct {
	adapter.Producer
	produce func(ctx context.Context) error
}

func (p fakeProducer) Produce(ctx context.Context, _ adapter.Batch) error { return p.produce(ctx) }
func (fakeProducer) Idempotent() bool                                     { return false }

type fakeConsumer struct {
	adapter.Consumer
	receive func(ctx context.Context) (*adapter.Delivery, error)
}

func (c fakeConsumer) Receive(ctx context.Context) (*adapter.Delivery, error) { return c.receive(ctx) }

type fakeRescanner struct{ fakeConsumer }

func (fakeRescanner) Rescanned() <-chan struct{} { return nil }

type fakeBatch struct {
	adapter.Batch
	meta map[string]string
}

func (b fakeBatch) SetMeta(key, value string) { b.meta[key] = value }

// A produce under way is cancelled when the lease ends, and done again, marked, when it comes back.
func TestGuardedProduce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leading(t)
		tries := 0
		producer, err := s.node.Guard(fakeFactory{producer: fakeProducer{produce: func(ctx context.Context) error {
			if tries++; tries == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}}).Producer(adapter.Spec{})
		if err != nil {
			t.Fatal(err)
		}
		batch := fakeBatch{meta: map[string]string{}}
		produced := make(chan error, 1)
		go func() { produced <- producer.Produce(t.Context(), batch) }()
		s.failover.become(lapsedMaster)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if tries != 1 || len(produced) > 0 {
			t.Fatalf("%d tries", tries)
		}
		s.failover.promote(term7)
		if err := <-produced; err != nil || tries != 2 || batch.meta[adapter.MetaPossibleDuplicate] != "true" {
			t.Errorf("%d tries, %v, metadata %v", tries, err, batch.meta)
		}
		s.end(t)
	})
}

func TestGuardedProduceThatIsDemoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leading(t)
		producer, _ := s.node.Guard(fakeFactory{producer: fakeProducer{produce: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}}).Producer(adapter.Spec{})
		produced := make(chan error, 1)
		go func() { produced <- producer.Produce(s.workload.run.Gate.Context(), fakeBatch{}) }()
		s.failover.become(lapsedMaster)
		time.Sleep(6 * time.Second)
		s.failover.become(leadsOfB)
		if err := <-produced; err == nil {
			t.Error("produced without a gate")
		}
		s.end(t)
	})
}

// Whoever is told of a newer master by a receiver does not wait for the election to hear of it.
func TestFencedProduceShutsTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leading(t)
		producer, _ := s.node.Guard(fakeFactory{producer: fakeProducer{produce: func(context.Context) error {
			return adapter.ErrFenced
		}}}).Producer(adapter.Spec{})
		if err := producer.Produce(t.Context(), fakeBatch{}); !errors.Is(err, adapter.ErrFenced) {
			t.Error(err)
		}
		s.expect(t, "stop gate-open=false", "follow", "resign 7:a")
		s.end(t)
	})
}

// Nothing is taken out of a source without a lease; a message that came before is not lost.
func TestGuardedReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leading(t)
		tries := 0
		factory := s.node.Guard(fakeFactory{consumer: fakeRescanner{fakeConsumer{receive: func(ctx context.Context) (*adapter.Delivery, error) {
			if tries++; tries == 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return &adapter.Delivery{MessageID: "m2"}, nil
		}}}})
		consumer, err := factory.Consumer(adapter.Spec{})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := consumer.(adapter.Rescanner); !ok {
			t.Error("a consumer that can tell when it has offered everything no longer can")
		}
		received := make(chan *adapter.Delivery, 1)
		go func() {
			d, err := consumer.Receive(t.Context())
			if err != nil {
				t.Error(err)
			}
			received <- d
		}()
		s.failover.become(lapsedMaster)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if tries != 1 {
			t.Errorf("%d tries while there was no lease", tries)
		}
		s.failover.promote(term7)
		if d := <-received; d.MessageID != "m2" {
			t.Errorf("received %+v", d)
		}
		s.end(t)
	})
}
