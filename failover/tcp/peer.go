package tcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// peer is another node that this one connects to. What is marked with mu is guarded by the transport's.
type peer struct {
	name       string // as it was configured, or its address
	host       string
	port       uint16
	configured bool
	out        *outbox
	// kick asks for an attempt now.
	kick   chan struct{}
	life   context.Context
	cancel context.CancelFunc
	// learned is when it was last heard of, in nanoseconds of the clock's time.
	learned atomic.Int64

	addresses []netip.AddrPort // mu: where it is known to be, and what it says
	link      *conn            // mu: the connection that was dialled to it; nil if there is none
	self      bool             // mu: it is this node
	twin      *peer            // mu: the same node under another name, which is spoken to instead
	since     time.Time        // mu: when the link came or went
	met       time.Time        // mu: when it was last connected
	fault     error            // mu: why there is no link; nil if there is, or nothing was tried yet
	said      int              // mu: how often its coming or going was logged since saidSince
	saidSince time.Time        // mu
}

// errSelf and errTwin end a connection that is not needed.
var (
	errSelf = errors.New("it is this node itself")
	errTwin = errors.New("it is a node that is connected under another name")
)

// addLocked begins to connect to a peer.
func (t *Transport) addLocked(p *peer) {
	p.out, p.kick = newOutbox(t.timing.stale), make(chan struct{}, 1)
	p.life, p.cancel = context.WithCancel(t.life)
	p.since = time.Now()
	p.learned.Store(p.since.UnixNano())
	t.peers = append(t.peers, p)
	t.running.Go(func() { t.pursue(p) })
}

// dropLocked forgets a learned peer.
func (t *Transport) dropLocked(p *peer) {
	p.cancel()
	t.peers = slices.DeleteFunc(t.peers, func(other *peer) bool { return other == p })
	for _, address := range p.addresses {
		if t.byAddress[address] == p {
			delete(t.byAddress, address)
		}
	}
	for _, other := range t.peers {
		if other.twin == p {
			other.twin = nil
		}
	}
}

// pursue connects to a peer again and again, until it is forgotten or the transport ends.
func (t *Transport) pursue(p *peer) {
	defer p.cancel()
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = t.timing.firstPause, t.timing.maxPause
	for {
		began := time.Now()
		err := t.visit(p)
		if time.Since(began) > t.timing.maxPause {
			pause.Reset()
		}
		if p.life.Err() != nil || t.dialling.Err() != nil || t.absent(p, err) {
			return
		}
		pause.MaxInterval = t.timing.maxPause
		if t.unknown(p) {
			pause.MaxInterval = t.timing.slowPause
		}
		if !t.wait(p, pause.NextBackOff(), pause) {
			return
		}
	}
}

// wait waits for the time of the next attempt; false means that there is none.
func (t *Transport) wait(p *peer, d time.Duration, pause *backoff.ExponentialBackOff) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.kick:
		// It has just connected to this node, so it is there. Whoever pretends that gains one attempt per first pause.
		pause.Reset()
		timer.Reset(t.timing.firstPause)
	case <-t.dialling.Done():
		return false
	case <-p.life.Done():
		return false
	}
	select {
	case <-timer.C:
		return true
	case <-t.dialling.Done():
	case <-p.life.Done():
	}
	return false
}

// visit connects to a peer once, and moves datagrams until the connection ends.
func (t *Transport) visit(p *peer) error {
	raw, err := t.reach(p)
	if err != nil {
		return err
	}
	release := context.AfterFunc(p.life, func() { _ = raw.Close() })
	defer release()
	c, err := t.greet(raw, true)
	if err == nil {
		c.out = p.out
		err = t.meet(p, c)
	}
	if err != nil {
		_ = raw.Close()
		return err
	}
	err = c.run()
	t.part(p)
	return fmt.Errorf("the connection has ended: %w", err)
}

// reach looks a peer up and dials it.
func (t *Transport) reach(p *peer) (net.Conn, error) {
	ctx, cancel := context.WithCancel(p.life)
	defer cancel()
	defer context.AfterFunc(t.dialling, cancel)()
	found, err := t.lookup(ctx, p.host)
	if err != nil {
		return nil, err
	}
	to := make([]netip.AddrPort, len(found))
	for i, ip := range found {
		to[i] = netip.AddrPortFrom(ip, p.port)
	}
	if !t.locate(p, to) {
		return nil, errSelf
	}
	return t.dialAny(ctx, to)
}

// locate notes where a peer is. It returns false if that is this node.
func (t *Transport) locate(p *peer, at []netip.AddrPort) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, address := range p.addresses {
		if t.byAddress[address] == p {
			delete(t.byAddress, address)
		}
	}
	p.addresses = nil
	if p.self = slices.Contains(at, t.own); p.self {
		return false
	}
	for _, address := range at {
		t.placeLocked(p, address)
	}
	return true
}

