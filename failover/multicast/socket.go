package multicast

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/understudy-ha/understudy/failover"
)

// What is asked for; the system may give less. The group's socket has to stand a flood of strangers.
const (
	groupBuffer = 4 << 20
	ownBuffer   = 1 << 20
)

// listenGroup opens the socket of the group. Given a multicast address Go binds the wildcard address, with the options
// that let others bind it too.
func listenGroup(group netip.AddrPort) (*net.UDPConn, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(group))
	if err != nil {
		return nil, fmt.Errorf("%w; is another program using the port for itself? Free it or choose another one", err)
	}
	if err := onlyOwnGroups(conn); err != nil {
		return nil, errors.Join(fmt.Errorf("hear no groups that others have joined: %w", err), conn.Close())
	}
	_ = conn.SetReadBuffer(groupBuffer)
	return conn, nil
}

// listenOwn opens the socket that belongs to this node alone. If the port that it had before is taken it gets another.
func listenOwn(ip netip.Addr, port uint16) (*net.UDPConn, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, port)))
	if err != nil && port != 0 {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	}
	if err != nil {
		return nil, fmt.Errorf("open the unicast socket on %v: %w", ip, err)
	}
	_ = conn.SetReadBuffer(ownBuffer)
	return conn, nil
}

// choose returns the interface that the configuration means.
func (t *Transport) choose() (failover.NIC, error) {
	if t.cfg.Interface != "" {
		return failover.ChooseNIC(t.cfg.Interface, true)
	}
	// Connecting a UDP socket sends nothing: it asks for the route, and tells the address that it starts from.
	probe, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(t.group))
	if err != nil {
		return failover.NIC{}, fmt.Errorf("the system has no route for the group: %w; name an interface", err)
	}
	ip := probe.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	_ = probe.Close()
	nic, err := failover.ChooseNIC(ip.String(), true)
	nic.Reason = "the system's route for the group"
	return nic, err
}

// configure sets what the group's socket needs for sending and receiving, which are two different things.
func (t *Transport) configure() error {
	if err := t.options.SetMulticastTTL(t.cfg.TTL); err != nil {
		return fmt.Errorf("set the TTL to %d: %w; it must be between 0 and 255", t.cfg.TTL, err)
	}
	if err := t.options.SetMulticastLoopback(!t.cfg.NoLoopback); err != nil {
		return fmt.Errorf("hear other processes of this machine, or not: %w", err)
	}
	// The socket is bound to the wildcard address, so it gets unicast datagrams, and on some systems those of groups that
	// other processes have joined. Where the system tells the destination, they are dropped.
	t.filter = t.options.SetControlMessage(flags, true) == nil
	return t.attach(t.nic)
}

// attach joins the group on an interface, and sends through it from now on. A membership of before is renewed, so that
// the switches hear of it.
func (t *Transport) attach(nic failover.NIC) error {
	device, group := &net.Interface{Index: nic.Index, Name: nic.Name}, &net.UDPAddr{IP: t.group.Addr().AsSlice()}
	_ = t.options.LeaveGroup(device, group)
	if err := t.options.JoinGroup(device, group); err != nil {
		return fmt.Errorf("join the group on %s: %w; name an interface that can multicast", nic.Name, err)
	}
	if err := t.options.SetMulticastInterface(device); err != nil {
		return fmt.Errorf("send through %s: %w", nic.Name, err)
	}
	return nil
}

// detach gives a membership up. The system keeps that of an interface that is gone, and allows a few only.
func (t *Transport) detach(nic failover.NIC) {
	_ = t.options.LeaveGroup(&net.Interface{Index: nic.Index, Name: nic.Name}, &net.UDPAddr{IP: t.group.Addr().AsSlice()})
}
