package host_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/host"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// handClock is moved by the test.
type handClock struct{ now atomic.Int64 }

func (c *handClock) read() time.Duration                 { return time.Duration(c.now.Load()) }
func (c *handClock) advance(d time.Duration)             { c.now.Add(int64(d)) }
func (c *handClock) until(d time.Duration) time.Duration { return c.read() + d }

var term7 = contract.Term{Number: 7, Node: "a"}

const maxGap = time.Second

func newGate(clock *handClock, ask func()) *host.Gate {
	return host.NewGate(host.GateConfig{Clock: clock.read, MaxGap: maxGap, Ask: ask})
}

func TestGateOpensShutsAndKeepsTheFirstReason(t *testing.T) {
	clock := &handClock{}
	gate := newGate(clock, func() {})
	pass := gate.Open(term7, clock.read(), clock.until(5*time.Second))
	if err := pass.Check(); err != nil {
		t.Fatalf("open gate: %v", err)
	}
	if got := pass.Term(); got != "7:a" {
		t.Errorf("term %q", got)
	}
	gate.Shut("demoted by 8:b")
	gate.Shut("something later")
	err := pass.Check()
	if !errors.Is(err, adapter.ErrGateShut) || !strings.Contains(err.Error(), "demoted by 8:b") {
		t.Errorf("shut gate: %v", err)
	}
	if pass.Context().Err() == nil {
		t.Error("work under way was not cancelled")
	}
}

func TestGateLapses(t *testing.T) {
	clock := &handClock{}
	gate := newGate(clock, func() {})
	pass := gate.Open(term7, clock.read(), clock.until(5*time.Second))
	for range 4 {
		clock.advance(time.Second)
		gate.Tick()
		if err := pass.Check(); err != nil {
			t.Fatalf("at %v: %v", clock.read(), err)
		}
	}
	gate.Renew(term7, clock.read(), clock.until(2*time.Second))
	clock.advance(time.Second)
	gate.Tick()
	if err := pass.Check(); err != nil {
		t.Fatalf("renewed gate at %v: %v", clock.read(), err)
	}
	clock.advance(time.Second)
	if err := pass.Check(); !errors.Is(err, adapter.ErrGateShut) {
		t.Errorf("at its end: %v", err)
	}
	gate.Renew(term7, clock.read(), clock.until(2*time.Second))
	if err := pass.Check(); !errors.Is(err, adapter.ErrGateShut) {
		t.Error("a gate that has lapsed was opened again by a late renewal")
	}
}

func TestGateIgnoresOtherTerms(t *testing.T) {
	clock := &handClock{}
	gate := newGate(clock, func() {})
	pass := gate.Open(term7, clock.read(), clock.until(time.Second/2))
	gate.Renew(contract.Term{Number: 8, Node: "b"}, clock.read(), clock.until(time.Hour))
	clock.advance(time.Second / 2)
	gate.Tick()
	if err := pass.Check(); !errors.Is(err, adapter.ErrGateShut) {
		t.Errorf("another term's renewal kept the gate open: %v", err)
	}
}

// A process that stood still for longer than maxGap, but not beyond its lease, asks before it goes on.
func TestGateAsksAfterAStall(t *testing.T) {
	for _, ticked := range []bool{false, true} {
		clock := &handClock{}
		asked := make(chan struct{}, 10)
		gate := newGate(clock, func() { asked <- struct{}{} })
		pass := gate.Open(term7, clock.read(), clock.until(10*time.Second))
		clock.advance(3 * time.Second)
		if ticked { // the watch woke up before the message did
			gate.Tick()
			<-asked
		}
		checked := make(chan error)
		go func() { checked <- pass.Check() }()
		<-asked
		select {
		case err := <-checked:
			t.Fatalf("passed without an answer (ticked=%v): %v", ticked, err)
		default:
		}
		gate.Renew(term7, clock.read()-time.Second, clock.until(10*time.Second)) // an answer from before
		<-asked
		gate.Renew(term7, clock.read(), clock.until(10*time.Second))
		if err := <-checked; err != nil {
			t.Errorf("confirmed (ticked=%v): %v", ticked, err)
		}
		gate.Tick()
		if err := pass.Check(); err != nil {
			t.Errorf("after the confirmation (ticked=%v): %v", ticked, err)
		}
	}
}

func TestGateShutWhileAsking(t *testing.T) {
	clock := &handClock{}
	asked := make(chan struct{}, 10)
	gate := newGate(clock, func() { asked <- struct{}{} })
	pass := gate.Open(term7, clock.read(), clock.until(10*time.Second))
	clock.advance(3 * time.Second)
	checked := make(chan error)
	go func() { checked <- pass.Check() }()
	<-asked
	gate.Shut("another one leads")
	if err := <-checked; !errors.Is(err, adapter.ErrGateShut) {
		t.Errorf("shut while it asked: %v", err)
	}
}

// The answer may come after the lease has ended.
func TestGateLapsesWhileAsking(t *testing.T) {
	clock := &handClock{}
	asked := make(chan struct{}, 10)
	gate := newGate(clock, func() { asked <- struct{}{} })
	pass := gate.Open(term7, clock.read(), clock.until(5*time.Second))
	clock.advance(2 * time.Second)
	checked := make(chan error)
	go func() { checked <- pass.Check() }()
	<-asked
	clock.advance(8 * time.Second)
	gate.Renew(term7, clock.read(), clock.read())
	if err := <-checked; !errors.Is(err, adapter.ErrGateShut) {
		t.Errorf("passed after the end of the lease: %v", err)
	}
}

func BenchmarkGateCheck(b *testing.B) {
	gate := host.NewGate(host.GateConfig{Clock: host.Boottime, MaxGap: time.Hour, Ask: func() {}})
	pass := gate.Open(term7, host.Boottime(), host.Boottime()+time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if err := pass.Check(); err != nil {
			b.Fatal(err)
		}
	}
}
