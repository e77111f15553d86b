package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/peer"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// Config is what the plugin reads from the properties.
type Config struct {
	Cluster string
	Mirror  cachesync.Config
	// Group, Port, Interface and TTL are those of the multicast by which the nodes find each other. An empty
	// Interface is the system's choice.
	Group     netip.Addr
	Port      int
	Interface string
	TTL       int
	// Listen is host:port for the peers; empty is a free port on the first IPv4 address of the interface.
	Listen string
}

// DefaultConfig returns the defaults: the group and port of Interlok's ehcache.xml. Names are empty.
func DefaultConfig() Config {
	return Config{
		Mirror: cachesync.DefaultConfig(),
		Group:  netip.AddrFrom4([4]byte{230, 0, 0, 1}),
		Port:   4446,
		TTL:    1,
	}
}

// ConfigFromProperties reads the properties over the defaults. It reports every value that cannot be read, by
// its key; whether values make sense is for Validate.
func ConfigFromProperties(from contract.MirrorConfig) (Config, error) {
	c := DefaultConfig()
	c.Cluster, c.Mirror.NodeID = from.Cluster, from.NodeID
	r := reader{properties: from.Properties}
	read(&r, "cachesync.group", &c.Group, netip.ParseAddr)
	read(&r, "cachesync.port", &c.Port, strconv.Atoi)
	read(&r, "failover.interface", &c.Interface, plain)
	read(&r, "cachesync.interface", &c.Interface, plain)
	read(&r, "cachesync.ttl", &c.TTL, strconv.Atoi)
	read(&r, "cachesync.listen", &c.Listen, plain)
	read(&r, "cachesync.mode", &c.Mirror.Mode, func(s string) (cachesync.Mode, error) { return cachesync.Mode(s), nil })
	read(&r, "cachesync.lag.timeout", &c.Mirror.LagTimeout, duration)
	read(&r, "cachesync.dedupe.count", &c.Mirror.Limits.DedupeCount, strconv.Atoi)
	read(&r, "cachesync.dedupe.time", &c.Mirror.Limits.DedupeTime, duration)
	return c, errors.Join(r.faults...)
}

// reader collects what is wrong with properties.
type reader struct {
	properties map[string]string
	faults     []error
}

// read parses one property; an absent or empty one leaves the value as it is.
func read[T any](r *reader, key string, value *T, parse func(string) (T, error)) {
	text := r.properties[key]
	if text == "" {
		return
	}
	parsed, err := parse(text)
	if err != nil {
		r.faults = append(r.faults, fmt.Errorf("%s: %q: %w", key, text, err))
		return
	}
	*value = parsed
}

func plain(s string) (string, error) { return s, nil }

// duration reads a Go duration, or a bare number of milliseconds.
func duration(s string) (time.Duration, error) {
	if ms, err := strconv.ParseInt(s, 10, 32); err == nil {
		return time.Duration(ms) * time.Millisecond, nil
	}
	return time.ParseDuration(s)
}

// Validate reports every fault, by the key of the property that it comes from.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Cluster == "" {
		fault("cluster.name: must not be empty")
	}
	if !c.Group.Is4() || !c.Group.IsMulticast() {
		fault("cachesync.group: %v: want an IPv4 multicast address, 224.0.0.0 to 239.255.255.255", c.Group)
	}
	if c.Port < 1 || c.Port > 65535 {
		fault("cachesync.port: %d: want 1 to 65535", c.Port)
	}
	if c.TTL < 0 || c.TTL > 255 {
		fault("cachesync.ttl: %d: want 0 to 255", c.TTL)
	}
	if c.Listen != "" {
		if _, port, err := net.SplitHostPort(c.Listen); err != nil {
			fault("cachesync.listen: %q: %w: want host:port, port 0 for a free one", c.Listen, err)
		} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			fault("cachesync.listen: %q: the port is no number of 0 to 65535", c.Listen)
		}
	}
	return errors.Join(append(faults, c.Mirror.Validate())...)
}

// peerConfig finds out where this node listens and what it tells the others of that.
func (c Config) peerConfig(boot string) (peer.Config, error) {
	p := peer.DefaultConfig()
	p.NodeID, p.Cluster, p.BootID, p.Listen = c.Mirror.NodeID, c.Cluster, boot, c.Listen
	if c.Listen != "" {
		host, _, err := net.SplitHostPort(c.Listen)
		if err != nil {
			return peer.Config{}, fmt.Errorf("cachesync.listen: %q: %w", c.Listen, err)
		}
		if ip, _ := netip.ParseAddr(host); host != "" && !ip.IsUnspecified() {
			return p, nil // a name or address that others can use
		}
	}
	own, err := c.ownAddress()
	if err != nil {
		return peer.Config{}, err
	}
	if c.Listen == "" {
		p.Listen = net.JoinHostPort(own, "0")
	} else {
		p.Advertise = own
	}
	return p, nil
}

// ownAddress is the first IPv4 address of the interface; without one, that from which the system would send to
// the group.
func (c Config) ownAddress() (string, error) {
	if c.Interface == "" {
		// Connecting a UDP socket sends nothing.
		conn, err := net.Dial("udp4", netip.AddrPortFrom(c.Group, uint16(c.Port)).String())
		if err != nil {
			return "", fmt.Errorf("find this node's address for group %v: %w: name an interface in cachesync.interface or an address in cachesync.listen", c.Group, err)
		}
		defer conn.Close()
		host, _, err := net.SplitHostPort(conn.LocalAddr().String())
		return host, err
	}
	device, err := net.InterfaceByName(c.Interface)
	if err != nil {
		return "", fmt.Errorf("cachesync.interface: %q: %w", c.Interface, err)
	}
	addresses, err := device.Addrs()
	if err != nil {
		return "", fmt.Errorf("cachesync.interface: %q: %w", c.Interface, err)
	}
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && network.IP.To4() != nil {
			return network.IP.String(), nil
		}
	}
	return "", fmt.Errorf("cachesync.interface: %q has no IPv4 address: name one in cachesync.listen", c.Interface)
}
