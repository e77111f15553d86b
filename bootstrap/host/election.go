package host

import (
	"cmp"
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
	// every is the time between two reports while nothing happens; patience is how long two ways may differ.
	every, patience time.Duration
	link            *link[contract.Failover]
	// liveness is where the host's life can be watched. It does not change after run has begun.
	liveness contract.Liveness
	// kick asks for a report at once; capacity 1.
	kick chan struct{}
	// wished is filled when the election has asked for a handover; capacity 1. Whoever takes it looks at the role.
	wished chan struct{}

	mu       sync.Mutex
	health   health              // guarded by mu
	latest   contract.RoleReport // guarded by mu; Role 0 while there is no session
	received time.Duration       // guarded by mu; when the role last changed
	changed  chan struct{}       // guarded by mu; closed when latest changes in role, term, master, or lease or not
}

// health is what the host says of itself.
type health struct {
	canLead bool
	reason  string
	atRest  bool
	mirror  contract.MirrorState
	// mirrorFault is why the cachesync plugin cannot be used; empty if it can, or none is wanted.
	mirrorFault string
	// checkFault is why the node's own check says no; empty if it does not.
	checkFault string
	// cooled is the moment before which this node does not stand, because its check, or its workload, has cost it the
	// role; coolReason says more of the latter.
	cooled     time.Duration
	coolReason string
}

// stand reports whether this node could lead now, and why not.
func (h health) stand(now time.Duration) (bool, string) {
	switch {
	case !h.canLead:
		return false, h.reason
	case h.mirrorFault != "":
		return false, h.mirrorFault
	case h.checkFault != "":
		return false, h.checkFault
	case now < h.cooled:
		return false, fmt.Sprintf("%s; it stands for election again in %s", cmp.Or(h.coolReason, "its check has failed"), (h.cooled - now).Round(time.Second))
	}
	return true, h.reason
}

func newElection(log *slog.Logger, clock Clock, every time.Duration) *election {
	return &election{
		log: log, clock: clock, every: every, patience: reportsPerDelay * every,
		link: newLink[contract.Failover](), kick: make(chan struct{}, 1),
		wished: make(chan struct{}, 1), changed: make(chan struct{}), health: health{atRest: true, reason: "starting"},
	}
}

// ask makes the session report at once.
func (e *election) ask() { wake(e.kick) }

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

// stand reports whether this node could lead now, and why not.
func (e *election) stand() (bool, string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.health.stand(e.clock())
}

func (e *election) mirrorAnswers() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.health.mirrorFault == ""
}

// roleSince returns the last role, and how long ago it came.
func (e *election) roleSince() (contract.RoleReport, time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.latest, e.clock() - e.received
}

// coolDown keeps this node from standing for a while, if its check fails now, and returns what is wrong.
func (e *election) coolDown(cooldown time.Duration) (fault string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if fault = e.health.checkFault; fault != "" {
		e.health.cooled, e.health.coolReason = e.clock()+cooldown, ""
	}
	return fault
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
	if g := e.gate.State(); g.Held && (r.Role != contract.RoleMaster || r.Term != g.Term) {
		reason := r.Reason
		if reason == "" {
			reason = "no longer master"
		}
		e.gate.shutTerm(g.Term, reason)
	}
	e.noteLocked(r)
	if r.Role == contract.RoleMaster && r.Handover.To != "" {
		wake(e.wished)
	}
}

// wake fills a channel of capacity 1.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is awake
	}
}

func (e *election) noteLocked(r contract.RoleReport) {
	old := e.latest
	e.latest = r
	moved := old.Role != r.Role || old.Term != r.Term || old.MasterID != r.MasterID || old.MasterTerm != r.MasterTerm
	if moved {
		e.received = e.clock()
	}
	if moved || (old.Valid > 0) != (r.Valid > 0) {
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
	g := e.gate.State()
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.clock()
	canLead, reason := e.health.stand(now)
	return contract.HostReport{
		Clock: now, GateOpen: g.Open, Term: g.Term,
		AtRest: e.health.atRest && !g.Open, CanLead: canLead, Reason: reason,
		Mirror: e.health.mirror.Position, MirrorInSync: e.health.mirror.InSync,
		Liveness: e.liveness, Later: e.health.mirror.RefusedBy,
	}
}

// open opens the gate for the term of which this node is master. The call that was the gate and the session are
// two ways, so it waits a moment for a report that says so; and with a quorum the first lease comes with the first
// answer of a majority, for which it waits as long as the election thinks it worth while.
func (e *election) open(ctx context.Context) (*Pass, error) {
	patience := time.NewTimer(e.patience)
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
		late := patience.C
		if r.Role == contract.RoleMaster {
			late = nil
		}
		e.ask()
		select {
		case <-changed:
		case <-time.After(e.every):
		case <-late:
			return nil, fmt.Errorf("promoted, but the election says %s: %s", r.Role, r.Reason)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// resign gives up a term; the gate is shut and the work at rest. successor is who shall lead next, empty for the best.
func (e *election) resign(ctx context.Context, term contract.Term, successor string) error {
	plugin, up, _ := e.link.get()
	if !up {
		return nil // nobody is there who could hold it
	}
	return plugin.Resign(ctx, term, successor)
}

// succession waits until another node leads in a later term than term, or this one does again, and returns when that
// was heard: whoever waits may be woken late on a machine that is busy starting a workload.
func (e *election) succession(ctx context.Context, term contract.Term) (r contract.RoleReport, heard time.Duration, err error) {
	for {
		e.mu.Lock()
		r, heard = e.latest, e.received
		changed := e.changed
		e.mu.Unlock()
		if term.Less(r.Term) || r.MasterID != "" && term.Less(r.MasterTerm) {
			return r, heard, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return r, heard, context.Cause(ctx)
		}
	}
}
