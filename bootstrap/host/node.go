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
	// Liveness is where the liveness socket listens; nil for none.
	Liveness *LivenessConfig
	// StopTimeout is how long a clean stop may take to finish what is under way.
	StopTimeout time.Duration
	Log         *slog.Logger
	Clock       Clock
	Now         func() time.Time
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

	mu       sync.Mutex
	phase    Phase    // guarded by mu
	workload Workload // guarded by mu; nil between two
	fault    string   // guarded by mu; the last reason why the workload could not run
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
)

// The host reports to the election so often per heartbeat, but not more often than minReportEvery.
const (
	reportsPerDelay = 4
	minReportEvery  = 10 * time.Millisecond
	// minPingEvery: a mirror is asked for a sign of life no more often than that, and given as long to answer.
	minPingEvery = 250 * time.Millisecond
)

// New returns a node that has not begun to live.
func New(opt Options) *Node {
	every := max(opt.Delay/reportsPerDelay, minReportEvery)
	n := &Node{
		opt: opt, log: opt.Log, phase: PhaseStarting,
		election: newElection(opt.Log, opt.Clock, every), mirror: newLink[contract.CacheSync](),
	}
	n.gate = NewGate(opt.Clock, reportsPerDelay*every, n.election.ask)
	n.election.gate = n.gate
	if opt.Mirror {
		n.election.health.mirrorFault = "the cachesync plugin is not up"
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
	var wg sync.WaitGroup
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer wg.Wait()
	defer cancel()
	if n.opt.Failover {
		watched, err := n.openLiveness()
		if err != nil {
			return err
		}
		defer func() {
			// Work that could not be stopped ends with the process, and so does the socket that stands for it.
			if watched != nil && !errors.Is(ended, errNotAtRest) {
				ended = errors.Join(ended, watched.close())
			}
		}()
		wg.Go(func() { n.gate.watch(background) })
		wg.Go(func() { n.election.run(background) })
	}
	if n.opt.Mirror {
		wg.Go(func() { n.watchMirror(background) })
	}
	return n.live(ctx)
}

// live goes round once for each mastership.
func (n *Node) live(ctx context.Context) error {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval = max(n.opt.Delay, 100*time.Millisecond)
	retry.MaxInterval = time.Minute
	for {
		err := n.mastership(ctx, retry.Reset)
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

// mastership builds the workload, waits for promotion, works until it ends, and cleans up. healthy is called
// once the work has started. The error says why the workload could not be run; a demotion is none.
func (n *Node) mastership(ctx context.Context, healthy func()) (err error) {
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
	failure := n.work(gate.Context(), ctx, w, gate, term, healthy)
	return errors.Join(failure, n.standDown(ctx, w, term, failure))
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

// work seals the mirror, starts the workload and waits for the end of the mastership: held ends when the gate is
// shut, stop when the node has been asked to end. The error says why the workload could not start.
func (n *Node) work(held, stop context.Context, w Workload, gate adapter.Gate, term contract.Term, healthy func()) error {
	n.setPhase(PhasePromoted, "")
	// What is running outlives the order to stop, so that it can be finished; what is only starting does not.
	starting, cancel := context.WithCancel(held)
	defer cancel()
	defer context.AfterFunc(stop, cancel)()
	run := adapter.Run{Gate: gate, Mirror: noMirror{}}
	if n.opt.Mirror && !term.IsZero() {
		sealing, cancel := context.WithTimeout(starting, sealTimeout)
		defer cancel()
		var err error
		if run.Mirror, run.InFlight, err = n.seal(sealing, term); err != nil {
			if starting.Err() != nil {
				return nil // not the mirror's fault
			}
			return fmt.Errorf("seal the mirror under term %s: %w", term, err)
		}
	}
	err := w.Start(starting, run)
	n.afterStart(held, err)
	if err != nil {
		if starting.Err() != nil {
			return nil // not the workload's fault
		}
		return fmt.Errorf("start of the adapter: %w", err)
	}
	healthy()
	n.setPhase(PhaseRunning, "")
	select {
	case <-stop.Done():
	case <-held.Done():
		n.log.Warn("demoted: the work is stopped", "reason", context.Cause(held))
	}
	return nil
}

// seal makes this node the mirror's writer.
func (n *Node) seal(ctx context.Context, term contract.Term) (adapter.Mirror, []adapter.Entry, error) {
	plugin, _, err := n.mirror.wait(ctx)
	if err != nil {
		return nil, nil, err
	}
	lead, err := plugin.Lead(ctx, term)
	if err != nil {
		return nil, nil, err
	}
	if len(lead.Entries) > 0 || lead.TakenFrom != "" {
		n.log.Info("the mirror has been taken over", "in_flight", len(lead.Entries), "from", lead.TakenFrom,
			"index", lead.Sealed.Index)
	}
	m := &mirror{sync: plugin, term: term, now: n.opt.Now, lost: func(reason string) { n.gate.shutTerm(term, reason) }}
	return m, entries(lead.Entries), nil
}

// standDown ends a mastership: the work is finished if the gate is open and cut off if not, then the gate is
// shut, then the mirror is let go, and only then the others hear of it. Work that cannot be stopped is an
// errNotAtRest: the others must not be told that they may begin, and only the end of the process ends it.
func (n *Node) standDown(ctx context.Context, w Workload, term contract.Term, failure error) error {
	n.setPhase(PhaseStopping, "")
	ctx = context.WithoutCancel(ctx)
	patience, cancel := context.WithTimeout(ctx, n.opt.StopTimeout)
	defer cancel()
	if err := w.Stop(patience); err != nil {
		n.gate.shutTerm(term, "stopping")
		return fmt.Errorf("%w: %w", errNotAtRest, err)
	}
	if !n.opt.Failover {
		return nil
	}
	n.gate.shutTerm(term, "stopping")
	ctx, cancel = context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	if plugin, up, _ := n.mirror.get(); up && n.election.mirrorAnswers() {
		if err := plugin.Follow(ctx); err != nil {
			n.log.Warn("the mirror was not let go", "error", err)
		}
	}
	n.election.set(func(h *health) { h.atRest = true })
	if err := n.election.resign(ctx, term); err != nil {
		n.log.Warn("the resignation was not said; the others wait for silence", "error", err)
	}
	reason := "stopping"
	if failure != nil {
		reason = failure.Error()
	}
	n.doNotStand(reason)
	return nil
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
	if err := n.election.resign(ctx, role.Term); err != nil {
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

// start is the joinpoint of the gate. The workload runs the hooks of its other changes itself.
func (n *Node) start() profiler.Joinpoint {
	return profiler.Joinpoint{
		Kind: profiler.KindAdapter, ID: n.opt.AdapterID, Path: n.opt.AdapterID, Transition: profiler.TransitionStart,
	}
}

func (n *Node) beforeStart(ctx context.Context) error {
	if n.opt.Lifecycle == nil {
		return nil
	}
	return n.opt.Lifecycle.Before(ctx, n.start())
}

func (n *Node) afterStart(ctx context.Context, failure error) {
	if n.opt.Lifecycle != nil {
		n.opt.Lifecycle.After(ctx, n.start(), failure)
	}
}

func (n *Node) setPhase(p Phase, fault string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.phase, n.fault = p, fault
}
