package host

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/plugins/contract"
)

// LivenessConfig says where the liveness socket listens.
type LivenessConfig struct {
	// Listen is host:port, port 0 for a free one. Empty: a free port at the address of Interface; without one, at the
	// address from which the system would send to Toward, a multicast group or another node.
	Listen, Interface, Toward string
	// Host is the address that the others are told, if it is an IP address and Listen is empty. The socket listens at
	// all addresses then: it may be one that this machine does not have itself.
	Host string
	// Choose finds the address that Interface means: the name, an address or a network of an interface. It is asked only if
	// there is an Interface.
	Choose func(spec string) (netip.Addr, error)
}

// The liveness socket's limits: connections at one time, how long a hello may take to be written, and the pause
// after a connection that could not be accepted.
const (
	maxWatchers  = 256
	helloTimeout = time.Second
	acceptPause  = 50 * time.Millisecond
)

// liveness is the liveness socket (DESIGN.md, sections 2 and 5): who connects learns which process this is, and
// sees the connection end with it. It says nothing else and listens to nothing, so a stranger gains nothing, and
// costs one of maxWatchers connections: when they are used up the oldest is closed, and whoever has a reason to
// watch comes again.
//
// It must stay open for as long as this process may be working. That a connection to it is refused is to others
// the proof that nothing is.
type liveness struct {
	listener net.Listener
	at       contract.Liveness
	hello    []byte
	log      *slog.Logger
	done     chan struct{}
	running  sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn // guarded by mu; oldest first
	ended bool       // guarded by mu
}

// listenLiveness opens the socket and serves it until close.
func listenLiveness(cfg LivenessConfig, node, cluster string, log *slog.Logger) (*liveness, error) {
	listen, advertise, err := cfg.addresses()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("liveness socket: %w", err)
	}
	bound := listener.Addr().(*net.TCPAddr).AddrPort()
	if advertise == (netip.Addr{}) {
		advertise = bound.Addr()
	}
	at := contract.Liveness{
		Address: netip.AddrPortFrom(advertise.Unmap(), bound.Port()).String(), Process: drawProcess(),
	}
	return serveLiveness(listener, at, at.Hello(node, cluster), log), nil
}

func serveLiveness(listener net.Listener, at contract.Liveness, hello string, log *slog.Logger) *liveness {
	l := &liveness{listener: listener, at: at, hello: []byte(hello), log: log, done: make(chan struct{})}
	l.running.Go(l.serve)
	return l
}

// openLiveness opens the liveness socket, from before the gate to the end of the node. Without one a crash is
// noticed later, which is no reason not to start, unless somebody has said where it should be.
func (n *Node) openLiveness(ctx context.Context) (*liveness, error) {
	if n.opt.Liveness == nil {
		return nil, nil
	}
	l, err := n.awaitLiveness(ctx)
	switch {
	case err == nil:
		n.election.liveness = l.at
		return l, nil
	case n.opt.Liveness.Listen != "":
		return nil, err
	}
	n.log.Warn("there is no liveness socket: a crash of this process is noticed by its silence only", "error", err)
	return nil, nil
}

// drawProcess names this process by chance. 0 is no name.
func drawProcess() uint64 {
	var number [8]byte
	_, _ = rand.Read(number[:]) // never fails
	return max(binary.BigEndian.Uint64(number[:]), 1)
}

func (l *liveness) serve() {
	for failing := false; ; {
		conn, err := l.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// Too many open files, say. The listener stays: to close it would tell the others that this process
			// is gone.
			if !failing {
				l.log.Warn("the liveness socket cannot accept connections; a crash may be noticed late", "error", err)
			}
			failing = true
			select {
			case <-time.After(acceptPause):
			case <-l.done:
				return
			}
		case l.admit(conn):
			failing = false
			l.running.Go(func() { l.talk(conn) })
		}
	}
}

// admit notes a connection, in place of the oldest if there are too many.
func (l *liveness) admit(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		_ = conn.Close()
		return false
	}
	if len(l.conns) >= maxWatchers {
		_ = l.conns[0].Close()
		l.conns = l.conns[1:]
	}
	l.conns = append(l.conns, conn)
	return true
}

// talk says hello and waits for the other side to go. Who has something to say is a stranger.
func (l *liveness) talk(conn net.Conn) {
	defer l.forget(conn)
	if conn.SetWriteDeadline(time.Now().Add(helloTimeout)) != nil {
		return
	}
	if _, err := conn.Write(l.hello); err != nil {
		return
	}
	_, _ = io.ReadFull(conn, make([]byte, 1))
}

func (l *liveness) forget(conn net.Conn) {
	_ = conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = slices.DeleteFunc(l.conns, func(c net.Conn) bool { return c == conn })
}

// close ends it: nothing of this process is under way any more. The listener goes first, so that whoever sees a
// connection end is refused at once.
func (l *liveness) close() error {
	close(l.done)
	err := l.listener.Close()
	l.mu.Lock()
	l.ended = true
	for _, conn := range l.conns {
		_ = conn.Close()
	}
	l.mu.Unlock()
	l.running.Wait()
	return err
}

// addresses returns where to listen, and the address to tell the others if that is not the one listened at.
func (c LivenessConfig) addresses() (listen string, advertise netip.Addr, err error) {
	if c.Listen != "" {
		host, _, err := net.SplitHostPort(c.Listen)
		if err != nil {
			return "", netip.Addr{}, fmt.Errorf("failover.liveness.listen: %q: %w", c.Listen, err)
		}
		if ip, _ := netip.ParseAddr(host); host != "" && !ip.IsUnspecified() {
			return c.Listen, netip.Addr{}, nil
		}
	}
	if host, err := netip.ParseAddr(c.Host); err == nil && c.Listen == "" && !host.IsUnspecified() {
		return ":0", host.Unmap(), nil
	}
	own, err := c.ownAddress()
	if err != nil {
		return "", netip.Addr{}, err
	}
	if c.Listen != "" {
		return c.Listen, own, nil
	}
	return net.JoinHostPort(own.String(), "0"), netip.Addr{}, nil
}

func (c LivenessConfig) ownAddress() (netip.Addr, error) {
	const help = "name an interface in failover.interface, or an address in failover.liveness.listen"
	if c.Interface == "" {
		// Connecting a UDP socket sends nothing.
		conn, err := net.Dial("udp", net.JoinHostPort(c.Toward, "9"))
		if err != nil {
			return netip.Addr{}, fmt.Errorf("find this node's address towards %s: %w: %s", c.Toward, err, help)
		}
		defer conn.Close()
		return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone(""), nil
	}
	own, err := c.Choose(c.Interface)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("failover.interface: %w; an address in failover.liveness.listen needs no interface", err)
	}
	return own, nil
}
