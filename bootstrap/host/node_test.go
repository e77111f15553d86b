package host_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/host"
	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/profiler"
)

// diary is what happened, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.lines
	d.lines = nil
	return lines
}

// fakeFailover is an election that does what the test says.
type fakeFailover struct {
	diary *diary
	// gateOpen asks the node, since a report may still be under way.
	gateOpen func() bool
	mu       sync.Mutex
	role     contract.RoleReport
	host     contract.HostReport
	moved    chan struct{}
	dead     chan struct{}
	// status is what the election says; resigned is the role that follows a resignation.
	status   contract.ElectionStatus
	resigned contract.RoleReport
}

func newFakeFailover(d *diary) *fakeFailover {
	return &fakeFailover{
		diary: d, role: contract.RoleReport{Role: contract.RoleStandby}, moved: make(chan struct{}), dead: make(chan struct{}),
		resigned: contract.RoleReport{Role: contract.RoleStandby, Reason: "resigned"},
	}
}

func (f *fakeFailover) become(r contract.RoleReport) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.role = r
	close(f.moved)
	f.moved = make(chan struct{})
}

func (f *fakeFailover) promote(term contract.Term) {
	f.become(contract.RoleReport{Role: contract.RoleMaster, Term: term, Valid: 5 * time.Second})
}

func (f *fakeFailover) now() (contract.RoleReport, contract.HostReport, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.role
	r.EchoClock = f.host.Clock
	return r, f.host, f.moved
}

