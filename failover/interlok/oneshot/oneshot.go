// Package oneshot moves datagrams between nodes over TCP as Interlok's failover does: each in a connection of its own,
// that ends with it. It knows nothing of what they mean, but that they have one size.
//
// Java reads a connection with a single call, so a datagram is written with a single call. Java sends to one peer after
// the other, and a peer whose machine is gone holds it up for ten seconds; here each peer has its own sender, and a
// datagram that waits for a slow one is replaced by the next.
package oneshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/failover"
)

const (
	// connectTimeout is Java's; readTimeout is how long a stranger may hold a connection.
	connectTimeout = 10 * time.Second
	readTimeout    = 10 * time.Second
	// drainTimeout is how long Close waits for what was sent before.
	drainTimeout = time.Second
	// maxGuests bounds the connections that others have open, maxLearned the peers that were not configured.
	maxGuests  = 64
	maxLearned = 32
	// forgetAfter is how long a learned peer is sent to after it was last heard.
	forgetAfter = 10 * time.Minute
	// acceptPause is the pause after a failure to accept, for instance because too many files are open.
	acceptPause = 100 * time.Millisecond

	queue = 64
)

// Options say where this node listens and whom it sends to.
type Options struct {
	// Listen is host:port to listen on; an empty host is all addresses.
	Listen string
	// Own is the host:port that the others are told; it is not sent to.
	Own string
	// Peers are the other nodes, each host:port. Names are looked up each time.
	Peers []string
	// Size is that of a datagram.
	Size int
	// Log hears when peers are met and lost; nil is nobody.
	Log *slog.Logger
	// Dial opens a connection; nil is the network.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Transport is a listener and a sender for each peer.
type Transport struct {
	options  Options
	listener net.Listener
	packets  chan failover.Packet
	guests   chan struct{} // a place for each connection that others may have open
	// life ends when everything has to end at once, receiving when Close begins.
	life         context.Context
	end          context.CancelFunc
	receiving    context.Context
	endReceiving context.CancelFunc

	running sync.WaitGroup
	closed  func() error

	mu    sync.Mutex // guards the rest
	shut  bool
	peers map[string]*peer
}

var (
	_ failover.Transport = (*Transport)(nil)
	_ failover.Learner   = (*Transport)(nil)
)

// Open listens and begins to send.
func Open(options Options) (*Transport, error) {
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if options.Dial == nil {
		options.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			dialer := net.Dialer{Timeout: connectTimeout}
			return dialer.DialContext(ctx, "tcp", address)
		}
	}
	listener, err := net.Listen("tcp", options.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for pings: %w; is another instance running on this machine with the same port?", err)
	}
	t := &Transport{
		options: options, listener: listener, packets: make(chan failover.Packet, queue),
		guests: make(chan struct{}, maxGuests), peers: make(map[string]*peer),
	}
	t.life, t.end = context.WithCancel(context.Background())
	t.receiving, t.endReceiving = context.WithCancel(t.life)
	t.closed = sync.OnceValue(t.close)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, address := range options.Peers {
		t.addLocked(address, false)
	}
	t.running.Go(t.accept)
	return t, nil
}

// Address is where this node listens.
func (t *Transport) Address() net.Addr { return t.listener.Addr() }

