package host_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/host"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// failing is a workload that fails when it is told to.
type failing struct {
	*fakeWorkload
	failed chan error
}

func (f failing) Failed() <-chan error { return f.failed }

// tired is an error after which a node rests.
type tired struct{ error }

func (tired) CoolDown() time.Duration { return time.Hour }

// A workload that fails costs the node the role, by a resignation that says so, and for a while it does not stand.
func TestWorkloadFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := make(chan error, 1)
		s := newStageWith(t, true, func(w *fakeWorkload) (host.Workload, error) { return failing{w, failed}, nil })
		s.failover.promote(term7)
		s.expect(t, "lead 7:a", "start term=7:a in-flight=1")
		failed <- tired{errors.New("out of budget")}
		s.expect(t, "stop gate-open=true", "follow", "resign 7:a")
		time.Sleep(time.Minute)
		synctest.Wait()
		_, report, _ := s.failover.now()
		if report.CanLead || !strings.HasPrefix(report.Reason, "the workload has failed: out of budget; it stands for election again in 59m") {
			t.Errorf("can lead: %v, %q", report.CanLead, report.Reason)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, report, _ = s.failover.now(); !report.CanLead {
			t.Errorf("it has not recovered: %q", report.Reason)
		}
		s.failover.promote(contract.Term{Number: 8, Node: "a"})
		s.expect(t, "lead 8:a", "start term=8:a in-flight=1")
		s.end(t)
	})
}

// Nobody else could go on for a node without an election: it ends, with the reason.
func TestLoneWorkloadFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := make(chan error, 1)
		s := newStageWith(t, false, func(w *fakeWorkload) (host.Workload, error) { return failing{w, failed}, nil })
		s.expect(t, "start term= in-flight=0")
		failed <- tired{errors.New("out of budget")}
		if err := <-s.ended; err == nil || !strings.Contains(err.Error(), "out of budget") {
			t.Errorf("it ended with %v", err)
		}
		s.expect(t, "stop gate-open=true")
	})
}

// What waits for a renewal is told of each.
func TestPassUntil(t *testing.T) {
	now := time.Duration(0)
	g := host.NewGate(host.GateConfig{Clock: func() time.Duration { return now }, MaxGap: time.Second, Ask: func() {}})
	p := g.Open(term7, 0, 5*time.Second)
	if p.TermHeld() != term7 {
		t.Errorf("term %s", p.TermHeld())
	}
	for i := range 3 {
		until, renewed := p.Until()
		if want := time.Duration(5+i) * time.Second; until != want {
			t.Errorf("until %s, want %s", until, want)
		}
		select {
		case <-renewed:
			t.Error("renewed before it was")
		default:
		}
		now += time.Second
		g.Renew(term7, now, now+5*time.Second)
		select {
		case <-renewed:
		default:
			t.Error("a renewal was not told")
		}
	}
}

// A port that a former life of the node still holds is waited for, not longer than a lease, and not beyond the order to
// stop.
func TestLivenessPortIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	clock := func() time.Duration { return time.Since(start) }
	waiting := make(chan struct{})
	options := func(patience time.Duration) host.Options {
		return host.Options{
			NodeID: "a", Cluster: "c", Failover: true, Witness: true, Delay: time.Second, Patience: patience, Clock: clock, Now: time.Now,
			Liveness: &host.LivenessConfig{Listen: taken.Addr().String()}, Log: slog.New(onLog{"port is taken", func() { close(waiting) }}),
		}
	}
	if err := host.New(host.Options{
		NodeID: "a", Failover: true, Delay: time.Second, Clock: clock, Log: slog.New(slog.DiscardHandler),
		Liveness: &host.LivenessConfig{Listen: taken.Addr().String()},
	}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "liveness socket") {
		t.Errorf("without patience: %v", err)
	}
	node := host.New(options(time.Hour))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	<-waiting
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	for {
		conn, err := net.Dial("tcp", taken.Addr().String())
		if err != nil {
			continue // not yet
		}
		hello := make([]byte, len("UNDERSTUDY"))
		_, _ = conn.Read(hello)
		_ = conn.Close()
		if string(hello) != "UNDERSTUDY" {
			t.Errorf("it says %q", hello)
		}
		break
	}
	file, err := node.LivenessFile()
	if err != nil || file == nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// The duplicate keeps it from being refused.
	conn, err := net.Dial("tcp", taken.Addr().String())
	if err != nil {
		t.Error(err)
	} else {
		_ = conn.Close()
	}
	_ = file.Close()
	if conn, err := net.Dial("tcp", taken.Addr().String()); err == nil {
		_ = conn.Close()
		t.Error("it is not refused when nobody holds it any more")
	}
}

// onLog calls once when a line has text in its message.
type onLog struct {
	text string
	call func()
}

func (onLog) Enabled(context.Context, slog.Level) bool { return true }
func (l onLog) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l onLog) WithGroup(string) slog.Handler          { return l }

func (l onLog) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, l.text) {
		l.call()
	}
	return nil
}
