package interlok

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/understudy-ha/understudy/failover/interlok/packet"
	"github.com/understudy-ha/understudy/failover/interlok/rules"
	"github.com/understudy-ha/understudy/failover/wire"
)

// Mode is how the members reach each other.
type Mode string

// The modes. JGroups is the third in Java, and is not spoken here.
const (
	Multicast Mode = "multicast"
	TCP       Mode = "tcp"
)

// Config is a node's part of the properties.
type Config struct {
	// NodeID and Cluster must be given. Neither is on the wire: all that use a group and port are one cluster.
	NodeID, Cluster string
	Mode            Mode

	// Group, GroupPort, Interface and TTL say where multicast goes. An empty Interface is the system's choice.
	Group     netip.Addr
	GroupPort int
	Interface string
	TTL       int

	// Host is what the others are told of where this node is; empty is its address. Port is where it listens in TCP mode,
	// and what the others are told; Peers are the other members, each host:port.
	Host  string
	Port  int
	Peers []string

	// Position is this node's place in the order of succession; 0 lets it be allocated.
	Position int
	// Interval is the time between pings, Timeout how long a member may be silent. They must be the same on all.
	Interval, Timeout time.Duration
	// HostDelay is the longest time between two reports of the host.
	HostDelay time.Duration
	// Observer listens, takes no part and never leads.
	Observer bool

	// Listen and Poll are the times of Java that no property sets. Only tests have others.
	Listen, Poll time.Duration
}

// DefaultConfig returns Interlok's defaults. Java has none for group and port; these are the ones of its documentation.
func DefaultConfig() Config {
	return Config{
		Mode:      Multicast,
		Group:     netip.AddrFrom4([4]byte{224, 0, 0, 4}),
		GroupPort: 4446,
		TTL:       1,
		Interval:  rules.DefaultInterval,
		Timeout:   rules.DefaultTimeout,
		HostDelay: time.Second,
		Listen:    rules.DefaultListen,
		Poll:      rules.DefaultPoll,
	}
}

// The limits. Positions end where rules.Goodbye is far away.
const (
	minInterval = 10 * time.Millisecond
	maxTimeout  = 24 * time.Hour
	maxPosition = 10_000
	maxPeers    = 64
	maxPort     = 65535
	maxTTL      = 255
)

// Lease is how long after a ping this node's host may work; see rules.Config.
func (c Config) Lease() time.Duration { return c.rules().Lease() }

// rules is what the machine needs, as far as the configuration has it.
func (c Config) rules() rules.Config {
	return rules.Config{
		NodeID: c.NodeID, Interval: c.Interval, Timeout: c.Timeout, Listen: c.Listen, Poll: c.Poll,
		HostDelay: c.HostDelay, Position: c.Position, Observer: c.Observer,
	}
}

// Validate reports all faults, each with its property key.
func (c Config) Validate() error {
	faults := []error{
		fault(keyNode, wire.ValidID(c.NodeID)),
		fault(keyCluster, wire.ValidID(c.Cluster)),
		inRange(keySecondary, c.Position, 0, maxPosition),
		c.checkTimes(),
		c.checkHost(),
	}
	switch c.Mode {
	case Multicast:
		faults = append(faults, c.checkMulticast(), inRange(keyTCPPort, c.Port, 0, maxPort))
	case TCP:
		faults = append(faults, c.checkTCP())
	default:
		faults = append(faults, fmt.Errorf("%s: %q is not known, it must be multicast or tcp", keyMode, string(c.Mode)))
	}
	return errors.Join(faults...)
}

func (c Config) checkTimes() error {
	var faults []error
	if c.Interval < minInterval {
		faults = append(faults, fmt.Errorf("%s: %v is too short", keyInterval, c.Interval))
	}
	if c.Timeout > maxTimeout {
		faults = append(faults, fmt.Errorf("%s: %v is too long, at most %v", keyTimeout, c.Timeout, maxTimeout))
	}
	if c.HostDelay <= 0 {
		faults = append(faults, fmt.Errorf("%s: %v is too short", keyDelay, c.HostDelay))
	}
	if c.Listen < 0 || c.Poll <= 0 {
		faults = append(faults, errors.New("the times to listen and between polls must be positive"))
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	if least := rules.LeastPings * c.Interval; c.Timeout < least {
		faults = append(faults, fmt.Errorf("%s: %v is too short for a ping every %v (%s): one lost ping would make a second"+
			" primary; set it to at least %v on all members, Java's too", keyTimeout, c.Timeout, c.Interval, keyInterval, least))
	} else if most := c.longestTimeout(); most >= least && c.Timeout > most {
		faults = append(faults, fmt.Errorf("%s: %v is too long for a ping every %v (%s): a Java member that has just started becomes primary"+
			" when it has heard none for %v, and clocks may differ by a twentieth of the timeout; set it to at most %v on all members",
			keyTimeout, c.Timeout, c.Interval, keyInterval, c.Listen+c.Poll, most))
	} else if !c.rules().Steady() {
		faults = append(faults, fmt.Errorf("%s: %v is too long: a Java member that has just started becomes primary when it has"+
			" heard none for %v; set it to at most 5 on all members", keyInterval, c.Interval, c.Listen+c.Poll))
	}
	return errors.Join(faults...)
}

// longestTimeout is the longest with which a lease is steady, as far as that depends on Java's times; see rules.Config.
func (c Config) longestTimeout() time.Duration {
	return 20 * (c.Listen + c.Poll - c.Interval - c.Interval/4)
}

func (c Config) checkHost() error {
	if len(c.Host) > packet.MaxHost {
		return fmt.Errorf("%s: %q has %d bytes, only %d fit into a ping; use an address or a shorter name", keyTCPHost, c.Host, len(c.Host), packet.MaxHost)
	}
	if _, err := packet.Encode(packet.Ping{Host: c.Host, ID: packet.NewID([16]byte{}), Type: packet.Secondary}); err != nil {
		return fmt.Errorf("%s: %q is neither an address nor a host name", keyTCPHost, c.Host)
	}
	return nil
}

func (c Config) checkMulticast() error {
	faults := []error{inRange(keyGroupPort, c.GroupPort, 1, maxPort), inRange(keyTTL, c.TTL, 0, maxTTL)}
	if !c.Group.Is4() || !c.Group.IsMulticast() {
		faults = append(faults, fmt.Errorf("%s: %v is no IPv4 multicast address, it must be between 224.0.0.0 and 239.255.255.255; the"+
			" documentation of Interlok has 224.0.0.4", keyGroup, c.Group))
	}
	return errors.Join(faults...)
}

func (c Config) checkTCP() error {
	faults := []error{inRange(keyTCPPort, c.Port, 1, maxPort)}
	if len(c.Peers) == 0 {
		faults = append(faults, fmt.Errorf("%s: there are none; name the other members, host:port;host:port", keyPeers))
	}
	if len(c.Peers) > maxPeers {
		faults = append(faults, fmt.Errorf("%s: there are %d peers, at most %d are allowed", keyPeers, len(c.Peers), maxPeers))
	}
	for _, peer := range c.Peers {
		if _, err := splitPeer(peer); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", keyPeers, err))
		}
	}
	return errors.Join(faults...)
}

func fault(key string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

func inRange(key string, value, least, most int) error {
	if value < least || value > most {
		return fmt.Errorf("%s: %d is out of range, it must be between %d and %d", key, value, least, most)
	}
	return nil
}
