package interlok_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/interlok"
	"github.com/understudy-ha/understudy/failover/interlok/interloktest"
)

// The times of the tests with sockets, the same for all members.
const (
	realInterval = 100 * time.Millisecond
	realTimeout  = 1500 * time.Millisecond
	realListen   = 250 * time.Millisecond
	realPoll     = 250 * time.Millisecond
)

// wire is a plain socket that a fake Java member uses.
type wire interface {
	send(data []byte) error
	// receive returns nil when the socket is closed.
	receive() []byte
	close()
}

// fake is a Java member at bytes and sockets, with real time.
type fake struct {
	t      *testing.T
	origin time.Time
	wire   wire

	mu      sync.Mutex
	member  *interloktest.Java
	pings   int // those of a primary that were received
	changed chan struct{}
	stop    func()
}

func startFake(t *testing.T, w wire, host, port string, position int) *fake {
	t.Helper()
	f := &fake{t: t, origin: time.Now(), wire: w, changed: make(chan struct{})}
	f.member = interloktest.NewJava(interloktest.Config{
		Host: host, Port: port, UUID: [16]byte{byte(position + 1), 6: 0x40, 8: 0x80}, Position: position,
		Interval: realInterval, Timeout: realTimeout, Listen: realListen, Poll: realPoll,
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.tick(ctx) })
	running.Go(f.listen)
	f.stop = sync.OnceFunc(func() { cancel(); w.close(); running.Wait() })
	t.Cleanup(f.stop)
	return f
}

func (f *fake) tick(ctx context.Context) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		f.mu.Lock()
		pings := f.member.Advance(time.Since(f.origin))
		f.changedLocked()
		f.mu.Unlock()
		for _, ping := range pings {
			_ = f.wire.send(ping) // Java only warns.
		}
	}
}

func (f *fake) listen() {
	for data := f.wire.receive(); data != nil; data = f.wire.receive() {
		if len(data) != 70 {
			f.t.Errorf("a ping of %d bytes", len(data))
			continue
		}
		f.mu.Lock()
		if data[65] == 1 {
			f.pings++
		}
		if err := f.member.Receive(time.Since(f.origin), data); err != nil {
			f.t.Error(err)
		}
		f.changedLocked()
		f.mu.Unlock()
	}
}

func (f *fake) changedLocked() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// await waits until something holds.
func (f *fake) await(what string, holds func(j *interloktest.Java, pings int) bool) {
	f.t.Helper()
	late := time.After(30 * time.Second)
	for {
		f.mu.Lock()
		done, changed := holds(f.member, f.pings), f.changed
		f.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-late:
			f.t.Fatalf("the Java member: no %s", what)
		}
	}
}

// startNode runs one of ours on real sockets, with a host that works when it may.
func startNode(t *testing.T, cfg interlok.Config) *ours {
	t.Helper()
	cfg.NodeID, cfg.Cluster = "node", "orders"
	cfg.Interval, cfg.Timeout, cfg.Listen, cfg.Poll = realInterval, realTimeout, realListen, realPoll
	link, err := interlok.Open(cfg, quietly())
	if err != nil {
		t.Fatal(err)
	}
	store, err := failover.OpenFileStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o := &ours{log: new(journal), host: election.Host{CanLead: true, AtRest: true}}
	if o.Node, err = interlok.NewNode(cfg, link, store, o.log.logger(), nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := o.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() { o.report(ctx) })
	o.end = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := link.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(o.end)
	return o
}

// await waits until the node's state is as wanted.
func (o *ours) await(t *testing.T, what string, holds func(failover.State) bool) failover.State {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		state, changed := o.State()
		if holds(state) {
			return state
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("no %s; state %+v; log:\n%s", what, state, o.log)
		}
	}
}

// takeTurns is the life of a mixed cluster: ours follows a Java primary, leads when that has gone, keeps another Java
// member waiting, and makes room for it when it resigns.
func takeTurns(t *testing.T, cfg interlok.Config, first, second func() *fake) {
	java := first()
	java.await("promotion", func(j *interloktest.Java, _ int) bool { return j.Primary() })
	node := startNode(t, cfg)
	node.await(t, "following", func(s failover.State) bool { return !s.Leader.IsZero() && s.Role == election.Standby })
	java.stop()
	state := node.await(t, "promotion", func(s failover.State) bool { return s.Role == election.Master })
	if state.Takeover.Cause != election.Silence {
		t.Errorf("promoted because %v", state.Takeover.Cause)
	}

	java = second()
	const enough = 30 // Twice the timeout.
	java.await("place beside the primary", func(j *interloktest.Java, pings int) bool {
		if j.Primary() {
			t.Fatal("the Java member leads too")
		}
		return pings >= enough && j.Position() == 1
	})
	node.mu.Lock()
	node.host.CanLead, node.host.GateOpen, node.host.AtRest = false, false, true
	node.mu.Unlock()
	if err := node.Resign(t.Context(), state.Term, ""); err != nil {
		t.Fatal(err)
	}
	java.await("promotion after the resignation", func(j *interloktest.Java, _ int) bool { return j.Primary() })
	node.await(t, "following again", func(s failover.State) bool { return !s.Leader.IsZero() })
}

