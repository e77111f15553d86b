package host

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// Clock gives the time since a fixed origin and never goes back.
type Clock func() time.Duration

// GateConfig says how a gate keeps its time.
type GateConfig struct {
	Clock Clock
	// MaxGap is how late the watch may be before the process counts as having stood still.
	MaxGap time.Duration
	// Grace is how long an opening whose lease has lapsed may be opened again in the same term; 0: a lapse is its end.
	Grace time.Duration
	// Ask makes the session report to the election at once, so that an answer comes soon.
	Ask func()
	// Noted is told of stalls, lapses and reopenings, for the log; nil if nobody wants to know. It must not call the gate.
	Noted func(GateEvent)
}

// GateEvent is something that happened to an open gate, and that is no change of role.
type GateEvent struct {
	Kind GateEventKind
	Term contract.Term
	// For is how long the process stood still, or the gate was shut.
	For time.Duration
}

// GateEventKind is what happened.
type GateEventKind uint8

// The kinds.
const (
	// GateStalled: this process did not run for a while. Nothing passes before the election has been asked.
	GateStalled GateEventKind = iota + 1
	// GateLapsed: the lease has lapsed, the gate is shut, the term is kept.
	GateLapsed
	// GateReopened: the lease came back in the same term.
	GateReopened
)

// Gate is what every message passes: shut, or open for one term until a moment that the election keeps moving
// on. It shuts by itself when that moment passes; with a quorum it may be opened again in the same term. When the
// process finds that it has been standing still it asks the election again before it lets anything through.
type Gate struct {
	cfg GateConfig

	// beat is when the watch last ran; confirmFrom the moment from which an answer of the election is needed.
	beat        atomic.Int64
	confirmFrom atomic.Int64
	stalls      atomic.Uint64
	// look makes the watch look again; capacity 1.
	look chan struct{}

	mu   sync.Mutex
	pass *Pass // guarded by mu; nil while there is none
}

// NewGate returns a shut gate.
func NewGate(cfg GateConfig) *Gate {
	g := &Gate{cfg: cfg, look: make(chan struct{}, 1)}
	g.beat.Store(int64(cfg.Clock()))
	return g
}

// Pass is one opening of the gate, for one term. While its lease has lapsed it is shut, and who asks waits; when it
// has been shut for good it stays shut, and the next mastership gets a new one. It implements adapter.Gate.
type Pass struct {
	gate   *Gate
	term   contract.Term
	text   string
	ctx    context.Context
	cancel context.CancelCauseFunc

	// Written with gate.mu held.
	validUntil atomic.Int64
	asOf       atomic.Int64

	// The fields below are guarded by gate.mu.

	// lease ends when the lease lapses; lapse ends it.
	lease context.Context
	lapse context.CancelCauseFunc
	// lapsed: lease has ended, and nothing passes.
	lapsed bool
	// final: a lapse is the end, since nobody could wait for the lease to come back.
	final bool
	// renewed is closed at the next renewal, nil while nobody waits.
	renewed chan struct{}
}

var _ adapter.Gate = (*Pass)(nil)

// reasonLapsed is why a lease ended that the election did not take away.
const reasonLapsed = "the election has not renewed it in time"

var errLapsed = fmt.Errorf("%w (%s)", adapter.ErrGateShut, reasonLapsed)

// Open opens the gate for a term. asOf is the moment that the election's answer speaks of, validUntil the one
// until which it holds. An opening that is still there is shut first.
func (g *Gate) Open(term contract.Term, asOf, validUntil time.Duration) *Pass {
	ctx, cancel := context.WithCancelCause(context.Background())
	p := &Pass{gate: g, term: term, text: term.String(), ctx: ctx, cancel: cancel}
	p.asOf.Store(int64(asOf))
	p.validUntil.Store(int64(validUntil))
	p.lease, p.lapse = context.WithCancelCause(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shutLocked("another term began")
	g.pass = p
	g.lookAgain()
	return p
}

// Renew moves the end of an opening on, and opens the gate again if it had lapsed. A term that is not open changes
// nothing.
func (g *Gate) Renew(term contract.Term, asOf, validUntil time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.pass
	if p == nil || p.term != term {
		return
	}
	if int64(validUntil) > p.validUntil.Load() {
		p.validUntil.Store(int64(validUntil))
	}
	if int64(asOf) > p.asOf.Load() {
		p.asOf.Store(int64(asOf))
	}
	if now := g.cfg.Clock(); p.lapsed && int64(now) < p.validUntil.Load() {
		p.lapsed = false
		p.lease, p.lapse = context.WithCancelCause(p.ctx)
		g.note(GateEvent{Kind: GateReopened, Term: p.term})
		g.lookAgain()
	}
	if p.renewed != nil {
		close(p.renewed)
		p.renewed = nil
	}
}

// Shut shuts the gate for good and cancels what is under way. The first reason stays.
func (g *Gate) Shut(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shutLocked(reason)
}

func (g *Gate) shutLocked(reason string) {
	if g.pass != nil {
		g.pass.cancel(fmt.Errorf("%w (%s)", adapter.ErrGateShut, reason))
		g.pass = nil
	}
}

// shutTerm shuts the gate if it is open for term.
func (g *Gate) shutTerm(term contract.Term, reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pass != nil && g.pass.term == term {
		g.shutLocked(reason)
	}
}

// finish makes a lapse of term its end, now and later: the work is being stopped, and what waits at the gate must not
// keep it from stopping.
func (g *Gate) finish(term contract.Term) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pass != nil && g.pass.term == term {
		g.pass.final = true
		g.expireLocked(g.cfg.Clock())
	}
}

