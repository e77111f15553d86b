package interlok

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// The property keys. The second of two names is the one that package config of the bootstrap reads the first as.
const (
	keyNode      = "node.id"
	keyCluster   = "cluster.name"
	keyMode      = "failover.socket.mode"
	keyGroup     = "failover.multicast.group"
	keyGroup1    = "failover.group"
	keyGroupPort = "failover.multicast.port"
	keyPort1     = "failover.port"
	keyInterface = "failover.interface"
	keyTTL       = "failover.ttl"
	keyTCPHost   = "failover.tcp.host"
	keyTCPPort   = "failover.tcp.port"
	keyPeers     = "failover.tcp.peers"
	keySlave     = "failover.slave.position"
	keySecondary = "failover.secondary.position"
	keyInterval  = "failover.ping.interval.seconds"
	keyTimeout   = "failover.instance.timeout.seconds"
	// keyDead is in Interlok's documentation, and no release has ever read it.
	keyDead     = "interval.instance.timeout.seconds"
	keyDelay    = "failover.delay"
	keyObserve  = "failover.observe"
	keyMembers  = "failover.members"
	keyWitness  = "failover.witness"
	keyPreempt  = "failover.preempt"
	keyPriority = "failover.priority"
	keyKeyFile  = "failover.key.file"
	keyJGroups  = "failover.jgroups."
)

// ConfigFromProperties reads a node's properties; what is missing has its default. The warnings are for people. The error
// joins all faults, those of Validate included, each with its key.
func ConfigFromProperties(properties map[string]string) (c Config, warnings []string, err error) {
	r := &reader{properties: properties}
	c = DefaultConfig()
	c.NodeID, c.Cluster = properties[keyNode], properties[keyCluster]
	c.Interface, c.Host = r.text(keyInterface), r.text(keyTCPHost)
	r.mode(&c.Mode)
	r.group(&c.Group)
	r.number(&c.GroupPort, keyGroupPort, keyPort1)
	r.number(&c.TTL, keyTTL)
	r.number(&c.Port, keyTCPPort)
	c.Peers = splitPeers(r.text(keyPeers))
	r.number(&c.Position, keySecondary, keySlave)
	r.seconds(&c.Interval, keyInterval)
	r.seconds(&c.Timeout, keyTimeout, keyDead)
	r.delay(&c.HostDelay)
	r.truth(&c.Observer, keyObserve)
	r.unheard(c.NodeID)
	return c, r.warnings, errors.Join(append(r.faults, c.Validate())...)
}

// reader collects what is wrong with properties.
type reader struct {
	properties map[string]string
	warnings   []string
	faults     []error
}

func (r *reader) text(key string) string { return strings.TrimSpace(r.properties[key]) }

func (r *reader) fault(key, format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...)))
}

func (r *reader) warn(key, format string, args ...any) {
	r.warnings = append(r.warnings, key+": "+fmt.Sprintf(format, args...))
}

// first returns the first of several names of a key that is set, and its value.
func (r *reader) first(keys ...string) (key, text string) {
	for _, key = range keys {
		if text = r.text(key); text != "" {
			return key, text
		}
	}
	return "", ""
}

func (r *reader) mode(mode *Mode) {
	switch text := r.text(keyMode); text {
	case "":
	case "jgroups":
		r.fault(keyMode, "jgroups is not spoken here; set failover.socket.mode=tcp, or multicast, on all members, Java's too, before"+
			" this node joins them")
	default:
		*mode = Mode(text) // Java takes any other word for multicast. A typing error should not mean that.
	}
	for key := range r.properties {
		if strings.HasPrefix(key, keyJGroups) && r.text(key) != "" {
			r.warn(key, "JGroups is not spoken here, this has no effect")
		}
	}
}

func (r *reader) group(group *netip.Addr) {
	key, text := r.first(keyGroup, keyGroup1)
	if text == "" {
		return
	}
	parsed, err := netip.ParseAddr(text)
	if err != nil {
		r.fault(key, "%q is not an address, say 224.0.0.4", text)
		return
	}
	*group = parsed.Unmap()
}

func (r *reader) number(value *int, keys ...string) {
	key, text := r.first(keys...)
	if text == "" {
		return
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		r.fault(key, "%q is not a whole number", text)
		return
	}
	*value = n
}

// seconds reads whole seconds, which is all that Java takes.
func (r *reader) seconds(value *time.Duration, keys ...string) {
	key, text := r.first(keys...)
	if text == "" {
		return
	}
	if key == keyDead {
		r.warn(key, "read as %s; Interlok's documentation has this key, but Interlok itself never read it: its members have"+
			" the default of 20 unless they have %s too", keyTimeout, keyTimeout)
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		r.fault(key, "%q is not a whole number of seconds", text)
	case n < 1 || n > int(maxTimeout/time.Second):
		r.fault(key, "%d is out of range, it must be between 1 and %d seconds", n, int(maxTimeout/time.Second))
	default:
		*value = time.Duration(n) * time.Second
	}
}

// delay takes milliseconds, or a duration with its unit.
func (r *reader) delay(value *time.Duration) {
	text := r.text(keyDelay)
	if text == "" {
		return
	}
	if ms, err := strconv.ParseInt(text, 10, 32); err == nil {
		*value = time.Duration(ms) * time.Millisecond
		return
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		r.fault(keyDelay, "%q is neither a number of milliseconds nor a duration such as 500ms", text)
		return
	}
	*value = d
}

func (r *reader) truth(value *bool, key string) {
	switch text := r.text(key); text {
	case "":
	case "true", "false":
		*value = text == "true"
	default:
		r.fault(key, "%q is neither true nor false", text)
	}
}

// unheard is about keys that this wire has no room for.
func (r *reader) unheard(node string) {
	if members := r.text(keyMembers); members != "" && members != "0" {
		r.fault(keyMembers, "an Interlok cluster knows no votes; leave it out, or use failover.wire=understudy")
	}
	if witness := r.text(keyWitness); witness != "" && witness == node {
		r.fault(keyWitness, "an Interlok cluster knows no votes, so it has no use for a witness")
	}
	if r.text(keyPreempt) == "true" {
		r.warn(keyPreempt, "nobody can take the role from a healthy primary of an Interlok cluster; this has no effect")
	}
	if priority := r.text(keyPriority); priority != "" && priority != "0" {
		r.warn(keyPriority, "an Interlok cluster knows positions only; %s counts", keySecondary)
	}
	if r.text(keyKeyFile) != "" {
		r.warn(keyKeyFile, "pings of an Interlok cluster are not authenticated, whoever is on its network can forge them; this has no effect")
	}
}

// splitPeers splits h:p;h:p.
func splitPeers(text string) []string {
	var peers []string
	for part := range strings.SplitSeq(text, ";") {
		if part = strings.TrimSpace(part); part != "" {
			peers = append(peers, part)
		}
	}
	return peers
}

// splitPeer checks one peer. Java only warns of one that it does not understand.
func splitPeer(peer string) (host string, err error) {
	host, text, err := net.SplitHostPort(peer)
	port, wrong := strconv.ParseUint(text, 10, 16)
	if err != nil || wrong != nil || port == 0 || host == "" ||
		strings.ContainsFunc(host, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return "", fmt.Errorf("%q is no peer; write host:port;host:port, an IPv6 address in brackets, [2001:db8::7]:4000", peer)
	}
	return host, nil
}
