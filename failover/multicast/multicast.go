// Package multicast moves datagrams between the nodes of a network by IPv4 UDP multicast, and to one node alone by
// unicast. It knows nothing of what they mean; the election uses it, and so does the mirror to find its peers, each with
// its own port.
//
// There are two sockets. One is bound to the group's port, which all nodes of a machine share; it sends and receives
// multicast, and drops what was not sent to the group. The other is bound to the interface's own address and a free port
// of its own, because a unicast datagram to a shared port reaches only one of those who share it. What either receives
// comes out of Packets.
//
// An interface that goes down, is made anew, or changes its address is no failure: sending returns errors until it is
// back, and then the group is joined again. Address may be another one from then on.
package multicast

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/net/ipv4"

	"github.com/understudy-ha/understudy/failover"
)

// queue is how many datagrams wait for the receiver before the sockets' own buffers fill.
const queue = 64

// Config says where the datagrams go.
type Config struct {
	Group netip.Addr
	Port  int
	// Interface is its name, one of its IPv4 addresses, or a network that it is in (192.168.1.0/24); empty is the
	// system's choice, which needs a route for the group.
	Interface string
	// TTL is how many routers a multicast datagram may pass, plus one; 0 keeps it in this machine.
	TTL int
	// NoLoopback keeps multicast from this machine's own sockets, those of other nodes on it included.
	NoLoopback bool
	// Log hears when the interface goes and comes; nil is nobody.
	Log *slog.Logger
}

// Transport is a joined multicast group and a socket for unicast. Unless NoLoopback is set it hears its own multicast,
// because other nodes may run on the same machine.
type Transport struct {
	cfg     Config
	group   netip.AddrPort
	conn    *net.UDPConn
	options *ipv4.PacketConn // of conn
	filter  bool             // conn tells the destination of what it receives
	packets chan failover.Packet
	closing chan struct{}
	check   chan struct{} // asks the watch to look at the interface now
	done    chan struct{} // nothing runs any more
	running sync.WaitGroup

	mu     sync.RWMutex // guards the rest
	nic    failover.NIC
	own    *net.UDPConn
	closed bool
	fault  error // why receiving ended early
}

var (
	_ failover.Transport = (*Transport)(nil)
	_ failover.Unicaster = (*Transport)(nil)
)

// Open joins the group. Several processes of one machine may open the same group and port.
func Open(cfg Config) (*Transport, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t, err := open(cfg)
	if err != nil {
		where := "the system's default interface"
		if cfg.Interface != "" {
			where = "interface " + cfg.Interface
		}
		return nil, fmt.Errorf("multicast group %v, port %d on %s: %w", cfg.Group, cfg.Port, where, err)
	}
	return t, nil
}

func open(cfg Config) (*Transport, error) {
	if !cfg.Group.Is4() || !cfg.Group.IsMulticast() {
		return nil, errors.New("the group is no IPv4 multicast address; take one between 224.0.0.0 and 239.255.255.255")
	}
	if cfg.Port < 1 || cfg.Port > 65535 {
		return nil, errors.New("the port must be between 1 and 65535")
	}
	t := &Transport{
		cfg: cfg, group: netip.AddrPortFrom(cfg.Group, uint16(cfg.Port)),
		packets: make(chan failover.Packet, queue),
		closing: make(chan struct{}), check: make(chan struct{}, 1), done: make(chan struct{}),
	}
	var err error
	if t.nic, err = t.choose(); err != nil {
		return nil, err
	}
	if t.conn, err = listenGroup(t.group); err != nil {
		return nil, err
	}
	t.options = ipv4.NewPacketConn(t.conn)
	if err := t.configure(); err != nil {
		return nil, errors.Join(err, t.conn.Close())
	}
	if t.own, err = listenOwn(t.nic.Address, 0); err != nil {
		return nil, errors.Join(err, t.conn.Close())
	}
	t.running.Go(func() { t.read(t.conn, t.filter) })
	t.running.Go(func() { t.read(t.own, false) })
	t.running.Go(t.watch)
	go func() {
		t.running.Wait()
		close(t.packets)
		close(t.done)
	}()
	return t, nil
}

// Description says for people where the datagrams go, and why there.
func (t *Transport) Description() string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return fmt.Sprintf("multicast %v on %s (%s), TTL %d, unicast at %v",
		t.group, t.nic.Name, t.nic.Reason, t.cfg.TTL, t.own.LocalAddr())
}

// Address implements failover.Unicaster.
func (t *Transport) Address() string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.own.LocalAddr().String()
}

// Send implements failover.Transport.
func (t *Transport) Send(datagram []byte) error {
	err := failover.CheckDatagram(datagram)
	if err == nil {
		_, err = t.conn.WriteToUDPAddrPort(datagram, t.group)
		t.suspect(err)
	}
	if err != nil {
		return fmt.Errorf("send to group %v: %w%s", t.group, err, hint(err))
	}
	return nil
}

// SendTo implements failover.Unicaster.
func (t *Transport) SendTo(address string, datagram []byte) error {
	to, err := failover.ParseAddress(address)
	if err != nil {
		return err
	}
	if !to.Addr().Is4() {
		return fmt.Errorf("the address %s is not IPv4, which is all that multicast nodes speak", address)
	}
	if err := failover.CheckDatagram(datagram); err != nil {
		return err
	}
	t.mu.RLock()
	own := t.own
	t.mu.RUnlock()
	if _, err := own.WriteToUDPAddrPort(datagram, to); err != nil {
		t.suspect(err)
		return fmt.Errorf("send to node %v: %w%s", to, err, hint(err))
	}
	return nil
}

// hint says what an error of sending means. None of them ends the transport.
func hint(err error) string {
	switch {
	case errors.Is(err, net.ErrClosed):
		return ""
	case errors.Is(err, syscall.ENOBUFS):
		return "; the system's queue is full, this datagram is lost"
	case errors.Is(err, syscall.EPERM):
		return "; a firewall of this machine forbids it"
	}
	return "; check that the interface is up and has a route; it is tried again with the next datagram"
}

// Packets implements failover.Transport.
func (t *Transport) Packets() <-chan failover.Packet { return t.packets }

// Close implements failover.Transport. It returns the failure that ended the transport before, if one did.
func (t *Transport) Close() error {
	t.shut(nil)
	<-t.done
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.fault
}

// shut makes everything end, and waits for nothing.
func (t *Transport) shut(fault error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.closed, t.fault = true, fault
	close(t.closing)
	_, _ = t.conn.Close(), t.own.Close()
}
