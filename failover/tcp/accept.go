package tcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// accept takes the connections that others dial, until the listener is closed. A system that has no more of something is
// asked again later.
func (t *Transport) accept() {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 5*time.Millisecond, time.Second
	for {
		raw, err := t.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			t.refuse("accept-failed")
			timer := time.NewTimer(pause.NextBackOff())
			select {
			case <-timer.C:
				continue
			case <-t.draining:
				timer.Stop()
				return
			}
		}
		pause.Reset()
		host := hostOf(raw)
		if !t.admit(host) {
			t.refuse("too-many")
			abort(raw)
			continue
		}
		t.running.Go(func() {
			defer t.release(host)
			t.serve(raw)
		})
	}
}

// admit counts a connection, unless there are too many. Hosts of known peers have a place whoever else is there.
func (t *Transport) admit(host netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.guests[host] >= maxPerHost || t.guestCount >= maxAccepted && !t.knownLocked(host) {
		return false
	}
	t.guests[host]++
	t.guestCount++
	return true
}

func (t *Transport) release(host netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.guestCount--
	if t.guests[host]--; t.guests[host] == 0 {
		delete(t.guests, host)
	}
}

// knownLocked reports whether a peer is known to be on a host.
func (t *Transport) knownLocked(host netip.Addr) bool {
	for _, p := range t.peers {
		if slices.ContainsFunc(p.addresses, func(a netip.AddrPort) bool { return a.Addr() == host }) {
			return true
		}
	}
	return false
}

// serve moves datagrams over a connection that somebody else has dialled, until it ends.
func (t *Transport) serve(raw net.Conn) {
	release := context.AfterFunc(t.life, func() { _ = raw.Close() })
	defer release()
	c, err := t.greet(raw, false)
	if err != nil {
		t.refuse(causeOf(err))
		t.options.Log.Debug("connection refused", "source", raw.RemoteAddr().String(), "error", err)
		abort(raw)
		return
	}
	if c.remote.instance == t.instance {
		_ = raw.Close() // In peace: the dialling side of this node has to read the hello.
		return
	}
	c.out = newOutbox(t.timing.stale)
	t.enlist(c)
	defer t.delist(c)
	if err := c.run(); err != nil {
		if cause := causeOf(err); cause != "" {
			t.refuse(cause)
		}
		t.options.Log.Debug("connection ended", "source", raw.RemoteAddr().String(), "peer", c.remote.address.String(), "error", err)
	}
}

// enlist makes a connection one that can be answered over, and tells the peer's own loop that the peer is there.
func (t *Transport) enlist(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	claims := t.accepted[c.remote.address]
	if len(claims) >= maxClaims {
		claims = slices.Delete(claims, 0, 1)
	}
	t.accepted[c.remote.address] = append(claims, c)
	if p := t.byAddress[c.remote.address]; p != nil && p.link == nil {
		p.kickNow()
	}
}

func (t *Transport) delist(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	claims := slices.DeleteFunc(t.accepted[c.remote.address], func(other *conn) bool { return other == c })
	if len(claims) == 0 {
		delete(t.accepted, c.remote.address)
		return
	}
	t.accepted[c.remote.address] = claims
}

// abort closes a connection and leaves nothing of it to the system.
func abort(raw net.Conn) {
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}

// causeOf is the name of the counter for the end of a connection; empty if that is nobody's fault.
func causeOf(err error) string {
	switch {
	case errors.Is(err, errStranger):
		return "not-ours"
	case errors.Is(err, errVersion):
		return "other-version"
	case errors.Is(err, errTooLarge):
		return "too-large"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "too-slow"
	}
	return ""
}

// refuse counts a connection that was ended.
func (t *Transport) refuse(cause string) {
	if cause == "" {
		return
	}
	t.refusalsMutex.Lock()
	defer t.refusalsMutex.Unlock()
	t.refusals[cause]++
}
