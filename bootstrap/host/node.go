// Package host is the life of a node (DESIGN.md, section 4): it builds the workload, waits at the gate until the
// election promotes this node, seals the mirror, starts the work, and stops it again in an orderly way when the
// node is demoted or asked to end. It owns the gate that every message passes.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/profiler"
)

// Workload is what runs on the master: an adapter.
type Workload interface {
	// Init prepares everything that can be prepared while standing by.
	Init(ctx context.Context) error
	// Start begins to work. ctx bounds the start only.
	Start(ctx context.Context, run adapter.Run) error
	// Stop ends the work: what is under way is finished until ctx ends, then it is cut off. Nothing is under
	// way when it returns.
	Stop(ctx context.Context) error
	Close(ctx context.Context) error
	Status() adapter.Status
}

// Options is what a Node is made of.
type Options struct {
	NodeID, Cluster string
	// AdapterID names the workload at joinpoints and in the log.
	AdapterID string
	// Build makes a workload that has not been initialised. It is called for each mastership.
	Build func() (Workload, error)
	// Lifecycle are the hooks around the adapter itself; nil if nobody asked. Its Before(START) is the gate: the
	// only hook that is called here, the workload calls all others.
	Lifecycle profiler.Hook
	// Failover: the node waits to be promoted; else it starts at once.
	Failover bool
	// Mirror: the node has a cachesync plugin.
	Mirror bool
	// Delay is the cluster's heartbeat; Patience is how long a master may be silent before it counts as gone.
	Delay, Patience time.Duration
	// Beat is how often the other nodes are heard; 0: each Delay. Unnamed: the election knows them by other ids than the
	// mirror does, so that the mirror cannot be asked about one of them.
	Beat    time.Duration
	Unnamed bool
	// Liveness is where the liveness socket listens; nil for none.
	Liveness *LivenessConfig
	// StopTimeout is how long a clean stop may take to finish what is under way.
	StopTimeout time.Duration
	// Witness: the node only takes part in the election and never leads. It has no workload; Build is not called.
	Witness bool
	// Check is the node's own check of its health; nil for none.
	Check *CheckConfig
	// Hook is run at each change of role, beside everything else; nil for none.
	Hook *HookConfig
	// Changed is given the report of each change of role, one at a time; it may take its time. nil: they are only logged.
	Changed func(Change)
	Log     *slog.Logger
	Clock   Clock
	Now     func() time.Time
}

// sealTimeout bounds the takeover of the mirror; what the peers did not answer until then they do not have.
const sealTimeout = 30 * time.Second

// errNotAtRest: work of this node could not be stopped.
var errNotAtRest = errors.New("the work could not be stopped; this process ends, so that it does")

// shutdownTimeout bounds what is said to plugins at the end.
const shutdownTimeout = 5 * time.Second

// Node is one running bootstrap.
type Node struct {
	opt      Options
	log      *slog.Logger
	gate     *Gate
	election *election
	mirror   *link[contract.CacheSync]
	hooks    *hooks // nil if there are none
	// orders are handovers that somebody has asked for; unfit is filled when the check says that this node should
	// not lead, capacity 1.
	orders chan departure
	unfit  chan struct{}
	// changes are reports on their way to Options.Changed, gateEvents those of the gate on their way to the log.
	changes    chan Change
	gateEvents chan GateEvent
	// running are the goroutines of the node, which end with life.
	running sync.WaitGroup
	life    context.Context

	mu       sync.Mutex
	watched  *liveness     // guarded by mu; the liveness socket, nil if there is none
	phase    Phase         // guarded by mu
	moved    chan struct{} // guarded by mu; closed when phase changes
	workload Workload      // guarded by mu; nil between two
	fault    string        // guarded by mu; the last reason why the workload could not run
}

// Phase is what a node is doing.
type Phase string

// The phases.
const (
	PhaseStarting Phase = "starting"
	PhaseStandby  Phase = "standing by"
	PhasePromoted Phase = "promoted"
	PhaseRunning  Phase = "running"
	PhaseStopping Phase = "stopping"
	PhaseUnable   Phase = "unable to start"
	PhaseWitness  Phase = "voting"
)

