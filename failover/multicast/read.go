package multicast

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/understudy-ha/understudy/failover"
)

const (
	// maxDatagram is the most that UDP can carry.
	maxDatagram = 64 << 10
	// A read that fails is tried again with pauses that grow, since some systems report the fate of earlier sends that
	// way, or that the interface is down. The group's socket is given up after half a minute of nothing else; the other
	// one never, because a node can live without it.
	readRetries    = 40
	firstReadPause = 10 * time.Millisecond
	maxReadPause   = time.Second

	flags = ipv4.FlagDst | ipv4.FlagInterface
)

// reader reads one socket. It keeps what it found out about the last datagram, because the next one mostly comes the same
// way: so a flood costs little more than the system's part of it.
type reader struct {
	t    *Transport
	conn *net.UDPConn
	// filter: only what was sent to the group counts.
	filter bool

	control []byte // what the system said of the last datagram's way, which led to nic and wanted
	nic     string
	wanted  bool
	source  netip.AddrPort
	text    string // source in words
}

// read passes on what a socket receives until it is closed.
func (t *Transport) read(conn *net.UDPConn, filter bool) {
	r := &reader{t: t, conn: conn, filter: filter, wanted: !filter}
	buffer := make([]byte, maxDatagram)
	control := make([]byte, 128)
	failures := 0
	for {
		n, controls, _, source, err := conn.ReadMsgUDPAddrPort(buffer, control)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if failures++; failures > readRetries && conn == t.conn {
				t.shut(fmt.Errorf("receive on %v: %w", conn.LocalAddr(), err))
				return
			}
			if !t.pause(min(firstReadPause<<min(failures, 10), maxReadPause)) {
				return
			}
			continue
		}
		failures = 0
		if filter {
			r.classify(control[:controls])
		}
		if !r.wanted {
			continue
		}
		packet := failover.Packet{
			Data: append([]byte(nil), buffer[:n]...), Received: time.Now(),
			Source: r.words(source), Interface: r.nic,
		}
		select {
		case t.packets <- packet:
		case <-t.closing:
			return
		}
	}
}

// pause waits; false means that the transport is closing.
func (t *Transport) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.closing:
		return false
	}
}

// classify finds out where a datagram came in, and whether it was sent to the group.
func (r *reader) classify(control []byte) {
	if bytes.Equal(control, r.control) {
		return
	}
	r.control, r.nic, r.wanted = append(r.control[:0], control...), "", false
	var message ipv4.ControlMessage
	if message.Parse(control) != nil {
		return
	}
	destination, ok := netip.AddrFromSlice(message.Dst)
	r.wanted = ok && destination.Unmap() == r.t.group.Addr()
	if !r.wanted {
		return
	}
	if found, err := net.InterfaceByIndex(message.IfIndex); err == nil {
		r.nic = found.Name
	}
}

// words is a source's address as text.
func (r *reader) words(source netip.AddrPort) string {
	if source != r.source || r.text == "" {
		r.source, r.text = source, source.String()
	}
	return r.text
}
