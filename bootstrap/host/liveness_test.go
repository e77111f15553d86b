package host_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/host"
	"github.com/understudy-ha/understudy/plugins/contract"
)

var loopback = host.LivenessConfig{Listen: "127.0.0.1:0"}

func listen(t *testing.T, cfg host.LivenessConfig) *host.LivenessSocket {
	t.Helper()
	socket, err := host.ListenLiveness(cfg, "orders-1", "Orders (test)", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return socket
}

func connect(t *testing.T, address string) (net.Conn, string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatalf("hello: %v", err)
	}
	return conn, line
}

// ended waits for the other side to close.
func ended(t *testing.T, conn net.Conn) {
	t.Helper()
	if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the connection has not ended: %d bytes, %v", n, err)
	}
}

func TestLivenessSaysHelloAndEnds(t *testing.T) {
	socket := listen(t, loopback)
	other := listen(t, loopback)
	conn, line := connect(t, socket.At().Address)
	if want := socket.At().Hello("orders-1", "Orders (test)"); line != want {
		t.Errorf("hello %q, want %q", line, want)
	}
	if socket.At().Process == other.At().Process || socket.At().Process == 0 {
		t.Errorf("two sockets of processes %d and %d", socket.At().Process, other.At().Process)
	}
	// Who speaks is a stranger; the others stay.
	stranger, _ := connect(t, socket.At().Address)
	if _, err := io.WriteString(stranger, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	ended(t, stranger)

	for _, s := range []*host.LivenessSocket{socket, other} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	ended(t, conn)
	if conn, err := net.Dial("tcp", socket.At().Address); err == nil {
		conn.Close()
		t.Error("a closed socket answers")
	}
}

// TestLivenessIsBounded: strangers can neither use it up, nor keep those out who have a reason to watch.
func TestLivenessIsBounded(t *testing.T) {
	socket := listen(t, loopback)
	first, _ := connect(t, socket.At().Address)
	for range host.MaxWatchers {
		connect(t, socket.At().Address)
	}
	ended(t, first)
	connect(t, socket.At().Address)
	if n := socket.Connections(); n > host.MaxWatchers {
		t.Errorf("%d connections, at most %d", n, host.MaxWatchers)
	}
	if err := socket.Close(); err != nil {
		t.Error(err)
	}
	if n := socket.Connections(); n != 0 {
		t.Errorf("%d connections after the end", n)
	}
}

// choose is an interface and what it means.
func choose(spec string) (netip.Addr, error) {
	if spec == "lo" {
		return netip.MustParseAddr("127.0.0.1"), nil
	}
	return netip.Addr{}, fmt.Errorf("there is no such interface: %q", spec)
}

func TestLivenessAddresses(t *testing.T) {
	for _, cfg := range []host.LivenessConfig{
		{Listen: ":0", Toward: "127.0.0.1"},
		{Listen: "0.0.0.0:0", Toward: "127.0.0.1"},
		{Listen: "localhost:0"},
		{Toward: "127.0.0.1"},
		{Interface: "lo", Choose: choose},
		{Host: "127.0.0.1", Toward: "203.0.113.1"},
		{Host: "::ffff:127.0.0.1"},
		{Host: "a-name", Toward: "127.0.0.1"},
	} {
		socket := listen(t, cfg)
		if address := socket.At().Address; !strings.HasPrefix(address, "127.0.0.1:") && !strings.HasPrefix(address, "[::1]:") {
			t.Errorf("%+v: the others are told %s", cfg, address)
		}
		if _, line := connect(t, socket.At().Address); line == "" {
			t.Error("no hello")
		}
		if err := socket.Close(); err != nil {
			t.Error(err)
		}
	}
	for want, cfg := range map[string]host.LivenessConfig{
		"failover.liveness.listen": {Listen: "nonsense"},
		"failover.interface":       {Interface: "no-such-interface", Choose: choose},
		"there is no such":         {Interface: "198.51.100.0/30", Choose: choose},
	} {
		if _, err := host.ListenLiveness(cfg, "a", "c", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want a word about %s", cfg, err, want)
		}
	}
	taken := listen(t, loopback)
	_, err := host.ListenLiveness(host.LivenessConfig{Listen: taken.At().Address}, "a", "c", slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "liveness socket") {
		t.Errorf("a port that is taken: %v", err)
	}
	if err := taken.Close(); err != nil {
		t.Error(err)
	}
}

// flakyListener fails now and then, as one does whose process has too many open files.
type flakyListener struct {
	net.Listener
	failures chan error
}

func (l *flakyListener) Accept() (net.Conn, error) {
	select {
	case err := <-l.failures:
		return nil, err
	default:
		return l.Listener.Accept()
	}
}

// TestLivenessOutlivesFailures: to close the listener would tell the others that this process is gone.
func TestLivenessOutlivesFailures(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	flaky := &flakyListener{Listener: listener, failures: make(chan error, 2)}
	flaky.failures <- syscall.EMFILE
	flaky.failures <- fmt.Errorf("accept: %w", syscall.ENFILE)
	var log strings.Builder
	socket := host.ServeLiveness(flaky, contract.Liveness{Address: listener.Addr().String(), Process: 1}, slog.New(slog.NewTextHandler(&log, nil)))
	connect(t, listener.Addr().String())
	if err := socket.Close(); err != nil {
		t.Error(err)
	}
	if strings.Count(log.String(), "cannot accept") != 1 {
		t.Errorf("log:\n%s", log.String())
	}
}

// runWatched runs a node with a liveness socket until stop, and returns its address.
func runWatched(t *testing.T, w *fakeWorkload) (address string, f *fakeFailover, stop func() error) {
	t.Helper()
	f = newFakeFailover(w.diary)
	start := time.Now()
	node := host.New(host.Options{
		NodeID: "a", Cluster: "c", AdapterID: "orders", Failover: true, Delay: 20 * time.Millisecond, StopTimeout: time.Minute,
		Lifecycle: gateHook{f}, Liveness: &loopback, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Clock: func() time.Duration { return time.Since(start) },
		Build: func() (host.Workload, error) { return w, nil },
	})
	f.gateOpen = func() bool { return node.Status().GateOpen }
	node.FailoverUp(f)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- node.Run(ctx) }()
	for address == "" {
		_, report, _ := f.now()
		address = report.Liveness.Address
		<-time.After(time.Millisecond) // Real time, because sockets are.
	}
	return address, f, func() error {
		cancel()
		return <-ran
	}
}

