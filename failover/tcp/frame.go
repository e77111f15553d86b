package tcp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/understudy-ha/understudy/failover"
)

const (
	magic = "USTC"
	// version is what this build speaks, leastVersion the oldest that it still understands.
	version      = 1
	leastVersion = 1
	// maxAddress is the longest text of an address in a hello.
	maxAddress = 63
	// lifeSign is the length of a frame without content.
	lifeSign   = 0xFFFFFFFF
	headerSize = 4
)

// Why a connection is ended, and counted.
var (
	errStranger = errors.New("it does not speak this protocol")
	errVersion  = errors.New("it speaks another version of the protocol")
	errTooLarge = errors.New("it sent a frame that is too large")
)

// instance is the random number of one start of a node.
type instance [16]byte

// hello is what each side says first.
type hello struct {
	instance instance
	// address is where the sender listens.
	address netip.AddrPort
}

// appendHello appends the form of a hello.
func appendHello(to []byte, h hello) []byte {
	address := h.address.String()
	to = append(to, magic...)
	to = append(to, version, leastVersion)
	to = append(to, h.instance[:]...)
	to = append(to, byte(len(address)))
	return append(to, address...)
}

// readHello reads no byte more than the hello has.
func readHello(r io.Reader) (hello, error) {
	var h hello
	var head [len(magic) + 2 + len(h.instance) + 1]byte
	// The magic comes first, so that somebody who speaks another protocol and waits for an answer is known at once.
	if _, err := io.ReadFull(r, head[:len(magic)]); err != nil {
		return h, fmt.Errorf("wait for its hello: %w", err)
	}
	if string(head[:len(magic)]) != magic {
		return h, errStranger
	}
	if _, err := io.ReadFull(r, head[len(magic):]); err != nil {
		return h, fmt.Errorf("wait for its hello: %w", err)
	}
	rest := head[len(magic):]
	if theirs, least := rest[0], rest[1]; theirs < leastVersion || least > version {
		return h, fmt.Errorf("%w: %d, and needs at least %d; this node has %d and %d", errVersion, theirs, least, version, leastVersion)
	}
	copy(h.instance[:], rest[2:])
	length := int(rest[len(rest)-1])
	if length > maxAddress {
		return h, errStranger
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(r, text); err != nil {
		return h, fmt.Errorf("wait for its hello: %w", err)
	}
	address, err := failover.ParseAddress(string(text))
	if err != nil {
		return h, fmt.Errorf("%w: %w", errStranger, err)
	}
	h.address = address
	return h, nil
}

// writeFrame writes one datagram.
func writeFrame(w *bufio.Writer, datagram []byte) error {
	var header [headerSize]byte
	binary.BigEndian.PutUint32(header[:], uint32(len(datagram)))
	if _, err := w.Write(header[:]); err != nil {
		return err
	}
	_, err := w.Write(datagram)
	return err
}

// writeLifeSign writes a frame without content.
func writeLifeSign(w *bufio.Writer) error {
	var header [headerSize]byte
	binary.BigEndian.PutUint32(header[:], lifeSign)
	_, err := w.Write(header[:])
	return err
}

// readLength reads how long the next datagram is. sign means that there is none, but the other side lives.
func readLength(r *bufio.Reader) (length int, sign bool, err error) {
	header, err := r.Peek(headerSize)
	if err != nil {
		if len(header) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, false, err
	}
	n := binary.BigEndian.Uint32(header)
	_, _ = r.Discard(headerSize)
	switch {
	case n == lifeSign:
		return 0, true, nil
	case n > failover.MaxDatagram:
		return 0, false, fmt.Errorf("%w: %d bytes, at most %d are allowed", errTooLarge, n, failover.MaxDatagram)
	}
	return int(n), false, nil
}

// readBody reads a datagram whose length is known.
func readBody(r io.Reader, length int) ([]byte, error) {
	datagram := make([]byte, length)
	_, err := io.ReadFull(r, datagram)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return datagram, err
}
