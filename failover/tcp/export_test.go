package tcp

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"

	"github.com/understudy-ha/understudy/failover"
)

// The limits that tests reach.
const (
	MaxAccepted     = maxAccepted
	MaxPerHost      = maxPerHost
	MaxLearned      = maxLearned
	MaxConfigured   = maxConfigured
	OutboxDatagrams = outboxDatagrams
)

// Machine is a machine in a network that a test has made.
type Machine struct {
	ListenOn func(at netip.Addr, port int) (net.Listener, error)
	Dial     func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	NICs     []failover.NIC
}

func (m Machine) listen(at netip.Addr, port int) (net.Listener, error) { return m.ListenOn(at, port) }

func (m Machine) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return m.Dial(ctx, to)
}

func (m Machine) addresses() ([]failover.NIC, error) { return m.NICs, nil }

// OpenOn opens a transport on a machine.
func OpenOn(m Machine, o Options) (*Transport, error) { return open(o, m, defaultTiming()) }

// Hello returns a hello of a node that listens at an address.
func Hello(number byte, address string) []byte {
	return appendHello(nil, hello{instance{number}, netip.MustParseAddrPort(address)})
}

// ReadHello reads a hello, and returns the address and the form that this build would write it in.
func ReadHello(r io.Reader) (address string, form []byte, err error) {
	h, err := readHello(r)
	if err != nil {
		return "", nil, err
	}
	return h.address.String(), appendHello(nil, h), nil
}

// ReadFrames reads frames until the first error; a frame without content is nil.
func ReadFrames(r io.Reader) (datagrams [][]byte, err error) {
	buffered := bufio.NewReaderSize(r, 4<<10)
	for {
		length, sign, err := readLength(buffered)
		if err != nil {
			return datagrams, err
		}
		if sign {
			datagrams = append(datagrams, nil)
			continue
		}
		datagram, err := readBody(buffered, length)
		if err != nil {
			return datagrams, err
		}
		datagrams = append(datagrams, datagram)
	}
}

// Frames returns the form of datagrams; nil is a frame without content.
func Frames(datagrams ...[]byte) []byte {
	var form bytes.Buffer
	w := bufio.NewWriter(&form)
	for _, datagram := range datagrams {
		if datagram == nil {
			_ = writeLifeSign(w)
			continue
		}
		_ = writeFrame(w, datagram)
	}
	_ = w.Flush()
	return form.Bytes()
}
