package failover

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/failover/wire"
)

// The property keys.
const (
	keyNode         = "node.id"
	keyCluster      = "cluster.name"
	keyGroup        = "failover.group"
	keyPort         = "failover.port"
	keyInterface    = "failover.interface"
	keyTTL          = "failover.ttl"
	keyDelay        = "failover.delay"
	keyRetries      = "failover.retries"
	keyPriority     = "failover.priority"
	keyEvidence     = "failover.evidence"
	keyMembers      = "failover.members"
	keyWitness      = "failover.witness"
	keyObserve      = "failover.observe"
	keySocketMode   = "failover.socket.mode"
	keyTCPHost      = "failover.tcp.host"
	keyTCPPort      = "failover.tcp.port"
	keyTCPPeers     = "failover.tcp.peers"
	keyUnclean      = "failover.unclean"
	keyPreempt      = "failover.preempt"
	keyPreemptDelay = "failover.preempt.delay"
	keyDrift        = "failover.drift"
	keySecondary    = "failover.secondary.position"
	keySlave        = "failover.slave.position"
)

// The limits of the timing. With fewer than three retries a single lost datagram, or a late one, would make
// the others suspect a healthy master.
const (
	minDelay   = 10 * time.Millisecond
	maxDelay   = time.Hour
	minRetries = 3
	maxRetries = 1000
	maxTTL     = 255
	maxMembers = 9
	maxDrift   = 0.2
)

// Config is a node's part of the properties.
type Config struct {
	// NodeID and Cluster must be given.
	NodeID, Cluster string
	// Delay is the time between heartbeats, Retries how many of them may be missing before somebody else
	// leads. Both should be the same on all nodes.
	Delay   time.Duration
	Retries int
	// Priority decides between candidates whose mirrors are equally good; the higher leads first.
	Priority int
	// Evidence: the process of the master's host is watched, so that its crash is noticed at once.
	Evidence bool
	// Members is how many voters are enrolled when the cluster is born; 0 means that there is no quorum.
	Members int
	// Drift is by which part the rate of any clock may differ from the true one. The lease is shorter than S by twice
	// that.
	Drift float64
	// Preempt: a node of higher priority that has been there for PreemptDelay takes over from a healthy master, in an
	// orderly way.
	Preempt      bool
	PreemptDelay time.Duration
	// Unclean: a node whose mirror is not in sync may lead when nobody else can. Off with a quorum, unless it is asked for.
	Unclean bool
	// Observer watches and never acts. Witness votes and never leads.
	Observer, Witness bool
	// AdapterDigest is compared between the nodes; empty means not known.
	AdapterDigest string

	// Keys are for the datagrams: the first seals, all open. Without one they are plain, and anybody can forge them.
	Keys [][wire.KeySize]byte
	// SocketMode is Multicast or TCP.
	SocketMode string
	// TCPHost, TCPPort and TCPPeers are for the mode TCP; see package tcp.
	TCPHost  string
	TCPPort  int
	TCPPeers string
	// Group, Port, Interface and TTL say where the datagrams go. An empty Interface is the system's choice.
	Group     netip.Addr
	Port      int
	Interface string
	TTL       int
}

// DefaultConfig returns the defaults of Interlok's failover.
func DefaultConfig() Config {
	return Config{
		Delay:      time.Second,
		Retries:    5,
		Evidence:   true,
		Unclean:    true,
		Drift:      0.05,
		SocketMode: Multicast,
		TCPPort:    2710,
		Group:      netip.AddrFrom4([4]byte{230, 0, 0, 1}),
		Port:       2710,
		TTL:        1,
	}
}

// The socket modes.
const (
	Multicast = "multicast"
	TCP       = "tcp"
)

// Suspicion is how long a master may be silent before the others suspect it: delay × retries.
func (c Config) Suspicion() time.Duration { return c.Delay * time.Duration(c.Retries) }

// Validate reports all faults, each with its property key.
func (c Config) Validate() error {
	return errors.Join(
		fault(keyNode, wire.ValidID(c.NodeID)),
		fault(keyCluster, wire.ValidID(c.Cluster)),
		inRange(keyPort, c.Port, 1, 65535),
		inRange(keyTTL, c.TTL, 0, maxTTL),
		inRange(keyRetries, c.Retries, minRetries, maxRetries),
		inRange(keyPriority, c.Priority, -1<<31, 1<<31-1),
		inRange(keyMembers, c.Members, 0, maxMembers),
		c.checkQuorum(),
		c.checkMode(),
		c.checkDelay(),
		c.checkGroup(),
	)
}

func (c Config) checkDelay() error {
	if c.Delay < minDelay || c.Delay > maxDelay {
		return fmt.Errorf("%s: %v is out of range, it must be between %v and %v", keyDelay, c.Delay, minDelay, maxDelay)
	}
	return nil
}

