package multicast

import (
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

// read passes on what a socket receives until it is closed. With filter only what was sent to the group counts.
func (t *Transport) read(conn *net.UDPConn, filter bool) {
	buffer := make([]byte, maxDatagram)
	control := make([]byte, 128)
	names := make(map[int]string)
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
		nic, wanted := "", true
		if filter {
			nic, wanted = t.classify(control[:controls], names)
		}
		if !wanted {
			continue
		}
		packet := failover.Packet{
			Data: append([]byte(nil), buffer[:n]...), Received: time.Now(),
			Source: source.String(), Interface: nic,
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

// classify reads where a datagram came in, and whether it was sent to the group. names keeps the names of interfaces.
func (t *Transport) classify(control []byte, names map[int]string) (nic string, wanted bool) {
	var message ipv4.ControlMessage
	if message.Parse(control) != nil {
		return "", false
	}
	if destination, ok := netip.AddrFromSlice(message.Dst); !ok || destination.Unmap() != t.group.Addr() {
		return "", false
	}
	name, known := names[message.IfIndex]
	if !known {
		if found, err := net.InterfaceByIndex(message.IfIndex); err == nil {
			name = found.Name
			names[message.IfIndex] = name
		}
	}
	return name, true
}