// placeLocked notes one address of a peer. Of two peers with one address the configured one counts, and takes over what
// waits for the learned one.
func (t *Transport) placeLocked(p *peer, address netip.AddrPort) {
	if !slices.Contains(p.addresses, address) {
		p.addresses = append(p.addresses, address)
	}
	other := t.byAddress[address]
	if other != nil && other != p {
		if other.configured || !p.configured {
			return
		}
		t.dropLocked(other)
		for datagram, ok := other.out.pop(); ok; datagram, ok = other.out.pop() {
			p.out.push(datagram)
		}
	}
	t.byAddress[address] = p
}

// meet makes a connection a peer's link, unless it is not needed.
func (t *Transport) meet(p *peer, c *conn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.self = c.remote.instance == t.instance; p.self {
		return errSelf
	}
	// Only what is configured is believed to be whom it says: else a stranger could say that he is somebody, and that
	// one would not be spoken to any more.
	p.twin = nil
	for _, other := range t.peers {
		if other != p && other.configured && other.link != nil && other.link.remote.instance == c.remote.instance {
			p.twin = other
			return errTwin
		}
	}
	if p.configured {
		t.placeLocked(p, c.remote.address)
	}
	now := time.Now()
	p.link, p.fault, p.since, p.met = c, nil, now, now
	t.sayLocked(p, slog.LevelInfo, "peer connected", "address", c.remote.address.String())
	return nil
}

// part notes that a link has ended. Who is the same node under another name tries itself now.
func (t *Transport) part(p *peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	p.link, p.since, p.met = nil, now, now
	for _, other := range t.peers {
		if other.twin == p {
			other.twin = nil
			other.kickNow()
		}
	}
}

func (p *peer) kickNow() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// absent notes why a peer is not connected. It returns true if the peer has been forgotten.
func (t *Transport) absent(p *peer, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := p.fault == nil
	p.fault = err
	if p.configured {
		if first && !p.self && p.twin == nil {
			t.sayLocked(p, slog.LevelWarn, "peer not available, it is tried again and again", "error", err)
		}
		return false
	}
	now := time.Now()
	patience := t.timing.unanswered
	if !p.met.IsZero() {
		patience = t.timing.gone
	}
	heard := now.Sub(time.Unix(0, p.learned.Load()))
	if heard > t.timing.unanswered && now.Sub(p.since) > patience || p.self {
		t.options.Log.Info("peer forgotten: it has not answered for long", "peer", p.name, "error", err)
		t.dropLocked(p)
		return true
	}
	if first && p.twin == nil {
		t.sayLocked(p, slog.LevelInfo, "learned peer not available, it is tried again", "error", err)
	}
	return false
}

// sayLocked logs the coming or going of a peer, one that comes and goes all the time for those who look closely only.
func (t *Transport) sayLocked(p *peer, level slog.Level, text string, about ...any) {
	if now := time.Now(); now.Sub(p.saidSince) > t.timing.quiet {
		p.said, p.saidSince = 0, now
	}
	if p.said++; p.said > maxSaid {
		level = slog.LevelDebug
	}
	t.options.Log.Log(context.Background(), level, text, append([]any{"peer", p.name}, about...)...)
}

// unknown reports whether a peer has only been heard of, never met, or is not needed: it is tried less often.
func (t *Transport) unknown(p *peer) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return !p.configured && p.met.IsZero() || p.self || p.twin != nil
}

// learn returns the peer at an address, a new one if need be; nil if that makes no sense, or there are too many.
func (t *Transport) learn(at netip.AddrPort) *peer {
	if at == t.own || at.Addr().IsLoopback() && !t.own.Addr().IsLoopback() {
		return nil
	}
	t.mu.RLock()
	p := t.byAddress[at]
	t.mu.RUnlock()
	if p == nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		if p = t.byAddress[at]; p == nil {
			if p = t.newcomerLocked(at); p == nil {
				return nil
			}
		}
	}
	p.learned.Store(time.Now().UnixNano())
	return p
}

// newcomerLocked makes a learned peer. If there are many the one makes room that is not connected and was heard of
// longest ago.
func (t *Transport) newcomerLocked(at netip.AddrPort) *peer {
	if t.closed {
		return nil
	}
	count, oldest := 0, (*peer)(nil)
	for _, p := range t.peers {
		if p.configured {
			continue
		}
		count++
		if p.link == nil && (oldest == nil || p.learned.Load() < oldest.learned.Load()) {
			oldest = p
		}
	}
	if count >= maxLearned {
		if oldest == nil {
			return nil
		}
		t.dropLocked(oldest)
	}
	p := &peer{name: at.String(), host: at.Addr().String(), port: at.Port()}
	t.addLocked(p)
	t.placeLocked(p, at)
	return p
}