// The host reports to the election so often per heartbeat, but not more often than minReportEvery.
const (
	reportsPerDelay = 4
	minReportEvery  = 10 * time.Millisecond
	// minPingEvery: a mirror is asked for a sign of life no more often than that, and given as long to answer.
	minPingEvery = 250 * time.Millisecond
)

// maxWaitingReports bounds the takeover reports that wait for a slow disk, and the events of the gate.
const maxWaitingReports = 32

// New returns a node that has not begun to live.
func New(opt Options) *Node {
	every := max(opt.Delay/reportsPerDelay, minReportEvery)
	n := &Node{
		opt: opt, log: opt.Log, phase: PhaseStarting, moved: make(chan struct{}),
		election: newElection(opt.Log, opt.Clock, every), mirror: newLink[contract.CacheSync](),
		hooks: newHooks(opt.Hook, opt.Log), orders: make(chan departure), unfit: make(chan struct{}, 1),
		changes: make(chan Change, maxWaitingReports), gateEvents: make(chan GateEvent, maxWaitingReports),
	}
	n.gate = NewGate(GateConfig{
		Clock: opt.Clock, MaxGap: max(opt.Delay, minReportEvery), Grace: opt.Patience, Ask: n.election.ask, Noted: n.noteGate,
	})
	n.election.gate = n.gate
	if opt.Mirror {
		n.election.health.mirrorFault = "the cachesync plugin is not up"
	}
	if opt.Check != nil && !opt.Check.OnlyMaster {
		n.election.health.checkFault = "its check has not been answered yet"
	}
	return n
}

// FailoverUp is called when the failover plugin is there.
func (n *Node) FailoverUp(plugin contract.Failover) { n.election.link.set(plugin) }

// FailoverDown is called when the failover plugin has died: it counts as a lost mastership.
func (n *Node) FailoverDown(err error) { n.election.down(err) }

// Run lives until ctx ends, which is a clean stop, and returns when nothing of the node is under way. It is
// called once.
func (n *Node) Run(ctx context.Context) (ended error) {
	background, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	n.life = background
	var reports sync.WaitGroup
	defer func() {
		cancel(errors.New("this node has ended"))
		n.running.Wait()
		close(n.changes)
		reports.Wait()
	}()
	if n.opt.Changed != nil {
		reports.Go(n.keepReports)
	}
	defer n.startHooks(background)()
	if n.opt.Failover {
		watched, err := n.openLiveness(ctx)
		if err != nil {
			return err
		}
		n.holdLiveness(watched)
		defer func() {
			// Work that could not be stopped ends with the process, and so does the socket that stands for it.
			if watched != nil && !errors.Is(ended, errNotAtRest) {
				ended = errors.Join(ended, watched.close())
			}
		}()
		n.running.Go(func() { n.gate.watch(background) })
		n.running.Go(func() { n.logGate(background) })
		n.running.Go(func() { n.election.run(background) })
		n.running.Go(func() { n.followMaster(background) })
	}
	if n.opt.Witness {
		return n.witness(ctx)
	}
	if n.opt.Mirror {
		n.running.Go(func() { n.watchMirror(background) })
	}
	if n.opt.Check != nil && n.opt.Failover {
		n.running.Go(func() { n.checker(*n.opt.Check).run(background) })
	}
	return n.live(ctx)
}

// witness takes part in the election until ctx ends.
func (n *Node) witness(ctx context.Context) error {
	n.doNotStand("it is a witness: it votes, and never leads")
	n.setPhase(PhaseWitness, "")
	<-ctx.Done()
	return nil
}

// working reports whether the workload runs, and when that changes.
func (n *Node) working() (bool, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.phase == PhaseRunning, n.moved
}

