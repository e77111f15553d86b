package tcp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/understudy-ha/understudy/failover"
)

// network is what the transport needs of the system; tests have one in memory.
type network interface {
	// listen opens a listener; an invalid address means all addresses of this machine.
	listen(at netip.Addr, port int) (net.Listener, error)
	dial(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	// addresses are those of this machine.
	addresses() ([]failover.NIC, error)
}

// system is the real network. It sends no keep-alives: the signs of life are more frequent.
type system struct{}

func (system) listen(at netip.Addr, port int) (net.Listener, error) {
	host := ""
	if at.IsValid() {
		host = at.String()
	}
	lc := net.ListenConfig{KeepAlive: -1}
	listener, err := lc.Listen(context.Background(), "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("%w; is another program using the port? Free it or choose another one", err)
	}
	return listener, nil
}

func (system) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	dialer := net.Dialer{KeepAlive: -1}
	return dialer.DialContext(ctx, "tcp", to.String())
}

func (system) addresses() ([]failover.NIC, error) { return failover.ListNICs() }

// lookup finds the addresses of a name, or of an address.
func (t *Transport) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.timing.lookup)
	defer cancel()
	found, err := t.options.Lookup(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", host, err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("look up %s: it has no address", host)
	}
	for i, ip := range found {
		found[i] = ip.Unmap()
	}
	return found, nil
}

// dialAny tries one address after the other, and returns the first connection. The time is shared out among them.
func (t *Transport) dialAny(ctx context.Context, to []netip.AddrPort) (net.Conn, error) {
	deadline := time.Now().Add(t.timing.dial)
	var last error
	for i, address := range to {
		share := time.Until(deadline) / time.Duration(len(to)-i)
		attempt, cancel := context.WithTimeout(ctx, share)
		raw, err := t.network.dial(attempt, address)
		cancel()
		if err == nil {
			return raw, nil
		}
		last = err
	}
	return nil, last
}
