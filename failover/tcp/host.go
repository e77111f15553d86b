package tcp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/understudy-ha/understudy/failover"
)

// place is where this node listens and what it tells the others.
type place struct {
	// listen is invalid for all addresses of this machine.
	listen netip.Addr
	told   netip.Addr
	reason string
}

// choosePlace decides where to listen.
func (t *Transport) choosePlace() (place, error) {
	o := t.options
	if o.Host == "" {
		ip, reason, err := t.defaultAddress()
		return place{listen: ip, told: ip, reason: reason}, err
	}
	found, err := t.lookup(context.Background(), o.Host)
	if err != nil {
		return place{}, fmt.Errorf("%s: %w", keyHost, err)
	}
	if found[0].IsUnspecified() {
		ip, reason, err := t.defaultAddress()
		return place{told: ip, reason: reason + "; all addresses are listened on"}, err
	}
	nics, err := t.network.addresses()
	if err != nil {
		return place{}, err
	}
	for _, ip := range found {
		if ip.IsLoopback() || slices.ContainsFunc(nics, func(n failover.NIC) bool { return n.Address == ip }) {
			return place{listen: ip, told: ip, reason: keyHost}, nil
		}
	}
	return place{told: found[0], reason: keyHost + ", which is no address of this machine: all of its addresses are listened on"}, nil
}

// defaultAddress is the address of this machine that others can best be told.
func (t *Transport) defaultAddress() (ip netip.Addr, reason string, err error) {
	if t.options.Interface != "" {
		nic, err := failover.ChooseNIC(t.options.Interface, false)
		if err == nil && nic.Address.IsLinkLocalUnicast() {
			err = fmt.Errorf("interface %s has only the link-local address %v, which means something else on each machine; set %s", nic.Name, nic.Address, keyHost)
		}
		if err != nil {
			return netip.Addr{}, "", fmt.Errorf("failover.interface: %w", err)
		}
		return nic.Address, fmt.Sprintf("interface %s, because %s", nic.Name, nic.Reason), nil
	}
	nics, err := t.network.addresses()
	if err != nil {
		return netip.Addr{}, "", err
	}
	literals, loopback := t.literalPeers()
	for _, nic := range nics {
		if slices.Contains(literals, netip.AddrPortFrom(nic.Address, uint16(t.options.Port))) {
			return nic.Address, "it is among " + keyPeers, nil
		}
	}
	for _, family := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
		for _, nic := range nics {
			if ip := nic.Address; family(ip) && ip.IsLoopback() == loopback && !ip.IsLinkLocalUnicast() {
				return ip, "the first address of this machine, interface " + nic.Name + "; failover.interface or " + keyHost + " names another one", nil
			}
		}
	}
	return netip.Addr{}, "", fmt.Errorf("%s: this machine has no address that other nodes could be told; set it", keyHost)
}

// literalPeers are the peers that are given by their addresses; loopback is whether all are, and of this machine.
func (t *Transport) literalPeers() (literals []netip.AddrPort, loopback bool) {
	for _, peer := range t.options.Peers {
		host, port, err := splitPeer(peer)
		if err != nil {
			continue
		}
		if ip, err := netip.ParseAddr(host); err == nil {
			literals = append(literals, netip.AddrPortFrom(ip.Unmap(), port))
		}
	}
	loopback = len(literals) > 0 && len(literals) == len(t.options.Peers) &&
		!slices.ContainsFunc(literals, func(a netip.AddrPort) bool { return !a.Addr().IsLoopback() })
	return literals, loopback
}

// wherePort is the port of a listener's address.
func wherePort(address string) (uint16, error) {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return 0, fmt.Errorf("the listener's address %s: %w", strconv.Quote(address), err)
	}
	return parsed.Port(), nil
}
