package tcp_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/tcp"
)

// fabric is a network of machines in memory, for bubbles.
type fabric struct {
	mu        sync.Mutex // guards all
	listeners map[netip.AddrPort]*listener
	noDial    map[[2]netip.Addr]bool // connections cannot be made
	cut       map[[2]netip.Addr]bool // nothing passes
	dials     int
	port      uint16
}

func newFabric() *fabric {
	return &fabric{listeners: map[netip.AddrPort]*listener{}, noDial: map[[2]netip.Addr]bool{}, cut: map[[2]netip.Addr]bool{}, port: 40000}
}

// cutOff makes connections from one machine to another hang from now on, as a firewall does.
func (f *fabric) cutOff(from, to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noDial[[2]netip.Addr{mustAddr(from), mustAddr(to)}] = true
}

func (f *fabric) dialled() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials
}

// machine returns the network as one machine sees it.
func (f *fabric) machine(ip string) tcp.Machine {
	own := netip.MustParseAddr(ip)
	return tcp.Machine{
		ListenOn: func(at netip.Addr, port int) (net.Listener, error) {
			if !at.IsValid() {
				at = own
			}
			return f.listen(netip.AddrPortFrom(at, uint16(port)))
		},
		Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) { return f.dial(ctx, own, to) },
		NICs: []failover.NIC{{Index: 1, Name: "eth0", Address: own}},
	}
}

func (f *fabric) listen(at netip.AddrPort) (net.Listener, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listeners[at] != nil {
		return nil, syscall.EADDRINUSE
	}
	l := &listener{fabric: f, at: at, waiting: make(chan net.Conn, 1024), closed: make(chan struct{})}
	f.listeners[at] = l
	return l, nil
}

func (f *fabric) dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	f.mu.Lock()
	f.dials++
	f.port++
	way := [2]netip.Addr{from, to.Addr()}
	l, hangs, source := f.listeners[to], f.noDial[way] || f.cut[way], netip.AddrPortFrom(from, f.port)
	f.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	here, there := net.Pipe()
	l.waiting <- &end{Conn: there, fabric: f, local: to.Addr(), remote: source}
	return &end{Conn: here, fabric: f, local: from, remote: to}, nil
}

// split lets nothing pass between two machines any more; connections stay, and are silent.
func (f *fabric) split(a, b string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut[[2]netip.Addr{mustAddr(a), mustAddr(b)}], f.cut[[2]netip.Addr{mustAddr(b), mustAddr(a)}] = true, true
}

// heal ends all cuts. What was lost stays lost.
func (f *fabric) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.cut)
}

func (f *fabric) isCut(from, to netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cut[[2]netip.Addr{from, to}]
}

type listener struct {
	fabric  *fabric
	at      netip.AddrPort
	waiting chan net.Conn
	closed  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.waiting:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.fabric.mu.Lock()
	defer l.fabric.mu.Unlock()
	delete(l.fabric.listeners, l.at)
	close(l.closed)
	return nil
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }

// end is one end of a connection.
type end struct {
	net.Conn
	fabric *fabric
	local  netip.Addr
	remote netip.AddrPort
	broken atomic.Bool // something was lost, so nothing that comes later makes sense any more
}

// Write pretends to have written what is lost, as a system does that has a buffer.
func (e *end) Write(data []byte) (int, error) {
	if e.broken.Load() || e.fabric.isCut(e.local, e.remote.Addr()) {
		e.broken.Store(true)
		return len(data), nil
	}
	return e.Conn.Write(data)
}

func (e *end) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(e.remote) }

// start opens a node at an address of a fabric.
func start(t *testing.T, f *fabric, ip string, peers ...string) *tcp.Transport {
	t.Helper()
	return startWith(t, f, ip, tcp.Options{Peers: peers})
}

func startWith(t *testing.T, f *fabric, ip string, options tcp.Options) *tcp.Transport {
	t.Helper()
	options.Host, options.Port = ip, 2710
	transport, err := tcp.OpenOn(f.machine(ip), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = transport.Close() })
	return transport
}

// stranger dials a node and says something.
func stranger(t *testing.T, f *fabric, from, to string, says []byte) net.Conn {
	t.Helper()
	c, err := f.dial(t.Context(), netip.MustParseAddr(from), netip.MustParseAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.Write(says); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Fatal(err)
	}
	return c
}

// pass lets time go by.
func pass(d time.Duration) {
	time.Sleep(d) // In a bubble: virtual.
	synctest.Wait()
}

// heard returns what has come in.
func heard(transport *tcp.Transport) []string {
	var got []string
	for {
		select {
		case packet := <-transport.Packets():
			got = append(got, string(packet.Data))
			synctest.Wait()
		default:
			return got
		}
	}
}

// status returns what a node says of a peer.
func status(t *testing.T, transport *tcp.Transport, name string) tcp.Peer {
	t.Helper()
	for _, p := range transport.Peers() {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no peer %s among %+v", name, transport.Peers())
	return tcp.Peer{}
}

func mustAddr(ip string) netip.Addr { return netip.MustParseAddr(ip) }

func mustAddrPort(address string) netip.AddrPort { return netip.MustParseAddrPort(address) }