func (f *fakeFailover) Session(ctx context.Context, reports <-chan contract.HostReport, send func(contract.RoleReport) error) error {
	for {
		role, _, moved := f.now()
		if err := send(role); err != nil {
			return err
		}
		select {
		case r := <-reports:
			f.mu.Lock()
			f.host = r
			f.mu.Unlock()
		case <-moved:
		case <-f.dead:
			return errors.New("plugin died")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fakeFailover) Pause(context.Context, bool) error { return nil }

func (f *fakeFailover) ChangeMembers(context.Context, contract.MembersChange) ([]string, error) {
	return nil, nil
}

func (f *fakeFailover) Resign(_ context.Context, term contract.Term, successor string) error {
	if successor != "" {
		successor = " to " + successor
	}
	f.diary.note("resign %s%s", term, successor)
	if f.gateOpen() {
		f.diary.note("RESIGNED WITH AN OPEN GATE")
	}
	f.mu.Lock()
	next := f.resigned
	f.mu.Unlock()
	f.become(next)
	return nil
}

func (f *fakeFailover) Status(context.Context) (contract.ElectionStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status, nil
}

// know sets what the election says of the others; the order is theirs.
func (f *fakeFailover) know(peers ...contract.ElectionPeer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = contract.ElectionStatus{NodeID: "a", Peers: peers}
	for _, p := range peers {
		f.status.Order = append(f.status.Order, p.NodeID)
	}
}

// gateHook is the gate as the failover agent holds it.
type gateHook struct{ failover *fakeFailover }

func (g gateHook) Before(ctx context.Context, at profiler.Joinpoint) error {
	if at.Transition != profiler.TransitionStart {
		return nil
	}
	for {
		role, _, moved := g.failover.now()
		if role.Role == contract.RoleMaster {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (gateHook) After(context.Context, profiler.Joinpoint, error) {}

// fakeMirror commits everything at once until it is told otherwise.
type fakeMirror struct {
	contract.CacheSync
	diary  *diary
	result contract.CommitResult
	state  chan contract.MirrorState
	hung   atomic.Bool
	peers  []contract.MirrorPeer
}

func (m *fakeMirror) Lead(_ context.Context, term contract.Term) (contract.Lead, error) {
	m.diary.note("lead %s", term)
	return contract.Lead{Entries: []contract.Entry{{MessageID: "m1", WorkflowID: "w", State: contract.EntryProducing}}}, nil
}

func (m *fakeMirror) Follow(context.Context) error {
	m.diary.note("follow")
	return nil
}

func (m *fakeMirror) Commit(_ contract.Term, _ contract.Op, quiet bool, settle func(contract.CommitResult, error)) {
	if !quiet || m.result != contract.Committed {
		settle(m.result, nil)
	}
}

func (m *fakeMirror) Status(ctx context.Context) (contract.MirrorStatus, error) {
	if m.hung.Load() {
		<-ctx.Done()
	}
	return contract.MirrorStatus{Peers: m.peers}, ctx.Err()
}

func (m *fakeMirror) Watch(ctx context.Context, changed func(contract.MirrorState)) error {
	for {
		select {
		case s := <-m.state:
			changed(s)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fakeWorkload notes what is done to it.
type fakeWorkload struct {
	diary    *diary
	startErr error
	stopErr  error
	run      adapter.Run
	// starting and draining are done by Start and Stop, if they are set.
	starting, draining func(ctx context.Context)
	// brittle: it cannot wait for a lease to come back.
	brittle bool
}

func (w *fakeWorkload) Resumes() bool { return !w.brittle }

func (w *fakeWorkload) Init(context.Context) error { return nil }

func (w *fakeWorkload) Start(ctx context.Context, run adapter.Run) error {
	w.run = run
	w.diary.note("start term=%s in-flight=%d", run.Gate.Term(), len(run.InFlight))
	if w.starting != nil {
		w.starting(ctx)
	}
	return w.startErr
}

func (w *fakeWorkload) Stop(ctx context.Context) error {
	open := w.run.Gate.Check() == nil
	w.diary.note("stop gate-open=%v", open)
	if w.draining != nil {
		w.draining(ctx)
	}
	return w.stopErr
}

func (w *fakeWorkload) Close(context.Context) error { return nil }
func (w *fakeWorkload) Status() adapter.Status      { return adapter.Status{} }

// stage is a node with fakes around it, inside a synctest bubble.
type stage struct {
	*diary
	node     *host.Node
	failover *fakeFailover
	mirror   *fakeMirror
	workload *fakeWorkload
	stop     context.CancelFunc
	ended    chan error

	mu      sync.Mutex
	changes []host.Change // guarded by mu
}

// reported returns the reports of changes of role since the last call.
func (s *stage) reported() []host.Change {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	changes := s.changes
	s.changes = nil
	return changes
}

func newStage(t *testing.T, failover bool) *stage { return newStageWith(t, failover, nil) }

// newStageWith is a stage with another workload around the fake one, or an error in place of it.
func newStageWith(t *testing.T, failover bool, build func(*fakeWorkload) (host.Workload, error)) *stage {
	t.Helper()
	return setStage(t, failover, build, func(*stage, *host.Options) {})
}

// setStage is a stage whose options can be changed, before it begins.
func setStage(t *testing.T, failover bool, build func(*fakeWorkload) (host.Workload, error), set func(*stage, *host.Options)) *stage {
	t.Helper()
	d := &diary{}
	s := &stage{
		diary: d, failover: newFakeFailover(d), workload: &fakeWorkload{diary: d}, ended: make(chan error, 1),
		mirror: &fakeMirror{diary: d, result: contract.Committed, state: make(chan contract.MirrorState)},
	}
	start := time.Now()
	opt := host.Options{
		NodeID: "a", Cluster: "c", AdapterID: "orders", Failover: failover, Mirror: failover, Delay: time.Second, Patience: 5 * time.Second,
		StopTimeout: time.Minute, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Clock: func() time.Duration { return time.Since(start) },
		Build: func() (host.Workload, error) {
			if build != nil {
				return build(s.workload)
			}
			return s.workload, nil
		},
	}
	if failover {
		opt.Lifecycle = gateHook{s.failover}
	}
	opt.Changed = func(c host.Change) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changes = append(s.changes, c)
	}
	set(s, &opt)
	s.node = host.New(opt)
	s.failover.gateOpen = func() bool { return s.node.Status().GateOpen }
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	if failover {
		s.node.FailoverUp(s.failover)
		s.node.MirrorUp(s.mirror)
	}
	go func() { s.ended <- s.node.Run(ctx) }()
	return s
}

func (s *stage) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := s.take(); !slices.Equal(got, want) {
		t.Errorf("happened:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func (s *stage) end(t *testing.T) {
	t.Helper()
	s.stop()
	if err := <-s.ended; err != nil {
		t.Errorf("a clean stop returned %v", err)
	}
}

func TestNodeWaitsWorksAndStopsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true)
		time.Sleep(time.Hour)
		s.expect(t)
		if phase := s.node.Status().Phase; phase != host.PhaseStandby {
			t.Errorf("phase %q", phase)
		}
		s.failover.promote(term7)
		s.expect(t, "lead 7:a", "start term=7:a in-flight=1")
		time.Sleep(time.Hour) // renewed all along
		if st := s.node.Status(); st.Phase != host.PhaseRunning || !st.GateOpen {
			t.Errorf("after an hour: phase %q, gate open %v", st.Phase, st.GateOpen)
		}
		s.end(t)
		s.expect(t, "stop gate-open=true", "follow", "resign 7:a")
	})
}

func TestNodeDemotedAndPromotedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true)
		s.failover.promote(term7)
		s.expect(t, "lead 7:a", "start term=7:a in-flight=1")
		s.failover.become(contract.RoleReport{Role: contract.RoleStandby, MasterID: "b", Reason: "8:b leads"})
		s.expect(t, "stop gate-open=false", "follow", "resign 7:a")
		s.failover.promote(contract.Term{Number: 9, Node: "a"})
		s.expect(t, "lead 9:a", "start term=9:a in-flight=1")
		s.end(t)
	})
}

func TestNodeLosesItsFailoverPlugin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true)
		s.failover.promote(term7)
		synctest.Wait()
		s.take()
		s.node.FailoverDown(errors.New("killed"))
		s.expect(t, "stop gate-open=false", "follow")
		s.end(t)
	})
}

func TestNodeGateLapsesWhenTheSessionHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true)
		s.failover.promote(term7)
		synctest.Wait()
		s.take()
		close(s.failover.dead) // the plugin hangs up on every session
		time.Sleep(6 * time.Second)
		s.expect(t, "stop gate-open=false", "follow", "resign 7:a")
		s.end(t)
	})
}

func TestNodeThatCannotStartGivesTheRoleUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true)
		s.workload.startErr = errors.New("no such directory")
		s.failover.promote(term7)
		s.expect(t, "lead 7:a", "start term=7:a in-flight=1", "stop gate-open=true", "follow", "resign 7:a")
		_, report, _ := s.failover.now()
		if report.CanLead || !strings.Contains(report.Reason, "no such directory") {
			t.Errorf("the election heard can-lead=%v because %q", report.CanLead, report.Reason)
		}
		if st := s.node.Status(); st.Phase != host.PhaseUnable || !strings.Contains(st.Fault, "no such directory") {
			t.Errorf("phase %q, fault %q", st.Phase, st.Fault)
		}
		s.workload.startErr = nil
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, report, _ := s.failover.now(); !report.CanLead {
			t.Errorf("never stood for election again: %q", report.Reason)
		}
		s.end(t)
	})
}

// Work that does not stop may still be writing: the others must not be told to begin.
func TestNodeWhoseWorkDoesNotStopEndsWithoutResigning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true)
		s.workload.stopErr = errors.New("workflow w is stuck")
		s.failover.promote(term7)
		s.expect(t, "lead 7:a", "start term=7:a in-flight=1")
		s.failover.become(contract.RoleReport{Role: contract.RoleStandby, MasterID: "b"})
		if err := <-s.ended; err == nil || !strings.Contains(err.Error(), "workflow w is stuck") {
			t.Errorf("the node ended with %v", err)
		}
		s.expect(t, "stop gate-open=false")
	})
}

func TestNodeThatCannotBuildDoesNotStand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStageWith(t, true, func(*fakeWorkload) (host.Workload, error) {
			return nil, errors.New("adapter.yaml:3: no such component")
		})
		synctest.Wait()
		_, report, _ := s.failover.now()
		if report.CanLead || !strings.Contains(report.Reason, "adapter.yaml:3") {
			t.Errorf("the election heard can-lead=%v because %q", report.CanLead, report.Reason)
		}
		s.stop()
		if err := <-s.ended; err != nil {
			t.Errorf("a clean stop returned %v", err)
		}
	})
}

func TestNodeStandsDownForAHigherTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true)
		s.failover.promote(term7)
		synctest.Wait()
		s.take()
		s.mirror.state <- contract.MirrorState{RefusedBy: contract.Term{Number: 8, Node: "b"}}
		s.expect(t, "stop gate-open=false", "follow", "resign 7:a")
		s.end(t)
	})
}

func TestNodeStandsDownWhenTheMirrorRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true)
		s.failover.promote(term7)
		synctest.Wait()
		s.take()
		s.mirror.result = contract.NotLeading
		if _, err := s.workload.run.Mirror.Receive(t.Context(), adapter.Entry{MessageID: "m2"}); !errors.Is(err, adapter.ErrNotLeading) {
			t.Errorf("refused commit: %v", err)
		}
		s.expect(t, "stop gate-open=false", "follow", "resign 7:a")
		s.end(t)
	})
}

func TestNodeWithoutMirrorPluginDoesNotStand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true)
		s.node.MirrorDown(errors.New("killed"))
		synctest.Wait()
		if _, report, _ := s.failover.now(); report.CanLead || !strings.Contains(report.Reason, "cachesync") {
			t.Errorf("can-lead=%v because %q", report.CanLead, report.Reason)
		}
		s.node.MirrorUp(s.mirror)
		synctest.Wait()
		if _, report, _ := s.failover.now(); !report.CanLead {
			t.Errorf("cannot lead with the mirror up: %q", report.Reason)
		}
		s.end(t)
	})
}

func TestNodeWithoutFailoverStartsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, false)
		s.expect(t, "start term= in-flight=0")
		s.end(t)
		s.expect(t, "stop gate-open=true")
	})
}

// The work would stand still while the heartbeats go on.
func TestNodeStandsDownWhenTheMirrorHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true)
		s.failover.promote(term7)
		synctest.Wait()
		s.take()
		s.mirror.hung.Store(true)
		time.Sleep(10 * time.Second)
		s.expect(t, "stop gate-open=false", "resign 7:a")
		if _, report, _ := s.failover.now(); report.CanLead || !strings.Contains(report.Reason, "does not answer") {
			t.Errorf("can-lead=%v because %q", report.CanLead, report.Reason)
		}
		s.mirror.hung.Store(false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if _, report, _ := s.failover.now(); !report.CanLead {
			t.Errorf("cannot lead with a mirror that answers again: %q", report.Reason)
		}
		s.end(t)
	})
}
