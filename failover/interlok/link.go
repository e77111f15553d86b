package interlok

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/interlok/oneshot"
	"github.com/understudy-ha/understudy/failover/interlok/packet"
	"github.com/understudy-ha/understudy/failover/multicast"
)

// Link is a transport, and what a member says of where it is.
type Link struct {
	failover.Transport
	// Host and Port are what the pings say.
	Host string
	Port int
	// Description is for people.
	Description string
}

// Open opens the transport that a configuration asks for. The caller closes it.
func Open(cfg Config, log *slog.Logger) (Link, error) {
	if err := cfg.Validate(); err != nil {
		return Link{}, err
	}
	if cfg.Mode == TCP {
		return openTCP(cfg, log)
	}
	return openMulticast(cfg, log)
}

func openMulticast(cfg Config, log *slog.Logger) (Link, error) {
	transport, err := multicast.Open(multicast.Config{
		Group: cfg.Group, Port: cfg.GroupPort, Interface: cfg.Interface, TTL: cfg.TTL, Log: log,
	})
	if err != nil {
		return Link{}, fmt.Errorf("%s, %s, %s: %w", keyGroup, keyGroupPort, keyInterface, err)
	}
	link := Link{Transport: transport, Host: cfg.Host, Port: cfg.Port, Description: "interlok, " + transport.Description()}
	if link.Host == "" {
		// Over multicast nobody uses it; people read it in logs.
		if own, err := netip.ParseAddrPort(transport.Address()); err == nil {
			link.Host = own.Addr().String()
		}
	}
	return link, nil
}

func openTCP(cfg Config, log *slog.Logger) (Link, error) {
	host, listen, why, err := place(cfg)
	if err != nil {
		return Link{}, err
	}
	own := net.JoinHostPort(host, strconv.Itoa(cfg.Port))
	transport, err := oneshot.Open(oneshot.Options{
		Listen: net.JoinHostPort(listen, strconv.Itoa(cfg.Port)), Own: own, Peers: cfg.Peers, Size: packet.Size, Log: log,
	})
	if err != nil {
		return Link{}, fmt.Errorf("%s: %w", keyTCPPort, err)
	}
	return Link{
		Transport: transport, Host: host, Port: cfg.Port,
		Description: fmt.Sprintf("interlok, tcp, listens at %v, is known as %s (%s)", transport.Address(), own, why),
	}, nil
}

// place chooses what the others are told, and where to listen; an empty listen is all addresses, as in Java.
func place(cfg Config) (host, listen, why string, err error) {
	nics, err := failover.ListNICs()
	if err != nil {
		return "", "", "", err
	}
	ours := func(ip netip.Addr) bool {
		return ip.IsLoopback() || slices.ContainsFunc(nics, func(n failover.NIC) bool { return n.Address == ip })
	}
	if cfg.Host != "" {
		if ip, err := netip.ParseAddr(cfg.Host); err == nil && ours(ip.Unmap()) {
			return cfg.Host, ip.Unmap().String(), keyTCPHost, nil
		}
		return cfg.Host, "", keyTCPHost, nil
	}
	if cfg.Interface != "" {
		nic, err := failover.ChooseNIC(cfg.Interface, false)
		if err != nil {
			return "", "", "", fmt.Errorf("%s: %w", keyInterface, err)
		}
		return nic.Address.String(), nic.Address.String(), keyInterface, nil
	}
	if ip, ok := amongPeers(cfg, ours); ok {
		if ip.IsLoopback() {
			listen = ip.String() // Nobody else is meant.
		}
		return ip.String(), listen, "it is among " + keyPeers, nil
	}
	for _, family := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
		for _, nic := range nics {
			if ip := nic.Address; family(ip) && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
				return ip.String(), "", "the first address of this machine, interface " + nic.Name + "; " + keyTCPHost + " names another one", nil
			}
		}
	}
	return "", "", "", fmt.Errorf("%s: this machine has no address that other members could be told; set it", keyTCPHost)
}

// amongPeers finds this machine in the list of peers, which may be the same on all members.
func amongPeers(cfg Config, ours func(netip.Addr) bool) (netip.Addr, bool) {
	for _, peer := range cfg.Peers {
		if at, err := netip.ParseAddrPort(peer); err == nil && int(at.Port()) == cfg.Port && ours(at.Addr().Unmap()) {
			return at.Addr().Unmap(), true
		}
	}
	return netip.Addr{}, false
}