// groupWire is a multicast socket on the loopback interface, made without the packages under test.
type groupWire struct {
	conn  *net.UDPConn
	group *net.UDPAddr
}

func joinGroup(t *testing.T, group netip.AddrPort) *groupWire {
	t.Helper()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	w := &groupWire{group: net.UDPAddrFromAddrPort(group)}
	if w.conn, err = net.ListenMulticastUDP("udp4", lo, w.group); err != nil {
		t.Fatal(err)
	}
	options := ipv4.NewPacketConn(w.conn)
	if err := errors.Join(options.SetMulticastInterface(lo), options.SetMulticastLoopback(true), options.SetMulticastTTL(0)); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *groupWire) send(data []byte) error {
	_, err := w.conn.WriteToUDP(data, w.group)
	return err
}

func (w *groupWire) receive() []byte {
	buffer := make([]byte, 2000)
	n, _, err := w.conn.ReadFromUDP(buffer)
	if err != nil {
		return nil
	}
	return buffer[:n]
}

func (w *groupWire) close() { _ = w.conn.Close() }

func freePort(t *testing.T) int {
	t.Helper()
	probe, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	return probe.LocalAddr().(*net.UDPAddr).Port
}

func needLoopback(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the loopback interface is named lo only on Linux")
	}
}

func TestMulticast(t *testing.T) {
	needLoopback(t)
	t.Parallel()
	cfg := interlok.DefaultConfig()
	cfg.Group, cfg.GroupPort, cfg.Interface, cfg.TTL = netip.MustParseAddr("239.255.78.1"), freePort(t), "lo", 0
	java := func(position int) func() *fake {
		return func() *fake {
			return startFake(t, joinGroup(t, netip.AddrPortFrom(cfg.Group, uint16(cfg.GroupPort))), "127.0.0.1", "0", position)
		}
	}
	takeTurns(t, cfg, java(1), java(0))
}

// tcpWire is what Java does over TCP: a connection for each ping, read with one call.
type tcpWire struct {
	listener net.Listener
	peer     string
}

func (w *tcpWire) send(data []byte) error {
	conn, err := net.DialTimeout("tcp", w.peer, 10*time.Second)
	if err != nil {
		return err
	}
	_, err = conn.Write(data)
	return errors.Join(err, conn.Close())
}

func (w *tcpWire) receive() []byte {
	for {
		conn, err := w.listener.Accept()
		if err != nil {
			return nil
		}
		data := make([]byte, 70)
		n, err := conn.Read(data)
		_ = conn.Close()
		if err == nil {
			return data[:n]
		}
	}
}

func (w *tcpWire) close() { _ = w.listener.Close() }

func TestTCP(t *testing.T) {
	t.Parallel()
	cfg := interlok.DefaultConfig()
	cfg.Mode, cfg.Host, cfg.Port = interlok.TCP, "127.0.0.1", freeTCPPort(t)
	port := freeTCPPort(t)
	// The second member is not among the peers: it has to be learned.
	cfg.Peers = []string{fmt.Sprintf("127.0.0.1:%d", port)}
	java := func(position, port int) func() *fake {
		return func() *fake {
			listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			w := &tcpWire{listener: listener, peer: fmt.Sprintf("127.0.0.1:%d", cfg.Port)}
			return startFake(t, w, "127.0.0.1", fmt.Sprint(listener.Addr().(*net.TCPAddr).Port), position)
		}
	}
	takeTurns(t, cfg, java(1, port), java(0, 0))
}

func freeTCPPort(t *testing.T) int {
	t.Helper()
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	return probe.Addr().(*net.TCPAddr).Port
}

// TestOpenTCP: where it listens, and what it tells the others.
func TestOpenTCP(t *testing.T) {
	cfg := interlok.DefaultConfig()
	cfg.NodeID, cfg.Cluster, cfg.Mode = "node", "orders", interlok.TCP
	for _, test := range []struct {
		name, host, nic, told string
		peers                 func(port int) string
	}{
		{"the host", "127.0.0.1", "", "127.0.0.1", nil},
		{"the interface", "", "127.0.0.1", "127.0.0.1", nil},
		{"among the peers", "", "", "127.0.0.1", func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := cfg
			c.Port, c.Host, c.Interface, c.Peers = freeTCPPort(t), test.host, test.nic, []string{"127.0.0.1:9"}
			if test.peers != nil {
				c.Peers = append(c.Peers, test.peers(c.Port))
			}
			link, err := interlok.Open(c, quietly())
			if err != nil {
				t.Fatal(err)
			}
			defer link.Close()
			if link.Host != test.told || link.Port != c.Port || !strings.Contains(link.Description, "tcp") {
				t.Errorf("%+v", link)
			}
		})
	}
	cfg.Port, cfg.Interface, cfg.Peers = freeTCPPort(t), "nic-that-is-not", []string{"127.0.0.1:9"}
	if _, err := interlok.Open(cfg, quietly()); err == nil || !strings.Contains(err.Error(), "failover.interface") {
		t.Errorf("got %v", err)
	}
}
