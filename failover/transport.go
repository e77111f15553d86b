package failover

import (
	"fmt"
	"net/netip"
	"time"
)

// MaxDatagram is the size in bytes of the greatest datagram that a transport carries: what fits into UDP over IPv4.
// Over a real network anything above some 1400 travels in pieces, and is lost if one of them is.
const MaxDatagram = 65507

// Transport carries datagrams to all nodes that listen, the sender perhaps included. It promises nothing:
// datagrams may be lost, doubled or overtaken.
type Transport interface {
	// Send sends one datagram of at most MaxDatagram bytes and keeps nothing of it. It does not block for long, and may
	// be called from several goroutines. An error means that this datagram was not sent; the next one may be.
	Send(datagram []byte) error
	// Packets are the datagrams received. The channel is closed when the transport ends: after Close, or
	// because of a failure.
	Packets() <-chan Packet
	// Close ends the transport and waits until nothing of it runs. What was sent before is still on its way then: a
	// node's last words are not lost by closing. It is safe to call twice.
	Close() error
}

// Unicaster is a Transport that can reach one node alone.
type Unicaster interface {
	// Address is where other nodes reach this one by SendTo: an IP address and a port. It is told to them in
	// datagrams. It changes when the address of the network interface does.
	Address() string
	// SendTo sends one datagram to one node's Address. It promises as little as Send: that nobody is there is no
	// error. Bad addresses are errors; names are never looked up.
	SendTo(address string, datagram []byte) error
}

// Learner is a Transport that is told of nodes which it may not know yet.
type Learner interface {
	// Learn is called with the Address of a node that was heard, as often as it was. Only authenticated datagrams
	// should be trusted with that. It does not block, keeps a bounded number, and ignores what is no address.
	Learn(address string)
}

// Packet is one datagram as it was received.
type Packet struct {
	// Data belongs to the receiver.
	Data []byte
	// Received is when it was read.
	Received time.Time
	// Source is where it seems to come from, for log lines only: on a loopback interface it is the host's
	// outside address, and anybody can forge it.
	Source string
	// Interface is where it came in, if the transport knows.
	Interface string
}

// CheckDatagram is an error if no transport carries a datagram of that size.
func CheckDatagram(datagram []byte) error {
	if len(datagram) > MaxDatagram {
		return fmt.Errorf("a datagram of %d bytes is too large, at most %d are allowed", len(datagram), MaxDatagram)
	}
	return nil
}

// ParseAddress reads the Address of another node. It refuses names, so that no datagram can make this node ask a name
// server, and addresses that mean several nodes, none, or something else on each machine.
func ParseAddress(address string) (netip.AddrPort, error) {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("the address %q is no IP address with a port, such as 192.0.2.7:2710 or [2001:db8::7]:2710", address)
	}
	ip := parsed.Addr().Unmap()
	if parsed.Port() == 0 || ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "" || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.AddrPort{}, fmt.Errorf("the address %s is not that of one node", address)
	}
	return netip.AddrPortFrom(ip, parsed.Port()), nil
}
