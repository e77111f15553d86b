package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/peer"
	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/plugins/contract/keyring"
)

// Store says where the table is kept.
type Store string

// The stores.
const (
	InMemory Store = "memory"
	OnDisk   Store = "disk"
)

// Config is what the plugin reads from the properties.
type Config struct {
	Cluster string
	Mirror  cachesync.Config
	// Store is where the table is kept; on disk that is in DataDir.
	Store   Store
	DataDir string
	// Group, Port, Interface and TTL are those of the multicast by which the nodes find each other. An empty
	// Interface is the system's choice.
	Group     netip.Addr
	Port      int
	Interface string
	TTL       int
	// Listen is host:port for the peers; empty is a free port on the first IPv4 address of the interface.
	Listen string
	// KeyFile is the file with the cluster's keys; empty if there are none.
	KeyFile string
	// Ehcache is the path of the ehcache.xml that was read; empty if none.
	Ehcache string
	// Election is the multicast group of the election, which cannot be the mirror's; the zero value if it has none.
	Election netip.AddrPort
	// Notices are what ehcache.xml says and cannot be honoured as it is.
	Notices []string
}

// DefaultConfig returns the defaults: the group and port of Interlok's ehcache.xml. Names are empty.
func DefaultConfig() Config {
	return Config{
		Mirror: cachesync.DefaultConfig(),
		Store:  InMemory,
		Group:  netip.AddrFrom4([4]byte{230, 0, 0, 1}),
		Port:   4446,
		TTL:    1,
	}
}

// ConfigFromProperties reads ehcache.xml, if there is one, over the defaults, and the properties that somebody has
// set over that. It reports every value that cannot be read, by its key; whether values make sense is for Validate.
func ConfigFromProperties(from contract.MirrorConfig) (Config, error) {
	c := DefaultConfig()
	c.Cluster, c.Mirror.NodeID, c.DataDir = from.Cluster, from.NodeID, from.DataDir
	r := reader{properties: maps.Clone(from.Properties)}
	if path := from.Properties["cachesync.ehcache"]; path != "" {
		c.Ehcache = path
		if err := c.readEhcache(path); err != nil {
			r.faults = append(r.faults, err)
		}
		// A default of the host's does not win over the file.
		for _, key := range from.Defaults {
			if strings.HasPrefix(key, "cachesync.") {
				delete(r.properties, key)
			}
		}
	}
	read(&r, "cachesync.group", &c.Group, netip.ParseAddr)
	read(&r, "cachesync.port", &c.Port, strconv.Atoi)
	read(&r, "failover.interface", &c.Interface, plain)
	read(&r, "cachesync.interface", &c.Interface, plain)
	read(&r, "cachesync.ttl", &c.TTL, strconv.Atoi)
	read(&r, "cachesync.listen", &c.Listen, plain)
	read(&r, "failover.key.file", &c.KeyFile, func(s string) (string, error) { return strings.TrimSpace(s), nil })
	read(&r, "cachesync.store", &c.Store, func(s string) (Store, error) { return Store(s), nil })
	read(&r, "cachesync.mode", &c.Mirror.Mode, func(s string) (cachesync.Mode, error) { return cachesync.Mode(s), nil })
	read(&r, "cachesync.lag.timeout", &c.Mirror.LagTimeout, duration)
	read(&r, "cachesync.min.insync", &c.Mirror.MinInSync, strconv.Atoi)
	read(&r, "cachesync.alone", &c.Mirror.Alone, func(s string) (cachesync.AlonePolicy, error) { return cachesync.AlonePolicy(s), nil })
	read(&r, "cachesync.dedupe.count", &c.Mirror.Limits.DedupeCount, strconv.Atoi)
	read(&r, "cachesync.dedupe.time", &c.Mirror.Limits.DedupeTime, duration)
	c.Election = election(&r)
	c.Mirror.AloneAfter = c.takeover(&r)
	read(&r, "cachesync.alone.after", &c.Mirror.AloneAfter, duration)
	return c, errors.Join(r.faults...)
}

// election is the multicast group of the election, as far as it can be read: what is wrong with its properties is not
// the mirror's to say.
func election(r *reader) netip.AddrPort {
	if r.properties["failover.socket.mode"] == "tcp" {
		return netip.AddrPort{}
	}
	group, _ := netip.ParseAddr(r.properties["failover.group"])
	port, _ := strconv.ParseUint(r.properties["failover.port"], 10, 16)
	return netip.AddrPortFrom(group, uint16(port))
}

// takeover is how long it takes until the standbys of a lost machine have elected another master, counted from the
// last sign of life of its mirror. For so long a master does not go on alone, so that whoever takes over has
// everything that was committed.
func (c Config) takeover(r *reader) time.Duration {
	delay, retries := time.Second, 5
	read(r, "failover.delay", &delay, duration)
	read(r, "failover.retries", &retries, strconv.Atoi)
	return delay*time.Duration(min(max(retries, 0), 10_000)) + c.Mirror.LagTimeout/4 + delay
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
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		if most := int64(math.MaxInt64 / time.Millisecond); ms > most || ms < -most {
			return 0, fmt.Errorf("%d milliseconds are out of range", ms)
		}
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
	if c.group() == c.Election {
		fault("cachesync.group, cachesync.port: %v is the election's (failover.group, failover.port); give one of them another group or port%s",
			c.Election, c.orEhcache())
	}
	if c.Store != InMemory && c.Store != OnDisk {
		fault("cachesync.store: %q: want memory or disk", c.Store)
	}
	if c.Store == OnDisk && c.DataDir == "" {
		fault("data.dir: must not be empty with cachesync.store=disk")
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

// group is the multicast group and port; the port is one.
func (c Config) group() netip.AddrPort { return netip.AddrPortFrom(c.Group, uint16(c.Port)) }

func (c Config) orEhcache() string {
	if c.Ehcache == "" {
		return ""
	}
	return ", with a property or in " + c.Ehcache
}

// peerConfig finds out where this node listens and what it tells the others of that.
func (c Config) peerConfig(boot string) (peer.Config, error) {
	p := peer.DefaultConfig()
	p.NodeID, p.Cluster, p.BootID, p.Listen = c.Mirror.NodeID, c.Cluster, boot, c.Listen
	if c.KeyFile != "" {
		ring, err := keyring.Load(c.KeyFile)
		if err != nil {
			return peer.Config{}, fmt.Errorf("failover.key.file: %w", err)
		}
		p.Keys = ring.Derive("mirror")
	}
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
		conn, err := net.Dial("udp4", c.group().String())
		if err != nil {
			return "", fmt.Errorf("find this node's address for group %v: %w: name an interface in cachesync.interface or an address in cachesync.listen", c.Group, err)
		}
		defer conn.Close()
		host, _, err := net.SplitHostPort(conn.LocalAddr().String())
		return host, err
	}
	nic, err := failover.ChooseNIC(c.Interface, true)
	if err != nil {
		return "", fmt.Errorf("cachesync.interface: %w", err)
	}
	return nic.Address.String(), nil
}
