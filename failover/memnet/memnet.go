// Package memnet is a network in memory for tests: it behaves like UDP multicast on a bad day. It copies what
// is sent, drops, doubles, delays and reorders it by a seed, and never blocks a sender. Its delays are timers,
// so it works under testing/synctest.
package memnet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/failover"
)

// queue is how many datagrams wait in front of a slow receiver before more are dropped.
const queue = 256

// Faults say how bad the network is. The zero value is a perfect one.
type Faults struct {
	// Loss and Duplicate are the chances, 0 to 1, that a datagram is lost or doubled on a link.
	Loss, Duplicate float64
	// Delay is what every datagram takes, Jitter the most that chance adds. Jitter reorders.
	Delay, Jitter time.Duration
}

// Network joins transports. All methods may be called from any goroutine.
type Network struct {
	mu      sync.Mutex // guards all below
	random  *rand.Rand
	faults  Faults
	members map[string]*Transport
	order   []string // the members' names in the order of joining, so that a seed means the same each time
	cut     map[[2]string]bool
	at      map[netip.AddrPort]*Transport // the members by their addresses
	joined  uint32                        // counts all that ever joined
}

// New returns a perfect network whose chances come from seed.
func New(seed uint64) *Network {
	return &Network{
		random:  rand.New(rand.NewPCG(seed, 0)),
		members: make(map[string]*Transport),
		cut:     make(map[[2]string]bool),
		at:      make(map[netip.AddrPort]*Transport),
	}
}

// SetFaults makes the network as bad as that from now on.
func (n *Network) SetFaults(faults Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = faults
}

// Cut stops datagrams from one member to another, in that direction.
func (n *Network) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{from, to}] = true
}

// Partition cuts a group of members off from all others, in both directions.
func (n *Network) Partition(group ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	inside := make(map[string]bool)
	for _, name := range group {
		inside[name] = true
	}
	for _, a := range n.order {
		for _, b := range n.order {
			if inside[a] != inside[b] {
				n.cut[[2]string{a, b}] = true
			}
		}
	}
}

// Heal ends all cuts.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
}

// Join adds a member. A name that has left may join again; it gets another address then, as a process that is started
// again gets another port.
func (n *Network) Join(name string) (*Transport, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.members[name] != nil {
		return nil, fmt.Errorf("memnet: %s has joined already", name)
	}
	t := &Transport{network: n, name: name, address: n.nextAddressLocked(), packets: make(chan failover.Packet, queue)}
	n.members[name], n.at[t.address] = t, t
	n.order = append(n.order, name)
	return t, nil
}

// nextAddressLocked returns an address that nobody has had: one of 198.18.0.0/15, which belongs to tests (RFC 2544), and
// a port.
func (n *Network) nextAddressLocked() netip.AddrPort {
	n.joined++
	const hosts = 250
	host, port := n.joined%hosts+1, 1024+n.joined/hosts%60000
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 0, byte(host)}), uint16(port))
}

// leave removes a member and closes its channel, so that nobody sends into it later.
func (n *Network) leave(t *Transport) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.members[t.name] != t {
		return
	}
	delete(n.members, t.name)
	delete(n.at, t.address)
	for i, name := range n.order {
		if name == t.name {
			n.order = append(n.order[:i:i], n.order[i+1:]...)
			break
		}
	}
	close(t.packets)
}

func (n *Network) send(from *Transport, datagram []byte) error {
	if err := failover.CheckDatagram(datagram); err != nil {
		return fmt.Errorf("memnet: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.members[from.name] != from {
		return errClosed
	}
	for _, name := range n.order {
		n.carryLocked(from, n.members[name], datagram)
	}
	return nil
}

func (n *Network) sendTo(from *Transport, address string, datagram []byte) error {
	to, err := failover.ParseAddress(address)
	if err == nil {
		err = failover.CheckDatagram(datagram)
	}
	if err != nil {
		return fmt.Errorf("memnet: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.members[from.name] != from {
		return errClosed
	}
	if member := n.at[to]; member != nil {
		n.carryLocked(from, member, datagram)
	}
	return nil
}

// carryLocked takes one datagram over one link, as well or badly as that is.
func (n *Network) carryLocked(from, to *Transport, datagram []byte) {
	if n.cut[[2]string{from.name, to.name}] {
		return
	}
	copies := 1
	if n.chance(n.faults.Duplicate) {
		copies = 2
	}
	for range copies {
		if n.chance(n.faults.Loss) {
			continue
		}
		delay := n.faults.Delay
		if n.faults.Jitter > 0 {
			delay += time.Duration(n.random.Int64N(int64(n.faults.Jitter)))
		}
		data := append([]byte(nil), datagram...)
		if delay == 0 {
			n.deliverLocked(to, from.name, data)
			continue
		}
		time.AfterFunc(delay, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.deliverLocked(to, from.name, data)
		})
	}
}

func (n *Network) chance(p float64) bool { return p > 0 && n.random.Float64() < p }

func (n *Network) deliverLocked(to *Transport, from string, data []byte) {
	if n.members[to.name] != to {
		return
	}
	select {
	case to.packets <- failover.Packet{Data: data, Received: time.Now(), Source: from, Interface: "memnet"}:
	default: // The receiver is slow: its socket is full.
	}
}

var errClosed = errors.New("memnet: the transport is closed")

// Transport is one member's access to the network; it hears itself, as a multicast socket does.
type Transport struct {
	network *Network
	name    string
	address netip.AddrPort
	packets chan failover.Packet
}

var (
	_ failover.Transport = (*Transport)(nil)
	_ failover.Unicaster = (*Transport)(nil)
)

// Send implements failover.Transport.
func (t *Transport) Send(datagram []byte) error { return t.network.send(t, datagram) }

// Address implements failover.Unicaster.
func (t *Transport) Address() string { return t.address.String() }

// SendTo implements failover.Unicaster.
func (t *Transport) SendTo(address string, datagram []byte) error {
	return t.network.sendTo(t, address, datagram)
}

// Packets implements failover.Transport.
func (t *Transport) Packets() <-chan failover.Packet { return t.packets }

// Close implements failover.Transport.
func (t *Transport) Close() error {
	t.network.leave(t)
	return nil
}
