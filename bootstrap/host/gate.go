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

// Gate is what every message passes: shut, or open for one term until a moment that the election keeps moving
// on. It shuts by itself when that moment passes, and when the process finds that it has been standing still
// it asks the election again before it lets anything through.
type Gate struct {
	clock Clock
	// maxGap is how long the watch may be late before the process counts as having stood still.
	maxGap time.Duration
	// ask makes the session report to the election at once, so that an answer comes soon.
	ask func()

	// beat is when the watch last ran; confirmFrom the moment from which an answer of the election is needed.
	beat        atomic.Int64
	confirmFrom atomic.Int64

	mu   sync.Mutex
	pass *Pass // guarded by mu; nil while shut
}

// NewGate returns a shut gate.
func NewGate(clock Clock, maxGap time.Duration, ask func()) *Gate {
	g := &Gate{clock: clock, maxGap: maxGap, ask: ask}
	g.beat.Store(int64(clock()))
	return g
}

// Pass is one opening of the gate. When it has been shut it stays shut; the next mastership gets a new one.
// It implements adapter.Gate.
type Pass struct {
	gate   *Gate
	term   contract.Term
	text   string
	ctx    context.Context
	cancel context.CancelCauseFunc

	validUntil atomic.Int64
	asOf       atomic.Int64

	mu      sync.Mutex
	renewed chan struct{} // guarded by mu; closed at the next renewal, nil while nobody waits
}

var _ adapter.Gate = (*Pass)(nil)

// Open opens the gate for a term. asOf is the moment that the election's answer speaks of, validUntil the one
// until which it holds. An opening that is still there is shut first.
func (g *Gate) Open(term contract.Term, asOf, validUntil time.Duration) *Pass {
	ctx, cancel := context.WithCancelCause(context.Background())
	p := &Pass{gate: g, term: term, text: term.String(), ctx: ctx, cancel: cancel}
	p.asOf.Store(int64(asOf))
	p.validUntil.Store(int64(validUntil))
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shutLocked("another term began")
	g.pass = p
	return p
}

// Renew moves the end of an opening on. A term that is not open changes nothing.
func (g *Gate) Renew(term contract.Term, asOf, validUntil time.Duration) {
	g.mu.Lock()
	p := g.pass
	g.mu.Unlock()
	if p == nil || p.term != term {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if int64(validUntil) > p.validUntil.Load() {
		p.validUntil.Store(int64(validUntil))
	}
	if int64(asOf) > p.asOf.Load() {
		p.asOf.Store(int64(asOf))
	}
	if p.renewed != nil {
		close(p.renewed)
		p.renewed = nil
	}
}

// Shut shuts the gate and cancels what is under way. The first reason stays.
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

// state reports whether the gate is open, for which term and for how long.
func (g *Gate) state() (open bool, term contract.Term, valid time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pass == nil {
		return false, contract.Term{}, 0
	}
	return true, g.pass.term, time.Duration(g.pass.validUntil.Load()) - g.clock()
}

// watch runs the gate's own timekeeping until ctx ends.
func (g *Gate) watch(ctx context.Context) {
	ticker := time.NewTicker(g.maxGap / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			g.tick()
		}
	}
}

// tick notices a stall and a lapse. The stall comes first: after a long sleep nothing may pass before the
// election has been asked.
func (g *Gate) tick() {
	now := g.clock()
	if now-time.Duration(g.beat.Load()) > g.maxGap {
		g.confirmFrom.Store(int64(now))
		g.ask()
	}
	g.mu.Lock()
	if p := g.pass; p != nil && int64(now) >= p.validUntil.Load() {
		g.shutLocked("the election has not renewed it in time")
	}
	g.mu.Unlock()
	g.beat.Store(int64(now))
}

// Check implements adapter.Gate.
func (p *Pass) Check() error {
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	g := p.gate
	now := int64(g.clock())
	if now < p.validUntil.Load() && now-g.beat.Load() <= int64(g.maxGap) && p.asOf.Load() >= g.confirmFrom.Load() {
		return nil
	}
	return p.confirm(now)
}

// confirm waits for an answer of the election that speaks of now or later.
func (p *Pass) confirm(now int64) error {
	for {
		p.mu.Lock()
		// The wait may have taken longer than the lease.
		if int64(p.gate.clock()) >= p.validUntil.Load() {
			p.mu.Unlock()
			p.gate.shutTerm(p.term, "the election has not renewed it in time")
			return context.Cause(p.ctx)
		}
		if p.asOf.Load() >= now {
			p.mu.Unlock()
			if p.ctx.Err() != nil {
				return context.Cause(p.ctx)
			}
			return nil
		}
		if p.renewed == nil {
			p.renewed = make(chan struct{})
		}
		renewed := p.renewed
		p.mu.Unlock()
		p.gate.ask()
		select {
		case <-renewed:
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
	}
}

// Context implements adapter.Gate.
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
