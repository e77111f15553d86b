package failover

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/wire"
)

// Dialer opens a TCP connection to an IP address and port. An error that is syscall.ECONNREFUSED means that a
// living kernel said that nobody listens there.
type Dialer func(ctx context.Context, address string) (net.Conn, error)

// NetDialer returns the Dialer of the system. It sends no keep-alives: a dead link is the heartbeat's matter.
func NetDialer() Dialer {
	dialer := &net.Dialer{KeepAlive: -1}
	return func(ctx context.Context, address string) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", address)
	}
}

// The limits of the watch: how long a connection and its hello may take, and the first pause between two
// attempts, which doubles up to one delay.
const (
	minPatience = 100 * time.Millisecond
	maxPatience = time.Second
	firstPause  = time.Millisecond
)

// watcher looks for evidence that the process of the master's host is gone. It keeps a connection to it, whose
// end is no evidence yet: the process may have closed it, or something on the way. But when a new one is refused
// then nobody listens there any more. Only a process that has been met, and has said who it is, can be gone:
// a port that never answered proves nothing.
type watcher struct {
	cluster string
	dial    Dialer
	clock   Clock
	log     *slog.Logger
	// patience is for a connection and its hello, delay the longest pause between two attempts.
	patience, delay time.Duration

	// targets holds the latest thing to watch, gone is for what was found.
	targets chan election.Watch
	gone    chan election.PeerGone
	// met is whom the watcher is connected with at this moment.
	met atomic.Pointer[election.Watch]
}

func newWatcher(cfg Config, dial Dialer, clock Clock, log *slog.Logger) *watcher {
	return &watcher{
		cluster: cfg.Cluster, dial: dial, clock: clock, log: log,
		patience: min(max(cfg.Delay, minPatience), maxPatience), delay: cfg.Delay,
		targets: make(chan election.Watch, 1), gone: make(chan election.PeerGone),
	}
}

// turn makes the watcher look at something else; the zero Watch is nothing. It is called from one goroutine.
func (w *watcher) turn(target election.Watch) {
	select {
	case <-w.targets:
	default:
	}
	w.targets <- target
}

// connected reports whether the watcher has a connection to that process.
func (w *watcher) connected(target election.Watch) bool {
	met := w.met.Load()
	return met != nil && *met == target
}

// run watches until ctx ends.
func (w *watcher) run(ctx context.Context) {
	var watching sync.WaitGroup
	var target election.Watch
	for ctx.Err() == nil {
		life, stop := context.WithCancel(ctx)
		if current := target; !current.Term.IsZero() {
			watching.Go(func() { w.watch(life, current) })
		}
		select {
		case target = <-w.targets:
		case <-ctx.Done():
		}
		stop()
		watching.Wait()
	}
}

// answer is what came of an attempt to meet a process.
type answer uint8

const (
	// noAnswer proves nothing: silence, an unreachable network, a stranger.
	noAnswer answer = iota
	// alive: it was met.
	alive
	// refused: nobody listens there.
	refused
	// replaced: another process of the same node listens there.
	replaced
)

func (w *watcher) watch(ctx context.Context, target election.Watch) {
	if err := checkAddress(target.Liveness.Address); err != nil {
		w.log.Warn("the master's process cannot be watched; its crash is noticed by its silence only",
			"peer", target.Term.Node, "error", err)
		return
	}
	known := false
	var pause time.Duration
	for {
		conn, got := w.meet(ctx, target)
		switch {
		case ctx.Err() != nil:
			return
		case got == alive:
			known = true
			if w.hold(ctx, conn, target) {
				pause = 0
				continue
			}
		case known && (got == refused || got == replaced):
			select {
			case w.gone <- election.PeerGone{At: w.clock(), Watch: target}:
			case <-ctx.Done():
			}
			// Whatever becomes of it, this evidence is spent: a new one has to meet the process anew.
			known = false
		}
		pause = min(max(2*pause, firstPause), w.delay)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// meet connects to a process and listens to its hello. The connection is given if it is alive.
func (w *watcher) meet(ctx context.Context, target election.Watch) (net.Conn, answer) {
	attempt, cancel := context.WithTimeout(ctx, w.patience)
	defer cancel()
	conn, err := w.dial(attempt, target.Liveness.Address)
	if err != nil {
		if isRefused(err) {
			return nil, refused
		}
		w.log.Debug("no answer from the master's process", "peer", target.Term.Node, "error", err)
		return nil, noAnswer
	}
	unhang := context.AfterFunc(attempt, func() { _ = conn.Close() })
	hello, err := readHello(conn)
	if !unhang() && err == nil {
		err = context.Cause(attempt) // It came too late: the connection is closed already.
	}
	switch {
	case err != nil:
	case hello.Cluster != w.cluster || hello.NodeID != target.Term.Node:
		err = fmt.Errorf("hello: that of node %s in cluster %s", hello.NodeID, hello.Cluster)
	case hello.Process != target.Liveness.Process:
		_ = conn.Close()
		return nil, replaced
	default:
		return conn, alive
	}
	_ = conn.Close()
	w.log.Debug("no answer from the master's process", "peer", target.Term.Node, "error", err)
	return nil, noAnswer
}

func readHello(conn io.Reader) (wire.Hello, error) {
	line, err := bufio.NewReader(io.LimitReader(conn, wire.MaxHello)).ReadString('\n')
	if err != nil {
		return wire.Hello{}, err
	}
	return wire.ParseHello(line)
}

// hold keeps a connection until it ends, and reports whether it lasted: one that does not must not be replaced at
// once, again and again.
func (w *watcher) hold(ctx context.Context, conn net.Conn, target election.Watch) (lasted bool) {
	begun := w.clock()
	w.met.Store(&target)
	defer w.met.Store(nil)
	unhang := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer unhang()
	defer conn.Close()
	// Nothing is said after the hello. Whatever the read returns with, the connection is of no more use.
	_, _ = conn.Read(make([]byte, 1))
	return w.clock()-begun >= w.delay
}

// checkAddress refuses names, so that no datagram can make this node ask a name server, and addresses that mean
// something else on each machine.
func checkAddress(address string) error {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("liveness address: %w", err)
	}
	if ip := parsed.Addr().Unmap(); parsed.Port() == 0 || ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "" {
		return errors.New("liveness address: " + address + " cannot be reached from another node")
	}
	return nil
}
