// Package multicast moves datagrams between the nodes of a network by IPv4 UDP multicast. It knows nothing of
// what they mean; the election uses it, and so does the mirror to find its peers, each with its own port.
package multicast

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/understudy-ha/understudy/failover"
)

const (
	// queue is how many datagrams wait for the receiver before the socket's own buffer fills.
	queue = 64
	// receiveBuffer is asked for; the system may give less.
	receiveBuffer = 1 << 20
	// maxDatagram is the most that UDP can carry.
	maxDatagram = 64 << 10
	// A read that fails is tried again, since some systems report the fate of earlier sends that way.
	readRetries = 100
	readPause   = 10 * time.Millisecond
)

// Config says where the datagrams go.
type Config struct {
	Group netip.Addr
	Port  int
	// Interface is its name; empty is the system's choice, which needs a route for the group.
	Interface string
	// TTL is how many routers a datagram may pass, plus one; 0 keeps it in this machine.
	TTL int
}

// Transport is a joined multicast group. It hears its own datagrams, because other nodes may run on the same
// machine.
type Transport struct {
	conn    *net.UDPConn
	group   netip.AddrPort
	filter  bool
	names   map[int]string
	packets chan failover.Packet
	closing chan struct{}
	reading sync.WaitGroup
	close   func() error
	fault   error // why reading ended early; read after reading.Wait
}

var _ failover.Transport = (*Transport)(nil)

// Open joins the group. Several processes of one machine may open the same group and port.
func Open(cfg Config) (*Transport, error) {
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
	nic, err := find(cfg.Interface)
	if err != nil {
		return nil, err
	}
	group := netip.AddrPortFrom(cfg.Group, uint16(cfg.Port))
	// Given a multicast address Go binds the wildcard address, with the options that let others bind it too.
	lc := net.ListenConfig{Control: control}
	listener, err := lc.ListenPacket(context.Background(), "udp4", group.String())
	if err != nil {
		return nil, fmt.Errorf("%w; is another program using the port for itself? Free it or choose another one", err)
	}
	conn := listener.(*net.UDPConn)
	t := &Transport{
		conn: conn, group: group, names: make(map[int]string),
		packets: make(chan failover.Packet, queue), closing: make(chan struct{}),
	}
	if err := t.join(cfg, nic); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	t.close = sync.OnceValue(func() error {
		close(t.closing)
		err := conn.Close()
		t.reading.Wait()
		return errors.Join(err, t.fault)
	})
	t.reading.Go(t.read)
	return t, nil
}

// join sets what the socket needs for sending and receiving, which are two different things.
func (t *Transport) join(cfg Config, nic *net.Interface) error {
	p := ipv4.NewPacketConn(t.conn)
	if err := p.JoinGroup(nic, &net.UDPAddr{IP: cfg.Group.AsSlice()}); err != nil {
		return fmt.Errorf("join the group: %w; name an interface that can multicast (this machine has: %s)", err, interfaces())
	}
	if nic != nil {
		if err := p.SetMulticastInterface(nic); err != nil {
			return fmt.Errorf("send through the interface: %w", err)
		}
	}
	if err := p.SetMulticastTTL(cfg.TTL); err != nil {
		return fmt.Errorf("set the TTL to %d: %w; it must be between 0 and 255", cfg.TTL, err)
	}
	if err := p.SetMulticastLoopback(true); err != nil {
		return fmt.Errorf("hear other processes of this machine: %w", err)
	}
	// The socket is bound to the wildcard address, so it gets unicast datagrams, and on some systems those of
	// groups that other processes have joined. Where the system tells the destination, they are dropped.
	t.filter = p.SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true) == nil
	_ = t.conn.SetReadBuffer(receiveBuffer) // As much as the system allows.
	return nil
}

// find looks an interface up; nil is the system's choice.
func find(name string) (*net.Interface, error) {
	if name == "" {
		return nil, nil
	}
	nic, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("there is no such interface; this machine has: %s", interfaces())
	}
	if nic.Flags&net.FlagUp == 0 {
		return nil, errors.New("the interface is down; bring it up or name another one")
	}
	return nic, nil
}

// interfaces lists the names of the interfaces that are up.
func interfaces() string {
	all, err := net.Interfaces()
	if err != nil {
		return "unknown, " + err.Error()
	}
	var names []string
	for _, nic := range all {
		if nic.Flags&net.FlagUp != 0 {
			names = append(names, nic.Name)
		}
	}
	return strings.Join(names, ", ")
}

// Send implements failover.Transport.
func (t *Transport) Send(datagram []byte) error {
	if _, err := t.conn.WriteToUDPAddrPort(datagram, t.group); err != nil {
		return fmt.Errorf("send to group %v: %w; check that the interface is up and has a route for the group", t.group, err)
	}
	return nil
}

// Packets implements failover.Transport.
func (t *Transport) Packets() <-chan failover.Packet { return t.packets }

// Close implements failover.Transport. It returns the failure that ended the transport before, if one did.
func (t *Transport) Close() error { return t.close() }

func (t *Transport) read() {
	defer close(t.packets)
	buffer := make([]byte, maxDatagram)
	control := make([]byte, 128)
	failures := 0
	for {
		n, controls, _, source, err := t.conn.ReadMsgUDPAddrPort(buffer, control)
		if err != nil {
			if failures++; errors.Is(err, net.ErrClosed) || !t.pause() {
				return
			}
			if failures == readRetries {
				t.fault = fmt.Errorf("receive from group %v: %w", t.group, err)
				return
			}
			continue
		}
		failures = 0
		nic, wanted := t.classify(control[:controls])
		if !wanted {
			continue
		}
		packet := failover.Packet{
			Data: append([]byte(nil), buffer[:n]...), Received: time.Now(),
			Source: source.String(), Interface: nic,
		}
		select {
		case t.packets <- packet:
		case <-t.closing:
			return
		}
	}
}

// pause waits a moment; false means that the transport is closing.
func (t *Transport) pause() bool {
	timer := time.NewTimer(readPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.closing:
		return false
	}
}

// classify reads where a datagram came in, and whether it was sent to the group.
func (t *Transport) classify(control []byte) (nic string, wanted bool) {
	if !t.filter {
		return "", true
	}
	var message ipv4.ControlMessage
	if message.Parse(control) != nil {
		return "", false
	}
	if destination, ok := netip.AddrFromSlice(message.Dst); !ok || destination.Unmap() != t.group.Addr() {
		return "", false
	}
	name, known := t.names[message.IfIndex]
	if !known {
		if found, err := net.InterfaceByIndex(message.IfIndex); err == nil {
			name = found.Name
			t.names[message.IfIndex] = name
		}
	}
	return name, true
}