// live goes round once for each mastership.
func (n *Node) live(ctx context.Context) error {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval = max(n.opt.Delay, 100*time.Millisecond)
	retry.MaxInterval = time.Minute
	for {
		err := n.master(ctx, retry.Reset)
		if ctx.Err() != nil || errors.Is(err, errNotAtRest) {
			return err
		}
		if err == nil {
			continue
		}
		if !n.opt.Failover {
			return err
		}
		wait := retry.NextBackOff()
		n.setPhase(PhaseUnable, err.Error())
		n.log.Error("this node cannot run its workload and does not stand for election", "error", err, "again_in", wait.String())
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// master builds the workload, waits for promotion, works until it ends, and cleans up. healthy is called
// once the work has started. The error says why the workload could not be run; a demotion is none.
func (n *Node) master(ctx context.Context, healthy func()) (err error) {
	w, err := n.prepare(ctx)
	if err != nil {
		n.doNotStand(err.Error())
		return err
	}
	defer func() {
		n.election.set(func(h *health) {
			if h.canLead {
				h.canLead, h.reason = false, "the adapter is being built anew"
			}
		})
		err = errors.Join(err, n.discard(ctx, w))
	}()
	n.setPhase(PhaseStandby, "")
	n.election.set(func(h *health) { h.canLead, h.reason, h.atRest = true, "", true })

	if err := n.beforeStart(ctx); err != nil {
		if ctx.Err() != nil {
			n.withdraw(ctx)
			return nil
		}
		n.doNotStand(err.Error())
		return fmt.Errorf("start of the adapter: %w", err)
	}
	gate, term, err := n.open(ctx)
	if err != nil {
		n.afterStart(ctx, err)
		if ctx.Err() != nil {
			n.withdraw(ctx)
		}
		n.log.Debug("not promoted after all", "reason", err)
		return nil
	}
	n.election.set(func(h *health) { h.atRest = false })
	n.hooks.become(HookEvent{Role: HookMaster, Term: term, Master: n.opt.NodeID, Reason: n.Role().Reason})
	m := &mastership{workload: w, gate: gate, term: term, flights: newFlights(noMirror{}, nil)}
	leaving, failure := n.work(gate.Context(), ctx, m, healthy)
	return errors.Join(failure, n.standDown(ctx, m, leaving))
}

// doNotStand keeps this node from being promoted until it says otherwise.
func (n *Node) doNotStand(reason string) {
	n.election.set(func(h *health) { h.canLead, h.reason = false, reason })
}

// prepare builds and initialises the workload.
func (n *Node) prepare(ctx context.Context) (Workload, error) {
	w, err := n.opt.Build()
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.workload = w
	n.mu.Unlock()
	if err := w.Init(ctx); err != nil {
		return nil, errors.Join(err, n.discard(ctx, w))
	}
	return w, nil
}

// open opens the gate, and returns it as the adapter sees it.
func (n *Node) open(ctx context.Context) (adapter.Gate, contract.Term, error) {
	if !n.opt.Failover {
		// The gate of a lone node ends after its work: a clean stop finishes what is under way.
		return openGate{context.WithoutCancel(ctx)}, contract.Term{}, nil
	}
	pass, err := n.election.open(ctx)
	if err != nil {
		return nil, contract.Term{}, err
	}
	return pass, pass.term, nil
}

// withdraw ends a candidacy: a node that is stopping must not be promoted, and if it just was, the others need not
// wait for its silence.
func (n *Node) withdraw(ctx context.Context) {
	n.setPhase(PhaseStopping, "")
	n.doNotStand("stopping")
	role, _ := n.election.role()
	if role.Role != contract.RoleMaster {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := n.election.resign(ctx, role.Term, ""); err != nil {
		n.log.Warn("the resignation was not said; the others wait for silence", "error", err)
	}
}

// discard closes a workload.
func (n *Node) discard(ctx context.Context, w Workload) error {
	n.mu.Lock()
	n.workload = nil
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := w.Close(ctx); err != nil {
		return fmt.Errorf("close of the adapter: %w", err)
	}
	return nil
}

// joinpoint is that of the gate. The workload runs the hooks of its other changes itself.
func (n *Node) joinpoint() profiler.Joinpoint {
	return profiler.Joinpoint{
		Kind: profiler.KindAdapter, ID: n.opt.AdapterID, Path: n.opt.AdapterID, Transition: profiler.TransitionStart,
	}
}

func (n *Node) beforeStart(ctx context.Context) error {
	if n.opt.Lifecycle == nil {
		return nil
	}
	return n.opt.Lifecycle.Before(ctx, n.joinpoint())
}

func (n *Node) afterStart(ctx context.Context, failure error) {
	if n.opt.Lifecycle != nil {
		n.opt.Lifecycle.After(ctx, n.joinpoint(), failure)
	}
}

func (n *Node) setPhase(p Phase, fault string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.phase != p {
		close(n.moved)
		n.moved = make(chan struct{})
	}
	n.phase, n.fault = p, fault
}
