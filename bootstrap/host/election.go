package host

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/plugins/contract"
)

// election keeps the session with the failover plugin: it says how the host is, and holds the role that the
// plugin answered last, which it turns into the state of the gate.
type election struct {
	log   *slog.Logger
	clock Clock
	gate  *Gate
	// every is the time between two reports while nothing happens.
	every time.Duration
	link  *link[contract.Failover]
	// liveness is where the host's life can be watched. It does not change after run has begun.
	liveness contract.Liveness
	// kick asks for a report at once; capacity 1.
	kick chan struct{}

	mu       sync.Mutex
	health   health              // guarded by mu
	latest   contract.RoleReport // guarded by mu; Role 0 while there is no session
	received time.Duration       // guarded by mu; when the role last changed
	changed  chan struct{}       // guarded by mu; closed when latest changes in role, term or master
}

// health is what the host says of itself.
type health struct {
	canLead bool
	reason  string
	atRest  bool
	mirror  contract.MirrorState
	// mirrorFault is why the cachesync plugin cannot be used; empty if it can, or none is wanted.
	mirrorFault string
}

// stand reports whether this node could lead, and why not.
func (h health) stand() (bool, string) {
	if h.canLead && h.mirrorFault != "" {
		return false, h.mirrorFault
	}
	return h.canLead, h.reason
}

func newElection(log *slog.Logger, clock Clock, every time.Duration) *election {
	return &election{
		log: log, clock: clock, every: every,
		link: newLink[contract.Failover](), kick: make(chan struct{}, 1),
		changed: make(chan struct{}), health: health{atRest: true, reason: "starting"},
	}
}

// ask makes the session report at once.
func (e *election) ask() {
	select {
	case e.kick <- struct{}{}:
	default: // one is on its way
	}
}

// set changes what the host says of itself, and says it.
func (e *election) set(change func(*health)) {
	e.mu.Lock()
	change(&e.health)
	e.mu.Unlock()
	e.ask()
}

// role returns the last role, and a channel that is closed when it changes.
func (e *election) role() (contract.RoleReport, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.latest, e.changed
}

func (e *election) mirrorAnswers() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.health.mirrorFault == ""
}

func (e *election) since() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.clock() - e.received
}

// take notes a role report of the session that began with the given state of the link; a late one of a plugin
// that has died since counts for nothing. The gate is renewed or shut before anybody else hears of it.
func (e *election) take(r contract.RoleReport, session <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, _, now := e.link.get(); now != session {
		return
	}
	if r.Role == contract.RoleMaster && r.Valid > 0 {
		e.gate.Renew(r.Term, r.EchoClock, r.EchoClock+r.Valid)
	}
	if open, term, _ := e.gate.state(); open && (r.Role != contract.RoleMaster || r.Term != term) {
		reason := r.Reason
		if reason == "" {
			reason = "no longer master"
		}
		e.gate.shutTerm(term, reason)
	}
	e.noteLocked(r)
}

func (e *election) noteLocked(r contract.RoleReport) {
	old := e.latest
	e.latest = r
	if old.Role != r.Role || old.Term != r.Term || old.MasterID != r.MasterID || old.MasterTerm != r.MasterTerm {
		e.received = e.clock()
		close(e.changed)
		e.changed = make(chan struct{})
	}
}

// down forgets the role with the plugin that held it.
func (e *election) down(err error) {
	e.link.clear(err)
	e.mu.Lock()
	e.noteLocked(contract.RoleReport{Reason: "the failover plugin is down"})
	e.mu.Unlock()
	e.gate.Shut("the failover plugin has died")
}

// run keeps a session open with whichever plugin process is there, until ctx ends.
func (e *election) run(ctx context.Context) {
	for {
		plugin, replaced, err := e.link.wait(ctx)
		if err != nil {
			return
		}
		err = e.session(ctx, plugin, replaced)
		e.take(contract.RoleReport{Reason: "the failover plugin does not answer"}, replaced)
		if ctx.Err() != nil {
			return
		}
		e.log.Debug("the session with the failover plugin ended", "error", err)
		// The supervisor hears of a dead plugin at the same time; a living one that hung up gets a new session.
		select {
		case <-replaced:
		case <-time.After(e.every):
		case <-ctx.Done():
			return
		}
	}
}

// session runs one session, until the plugin is replaced. Reports go out every e.every and whenever somebody asks.
func (e *election) session(ctx context.Context, plugin contract.Failover, replaced <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	reports := make(chan contract.HostReport)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		ticker := time.NewTicker(e.every)
		defer ticker.Stop()
		for {
			select {
			case reports <- e.report():
			case <-ctx.Done():
				return
			}
			select {
			case <-ticker.C:
			case <-e.kick:
			case <-replaced:
				cancel()
				return
			case <-ctx.Done():
				return
			}
		}
	})
	return plugin.Session(ctx, reports, func(r contract.RoleReport) error {
		e.take(r, replaced)
		return nil
	})
}

func (e *election) report() contract.HostReport {
	open, term, _ := e.gate.state()
	e.mu.Lock()
	defer e.mu.Unlock()
	canLead, reason := e.health.stand()
	return contract.HostReport{
		Clock: e.clock(), GateOpen: open, Term: term,
		AtRest: e.health.atRest && !open, CanLead: canLead, Reason: reason,
		Mirror: e.health.mirror.Position, MirrorInSync: e.health.mirror.InSync,
		Liveness: e.liveness,
	}
}

// open opens the gate for the term of which this node is master. The call that was the gate and the session are
// two ways, so it waits a moment for a report that says so and is fresh.
func (e *election) open(ctx context.Context) (*Pass, error) {
	patience := time.NewTimer(reportsPerDelay * e.every)
	defer patience.Stop()
	for {
		r, changed := e.role()
		if r.Role == contract.RoleMaster && r.EchoClock+r.Valid > e.clock() {
			pass := e.gate.Open(r.Term, r.EchoClock, r.EchoClock+r.Valid)
			// The role may have gone between the two lines.
			if now, _ := e.role(); now.Role == contract.RoleMaster && now.Term == r.Term {
				return pass, nil
			}
			e.gate.shutTerm(r.Term, "no longer master")
			continue
		}
		e.ask()
		select {
		case <-changed:
		case <-time.After(e.every):
		case <-patience.C:
			return nil, fmt.Errorf("promoted, but the election says %s: %s", r.Role, r.Reason)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// resign gives up a term; the gate is shut and the work at rest.
func (e *election) resign(ctx context.Context, term contract.Term) error {
	plugin, up, _ := e.link.get()
	if !up {
		return nil // nobody is there who could hold it
	}
	return plugin.Resign(ctx, term, "")
}