func TestNodeIsWatchedUntilItsEnd(t *testing.T) {
	address, _, stop := runWatched(t, &fakeWorkload{diary: &diary{}})
	conn, line := connect(t, address)
	if !strings.Contains(line, "\ta\tc\n") {
		t.Errorf("hello %q", line)
	}
	if err := stop(); err != nil {
		t.Errorf("a clean stop returned %v", err)
	}
	ended(t, conn)
}

// Work that does not stop may still be writing: until the process ends the socket says that it lives.
func TestNodeWhoseWorkDoesNotStopStaysWatched(t *testing.T) {
	w := &fakeWorkload{diary: &diary{}, stopErr: errors.New("workflow w is stuck")}
	address, f, stop := runWatched(t, w)
	f.promote(term7)
	for {
		if started := w.diary.take(); len(started) > 0 {
			break
		}
		<-time.After(time.Millisecond)
	}
	if err := stop(); err == nil || !strings.Contains(err.Error(), "stuck") {
		t.Errorf("the node ended with %v", err)
	}
	connect(t, address)
}

func TestNodeWithAPortThatIsTaken(t *testing.T) {
	taken := listen(t, loopback)
	defer taken.Close()
	node := host.New(host.Options{
		Failover: true, Delay: time.Second, Log: slog.New(slog.DiscardHandler),
		Clock: host.Boottime, Liveness: &host.LivenessConfig{Listen: taken.At().Address},
	})
	if err := node.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "liveness socket") {
		t.Errorf("got %v", err)
	}
}