// Send implements failover.Transport. It waits for nobody; that a peer cannot be reached is logged, and no error, since
// it may be down for good.
func (t *Transport) Send(datagram []byte) error {
	if len(datagram) != t.options.Size {
		return fmt.Errorf("a datagram of %d bytes, all have %d here", len(datagram), t.options.Size)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shut {
		return errors.New("the transport is closed")
	}
	for address, p := range t.peers {
		if p.learned && time.Since(p.heard) > forgetAfter {
			close(p.waiting)
			delete(t.peers, address)
			continue
		}
		p.offer(datagram)
	}
	return nil
}

// Learn implements failover.Learner. Only addresses are learned, no names, so that nobody can make this node ask a name
// server.
func (t *Transport) Learn(address string) {
	at, err := failover.ParseAddress(address)
	if err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.peers[at.String()]; p != nil {
		p.heard = time.Now()
		return
	}
	for _, p := range t.peers {
		if p.remote == at.String() {
			return // It is configured by its name.
		}
	}
	t.addLocked(at.String(), true)
}

// reached notes where a peer is. If that was learned too it is sent to once only: Java does not expect two pings at a time.
func (t *Transport) reached(p *peer, remote string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.remote = remote
	if twin := t.peers[remote]; !t.shut && twin != nil && twin != p && twin.learned {
		close(twin.waiting)
		delete(t.peers, remote)
	}
}

func (t *Transport) addLocked(address string, learned bool) {
	if t.shut || address == t.options.Own || t.peers[address] != nil {
		return
	}
	if learned {
		count := 0
		for _, p := range t.peers {
			if p.learned {
				count++
			}
		}
		if count >= maxLearned {
			return
		}
		t.options.Log.Info("another member was heard that is not among failover.tcp.peers; pings go to it too", "peer", address)
	}
	p := &peer{transport: t, address: address, learned: learned, heard: time.Now(), waiting: make(chan []byte, 1)}
	t.peers[address] = p
	t.running.Go(p.run)
}

// Packets implements failover.Transport.
func (t *Transport) Packets() <-chan failover.Packet { return t.packets }

// Close implements failover.Transport.
func (t *Transport) Close() error { return t.closed() }

func (t *Transport) close() error {
	t.mu.Lock()
	t.shut = true
	for _, p := range t.peers {
		close(p.waiting)
	}
	t.mu.Unlock()
	t.endReceiving()
	err := t.listener.Close()
	hurry := time.AfterFunc(drainTimeout, t.end)
	t.running.Wait()
	hurry.Stop()
	t.end()
	close(t.packets)
	return err
}

// accept takes connections until the listener is closed.
func (t *Transport) accept() {
	for {
		conn, err := t.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			t.options.Log.Warn("a connection could not be accepted", "error", err)
			select {
			case <-time.After(acceptPause):
				continue
			case <-t.receiving.Done():
				return
			}
		}
		select {
		case t.guests <- struct{}{}:
			t.running.Go(func() { t.receive(conn); <-t.guests })
		default: // Too many: a member pings again soon.
			_ = conn.Close()
		}
	}
}

// receive reads one datagram. One byte more than it may have is asked for, so that a longer one is noticed if it comes
// in one piece; nobody waits for that byte.
func (t *Transport) receive(conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(t.receiving, func() { _ = conn.Close() })()
	if conn.SetReadDeadline(time.Now().Add(readTimeout)) != nil {
		return
	}
	buffer := make([]byte, t.options.Size+1)
	n, err := io.ReadAtLeast(conn, buffer, t.options.Size)
	if n == 0 && err != nil {
		return // Somebody has only looked whether the port is open.
	}
	packet := failover.Packet{Data: buffer[:n], Received: time.Now(), Source: conn.RemoteAddr().String()}
	select {
	case t.packets <- packet:
	case <-t.receiving.Done():
	}
}

// peer is a node that is sent to.
type peer struct {
	transport *Transport
	address   string
	learned   bool
	heard     time.Time // guarded by transport.mu
	// remote is the address where it was last reached, guarded by transport.mu.
	remote string
	// waiting is the next datagram; only the latest counts.
	waiting chan []byte
}

// offer replaces what waits. The transport's lock is held.
func (p *peer) offer(datagram []byte) {
	select {
	case <-p.waiting:
	default:
	}
	p.waiting <- append([]byte(nil), datagram...)
}

// run sends until the transport or the peer is given up.
func (p *peer) run() {
	reached := true
	for datagram := range p.waiting {
		err := p.send(datagram)
		switch log := p.transport.options.Log; {
		case err == nil && !reached:
			log.Info("the peer is available again", "peer", p.address)
		case err != nil && reached && p.transport.life.Err() == nil:
			log.Warn("Remote Peer not available, ignoring: "+p.address, "error", err)
		case err != nil:
			log.Debug("Remote Peer not available, ignoring: "+p.address, "error", err)
		}
		reached = err == nil
	}
}

func (p *peer) send(datagram []byte) error {
	ctx, cancel := context.WithTimeout(p.transport.life, connectTimeout)
	defer cancel()
	conn, err := p.transport.options.Dial(ctx, p.address)
	if err != nil {
		return err
	}
	p.transport.reached(p, conn.RemoteAddr().String())
	deadline, _ := ctx.Deadline()
	err = conn.SetDeadline(deadline)
	if err == nil {
		_, err = conn.Write(datagram)
	}
	return errors.Join(err, conn.Close())
}
