package tcp

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/failover"
)

// Transport keeps connections to the other nodes. It does not hear what it sends itself.
type Transport struct {
	options  Options
	timing   timing
	network  network
	instance instance
	place    place
	own      netip.AddrPort // what the others are told
	listener net.Listener
	packets  chan failover.Packet

	// draining is closed when Close begins: nothing new is begun, and what waits is sent.
	draining chan struct{}
	// life ends when everything has to end, dialling already when draining is closed.
	life          context.Context
	dialling      context.Context
	endLife       context.CancelFunc
	endDialling   context.CancelFunc
	running       sync.WaitGroup
	close         func() error
	refusalsMutex sync.Mutex // guards refusals
	refusals      map[string]uint64

	mu     sync.RWMutex // guards the rest, and the marked fields of the peers
	closed bool
	peers  []*peer // in the order in which they came to be known
	// byAddress finds the peers by where they are known to be.
	byAddress map[netip.AddrPort]*peer
	// accepted are the connections that others have dialled, by the address that they claim.
	accepted map[netip.AddrPort][]*conn
	// guests counts those connections by the host that they really come from.
	guests     map[netip.Addr]int
	guestCount int
}

var (
	_ failover.Transport = (*Transport)(nil)
	_ failover.Unicaster = (*Transport)(nil)
	_ failover.Learner   = (*Transport)(nil)
)

var errClosed = errors.New("tcp: the transport is closed")

// Open listens, and begins to connect to the peers; it does not wait for them.
func Open(o Options) (*Transport, error) { return open(o, system{}, defaultTiming()) }

func open(o Options, n network, times timing) (*Transport, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Lookup == nil {
		o.Lookup = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	}
	t := &Transport{
		options: o, timing: times, network: n,
		packets: make(chan failover.Packet, queue), draining: make(chan struct{}),
		refusals: make(map[string]uint64), byAddress: make(map[netip.AddrPort]*peer),
		accepted: make(map[netip.AddrPort][]*conn), guests: make(map[netip.Addr]int),
	}
	if _, err := rand.Read(t.instance[:]); err != nil {
		return nil, fmt.Errorf("tcp: draw a random number: %w", err)
	}
	if err := t.listen(); err != nil {
		return nil, err
	}
	t.life, t.endLife = context.WithCancel(context.Background())
	t.dialling, t.endDialling = context.WithCancel(t.life)
	t.close = sync.OnceValue(t.shut)
	t.running.Go(t.accept)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range o.Peers {
		host, port, _ := splitPeer(name) // Validated.
		t.addLocked(&peer{name: name, host: host, port: port, configured: true})
	}
	return t, nil
}

// listen opens the listener.
func (t *Transport) listen() error {
	var err error
	if t.place, err = t.choosePlace(); err != nil {
		return err
	}
	if t.listener, err = t.network.listen(t.place.listen, t.options.Port); err != nil {
		return fmt.Errorf("%s, %s: %w", keyHost, keyPort, err)
	}
	port, err := wherePort(t.listener.Addr().String())
	if err != nil {
		return errors.Join(err, t.listener.Close())
	}
	t.own = netip.AddrPortFrom(t.place.told, port)
	return nil
}

func (t *Transport) hello() hello { return hello{instance: t.instance, address: t.own} }

// Description says for people where this node listens, and why there.
func (t *Transport) Description() string {
	return fmt.Sprintf("tcp %v (%s), %d peers", t.own, t.place.reason, len(t.options.Peers))
}

// Address implements failover.Unicaster.
func (t *Transport) Address() string { return t.own.String() }

// Packets implements failover.Transport.
func (t *Transport) Packets() <-chan failover.Packet { return t.packets }

// Send implements failover.Transport: to all peers, configured and learned. That none of them is connected is no error.
func (t *Transport) Send(datagram []byte) error {
	if err := failover.CheckDatagram(datagram); err != nil {
		return fmt.Errorf("tcp: %w", err)
	}
	datagram = bytes.Clone(datagram)
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return errClosed
	}
	for _, p := range t.peers {
		if p.twin == nil && !p.self {
			t.offerLocked(p, datagram)
		}
	}
	return nil
}

// SendTo implements failover.Unicaster. An address that is not known yet is learned. A node is not sent to by itself.
func (t *Transport) SendTo(address string, datagram []byte) error {
	to, err := failover.ParseAddress(address)
	if err == nil {
		err = failover.CheckDatagram(datagram)
	}
	if err != nil {
		return fmt.Errorf("tcp: %w", err)
	}
	t.mu.RLock()
	p := t.byAddress[to]
	t.mu.RUnlock()
	if p == nil {
		p = t.learn(to)
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	switch {
	case t.closed:
		return errClosed
	case to == t.own:
		return nil
	case p == nil:
		return fmt.Errorf("tcp: the node at %v cannot be sent to: it cannot be reached from %v, or there are %d learned nodes already", to, t.own.Addr(), maxLearned)
	}
	if p.twin != nil {
		p = p.twin
	}
	if !p.self {
		t.offerLocked(p, bytes.Clone(datagram))
	}
	return nil
}

// offerLocked hands a datagram to a peer's connections. The one that this node has dialled comes first. While there is
// none those count that say they come from there, which anybody can say: so the datagram waits for the right one too,
// unless the host is right. At least the reading lock is held.
func (t *Transport) offerLocked(p *peer, datagram []byte) {
	if p.link == nil {
		right := false
		for _, address := range p.addresses {
			for _, c := range t.accepted[address] {
				c.out.push(datagram)
				right = right || c.host == address.Addr()
			}
		}
		if right {
			return
		}
	}
	p.out.push(datagram)
}

// Learn implements failover.Learner.
func (t *Transport) Learn(address string) {
	if at, err := failover.ParseAddress(address); err == nil {
		t.learn(at)
	}
}

// Close implements failover.Transport. It waits a quarter of a second at most for what was sent before.
func (t *Transport) Close() error { return t.close() }

func (t *Transport) shut() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	close(t.draining)
	t.endDialling()
	err := t.listener.Close()
	ended := make(chan struct{})
	go func() {
		t.running.Wait()
		close(ended)
	}()
	timer := time.NewTimer(t.timing.drain)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
	t.endLife()
	<-ended
	close(t.packets)
	return err
}
