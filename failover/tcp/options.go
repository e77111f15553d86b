package tcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// The property keys.
const (
	keyHost  = "failover.tcp.host"
	keyPort  = "failover.tcp.port"
	keyPeers = "failover.tcp.peers"
)

// Options say where this node listens and whom it connects to.
type Options struct {
	// Host (failover.tcp.host) is the address to listen on and to tell the others. A name is looked up once. An address
	// that this machine does not have is told to the others, and all of the machine's are listened on: that is for
	// address translation. An unspecified one (0.0.0.0, ::) listens on all and tells the others the default. The default
	// is the first address of Interface; without one, that of the machine's which Peers has with Port; else the first.
	Host string
	// Port (failover.tcp.port) is the port to listen on; 0 is any free one, which nobody can have in a list of peers.
	Port int
	// Peers (failover.tcp.peers) are the other nodes, each host:port, an IPv6 address in brackets. This node may be
	// among them, so that the list can be the same everywhere.
	Peers []string
	// Interface (failover.interface) is a name, an address or a network, as failover.ChooseNIC reads it.
	Interface string
	// Lookup finds the addresses of a name; nil asks the system.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)
	// Log hears when peers are met and lost; nil is nobody.
	Log *slog.Logger
}

// SplitPeers splits the value of failover.tcp.peers, h:p;h:p. Validate says what is wrong with the parts.
func SplitPeers(text string) []string {
	var peers []string
	for part := range strings.SplitSeq(text, ";") {
		if part = strings.TrimSpace(part); part != "" {
			peers = append(peers, part)
		}
	}
	return peers
}

// Validate reports all faults, each with its property key. It looks nothing up.
func (o Options) Validate() error {
	var faults []error
	if o.Port < 0 || o.Port > 65535 {
		faults = append(faults, fmt.Errorf("%s: %d is out of range, it must be between 1 and 65535", keyPort, o.Port))
	}
	faults = append(faults, checkHost(o.Host))
	if len(o.Peers) > maxConfigured {
		faults = append(faults, fmt.Errorf("%s: there are %d peers, at most %d are allowed", keyPeers, len(o.Peers), maxConfigured))
	}
	for _, peer := range o.Peers {
		if _, _, err := splitPeer(peer); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", keyPeers, err))
		}
	}
	return errors.Join(faults...)
}

func checkHost(host string) error {
	if host == "" {
		return nil
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil && (ip.IsMulticast() || ip.Zone() != ""):
		return fmt.Errorf("%s: %s is no address at which other nodes could reach this one", keyHost, host)
	case err != nil && !isName(host):
		return fmt.Errorf("%s: %q is neither an IP address nor a host name; the port is %s", keyHost, host, keyPort)
	}
	return nil
}

// splitPeer takes one peer apart.
func splitPeer(peer string) (host string, port uint16, err error) {
	host, portText, err := net.SplitHostPort(peer)
	number, wrong := strconv.ParseUint(portText, 10, 16)
	if err != nil || wrong != nil || number == 0 {
		return "", 0, fmt.Errorf("%q is no peer; write host:port;host:port, an IPv6 address in brackets, [2001:db8::7]:2710", peer)
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil && (ip.IsMulticast() || ip.IsUnspecified()):
		return "", 0, fmt.Errorf("%q is not the address of one node", peer)
	case err != nil && !isName(host):
		return "", 0, fmt.Errorf("%q is no peer: %q is neither an IP address nor a host name", peer, host)
	}
	return host, uint16(number), nil
}

// isName reports whether a text may be a host's name. What the resolver makes of it is another matter. Digits and dots
// alone are an address that somebody has mistyped.
func isName(text string) bool {
	allowed := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-._", r) }
	return text != "" && len(text) <= 253 && strings.ContainsFunc(text, unicode.IsLetter) &&
		!strings.ContainsFunc(text, func(r rune) bool { return !allowed(r) })
}