// GateState is how a gate is.
type GateState struct {
	// Held: there is an opening, of Term; it may have lapsed.
	Held bool
	Term contract.Term
	// Open: messages pass, for Valid if nothing renews it. Valid is negative if it has lapsed.
	Open  bool
	Valid time.Duration
	// Stalls counts how often the process was found to have stood still.
	Stalls uint64
}

// State may be called at any time.
func (g *Gate) State() GateState {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := GateState{Stalls: g.stalls.Load()}
	if g.pass == nil {
		return s
	}
	s.Held, s.Term = true, g.pass.term
	s.Valid = time.Duration(g.pass.validUntil.Load()) - g.cfg.Clock()
	s.Open = !g.pass.lapsed && s.Valid > 0
	return s
}

// current returns the opening that is there, lapsed or not, or nil.
func (g *Gate) current() *Pass {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pass
}

// watch runs the gate's own timekeeping until ctx ends.
func (g *Gate) watch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			g.tick()
		case <-g.look:
		}
		timer.Reset(g.rest())
	}
}

func (g *Gate) lookAgain() {
	select {
	case g.look <- struct{}{}:
	default: // it will
	}
}

// minRest keeps the watch from going round without a pause at the end of a lease.
const minRest = 100 * time.Microsecond

// rest is how long the watch may sleep: a part of MaxGap, and not beyond the end of the lease, because what is under
// way has to be cancelled then.
func (g *Gate) rest() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	rest := g.cfg.MaxGap / 4
	if p := g.pass; p != nil && !p.lapsed {
		rest = min(rest, time.Duration(p.validUntil.Load())-g.cfg.Clock())
	}
	return max(rest, minRest)
}

// tick notices a stall and a lapse. The stall comes first: after a long sleep nothing may pass before the
// election has been asked.
func (g *Gate) tick() {
	now := g.cfg.Clock()
	if gap := now - time.Duration(g.beat.Load()); gap > g.cfg.MaxGap {
		g.confirmFrom.Store(int64(now))
		g.stalls.Add(1)
		g.note(GateEvent{Kind: GateStalled, For: gap})
		g.cfg.Ask()
	}
	g.mu.Lock()
	g.expireLocked(now)
	g.mu.Unlock()
	g.beat.Store(int64(now))
}

// expireLocked notes that a lease has come to its end.
func (g *Gate) expireLocked(now time.Duration) {
	p := g.pass
	if p == nil || int64(now) < p.validUntil.Load() {
		return
	}
	over := now - time.Duration(p.validUntil.Load())
	if p.final || over >= g.cfg.Grace {
		g.shutLocked(reasonLapsed)
		return
	}
	if !p.lapsed {
		p.lapsed = true
		p.lapse(errLapsed)
		g.note(GateEvent{Kind: GateLapsed, Term: p.term, For: over})
	}
}

func (g *Gate) note(e GateEvent) {
	if g.cfg.Noted != nil {
		g.cfg.Noted(e)
	}
}

// Check implements adapter.Gate. While the lease has lapsed it waits for the end of that.
func (p *Pass) Check() error {
	if p.ctx.Err() != nil {
		return p.shut()
	}
	if p.holds(int64(p.gate.cfg.Clock())) {
		return nil
	}
	return p.await(context.Background())
}

// shut says why the gate is shut for good.
func (p *Pass) shut() error { return context.Cause(p.ctx) }

// holds reports whether the gate is open at the moment now, as far as this process can know without asking.
func (p *Pass) holds(now int64) bool {
	g := p.gate
	return now < p.validUntil.Load() && now-g.beat.Load() <= int64(g.cfg.MaxGap) && p.asOf.Load() >= g.confirmFrom.Load()
}

// await waits for an answer of the election that speaks of now or later, and that says that the lease holds. It
// returns why the gate was shut for good, or the cause of ctx.
func (p *Pass) await(ctx context.Context) error {
	g := p.gate
	now := int64(g.cfg.Clock())
	for {
		g.mu.Lock()
		// The wait may have taken longer than the lease.
		g.expireLocked(g.cfg.Clock())
		if p.ctx.Err() != nil {
			g.mu.Unlock()
			return p.shut()
		}
		if !p.lapsed && p.asOf.Load() >= now {
			g.mu.Unlock()
			return nil
		}
		if p.renewed == nil {
			p.renewed = make(chan struct{})
		}
		renewed := p.renewed
		g.mu.Unlock()
		g.cfg.Ask()
		select {
		case <-renewed:
		case <-p.ctx.Done():
			return p.shut()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// during returns a context that ends with ctx, and with the lease: for what must not go on beyond that. lapsed
// reports whether it was the lease; release must be called.
func (p *Pass) during(ctx context.Context) (bounded context.Context, lapsed func() bool, release func()) {
	p.gate.mu.Lock()
	lease := p.lease
	p.gate.mu.Unlock()
	bounded, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(lease, func() { cancel(context.Cause(lease)) })
	return bounded, func() bool { return lease.Err() != nil }, func() { stop(); cancel(nil) }
}

// Context implements adapter.Gate. It ends when the gate is shut for good.
func (p *Pass) Context() context.Context { return p.ctx }

// Term implements adapter.Gate.
func (p *Pass) Term() string { return p.text }

// openGate is the gate of a node without an election: always open, of no term, until the node stops.
type openGate struct{ ctx context.Context }

func (o openGate) Check() error {
	if o.ctx.Err() != nil {
		return context.Cause(o.ctx)
	}
	return nil
}

func (o openGate) Context() context.Context { return o.ctx }
func (o openGate) Term() string             { return "" }