func (c Config) checkMode() error {
	switch c.SocketMode {
	case Multicast:
		return nil
	case TCP:
		if strings.TrimSpace(c.TCPPeers) == "" {
			return fmt.Errorf("%s: it is empty: name at least one other node, as host:port; the others learn of this one", keyTCPPeers)
		}
		return nil
	case "jgroups":
		return fmt.Errorf("%s: jgroups is not spoken here: use multicast, or tcp with %s", keySocketMode, keyTCPPeers)
	}
	return fmt.Errorf("%s: %q is neither multicast nor tcp", keySocketMode, c.SocketMode)
}

func (c Config) checkQuorum() error {
	var faults []error
	if c.Drift < 0 || c.Drift > maxDrift {
		faults = append(faults, fmt.Errorf("%s: %v is out of range, it must be between 0 and %v", keyDrift, c.Drift, maxDrift))
	}
	if c.Members == 1 {
		faults = append(faults, fmt.Errorf("%s: 1 is no quorum: two nodes alone could each be born as a cluster of one; leave it out, or name at least 2, better 3", keyMembers))
	}
	if c.PreemptDelay < 0 || c.PreemptDelay > 24*time.Hour {
		faults = append(faults, fmt.Errorf("%s: %v is out of range, it must be between 0 and 24h", keyPreemptDelay, c.PreemptDelay))
	}
	if c.Witness && c.Members == 0 {
		faults = append(faults, fmt.Errorf("%s: a witness votes, but %s is not set: there is no quorum", keyWitness, keyMembers))
	}
	if c.Witness && c.Observer {
		faults = append(faults, fmt.Errorf("%s: a witness votes, an observer does not: set only one of %s and %s", keyObserve, keyWitness, keyObserve))
	}
	return errors.Join(faults...)
}

func (c Config) checkGroup() error {
	if !c.Group.Is4() || !c.Group.IsMulticast() {
		return fmt.Errorf("%s: %v is no IPv4 multicast address, it must be between 224.0.0.0 and 239.255.255.255", keyGroup, c.Group)
	}
	return nil
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

// ConfigFromProperties reads a node's properties; what is missing has its default. The error joins all faults,
// those of Validate included, each with its key.
func ConfigFromProperties(properties map[string]string) (Config, error) {
	c := DefaultConfig()
	c.NodeID, c.Cluster = properties[keyNode], properties[keyCluster]
	c.Interface = strings.TrimSpace(properties[keyInterface])
	var faults []error
	read := func(key string, parse func(text string) error) {
		text := strings.TrimSpace(properties[key])
		if text == "" {
			return
		}
		if err := parse(text); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", key, err))
		}
	}
	number := func(key string, value *int) {
		read(key, func(text string) error {
			n, err := strconv.Atoi(text)
			if err != nil {
				return fmt.Errorf("%q is not a whole number", text)
			}
			*value = n
			return nil
		})
	}
	number(keyPort, &c.Port)
	number(keyTCPPort, &c.TCPPort)
	c.TCPHost, c.TCPPeers = strings.TrimSpace(properties[keyTCPHost]), properties[keyTCPPeers]
	read(keySocketMode, func(text string) error {
		c.SocketMode = strings.ToLower(text)
		return nil
	})
	number(keyTTL, &c.TTL)
	number(keyRetries, &c.Retries)
	// The first position leads first: so the greater number is the lower priority.
	position := 0
	number(keySlave, &position)
	number(keySecondary, &position)
	c.Priority = -position
	number(keyPriority, &c.Priority)
	number(keyMembers, &c.Members)
	c.Evidence, c.Unclean = c.Members == 0, c.Members == 0
	truth := func(key string, value *bool) {
		read(key, func(text string) error {
			b, err := parseBool(text)
			if err == nil {
				*value = b
			}
			return err
		})
	}
	truth(keyObserve, &c.Observer)
	truth(keyPreempt, &c.Preempt)
	truth(keyUnclean, &c.Unclean)
	read(keyWitness, func(text string) error {
		c.Witness = text == c.NodeID
		return nil
	})
	read(keyPreemptDelay, func(text string) error {
		delay, err := parseDelay(text)
		if err == nil {
			c.PreemptDelay = delay
		}
		return err
	})
	read(keyDrift, func(text string) error {
		drift, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q is not a part such as 0.05", text)
		}
		c.Drift = drift
		return nil
	})
	read(keyDelay, func(text string) error {
		delay, err := parseDelay(text)
		if err == nil {
			c.Delay = delay
		}
		return err
	})
	truth(keyEvidence, &c.Evidence)
	read(keyGroup, func(text string) error {
		group, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("%q is not an address, say 230.0.0.1", text)
		}
		c.Group = group.Unmap()
		return nil
	})
	return c, errors.Join(append(faults, c.Validate())...)
}

// parseBool takes the two words only: whoever writes "no" should not get what 0 means elsewhere.
func parseBool(text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", text)
}

// parseDelay takes milliseconds, as the old property files have them, or a duration with its unit.
func parseDelay(text string) (time.Duration, error) {
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		if ms < 0 || ms > int64(maxDelay/time.Millisecond) {
			return 0, fmt.Errorf("%d ms is out of range, it must be between %v and %v", ms, minDelay, maxDelay)
		}
		return time.Duration(ms) * time.Millisecond, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is neither a number of milliseconds nor a duration such as 500ms", text)
	}
	return d, nil
}
