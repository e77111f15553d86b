// Package packet is the form of the one message that members of an Interlok cluster (interlok-failover 3.8 and later)
// exchange, over UDP multicast and TCP alike: a ping of 70 bytes, big-endian, without magic, version, cluster or key.
//
//	bytes  0..39  host, text, padded with NUL: where the sender listens in TCP mode
//	bytes 40..45  port, decimal digits, padded with NUL; "0" if there is none
//	bytes 46..61  id of the instance: a UUID, drawn anew at each start
//	bytes 62..65  type: 1 primary, 2 secondary
//	bytes 66..69  position of a secondary, 0 if it has none yet; 0 in the ping of a Java primary
//
// Releases before 3.8 send the last 24 of these bytes only. They are recognised and refused: members of the two
// kinds cannot be in one cluster, because each would read the other's ping as something else.
package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Sizes in bytes.
const (
	Size    = 70
	OldSize = 24
	// MaxHost is how long a host may be. Java does not check that, and cannot send a longer one.
	MaxHost = 40

	portSize = 6
	portAt   = MaxHost
	idAt     = portAt + portSize
	typeAt   = idAt + 16
	placeAt  = typeAt + 4
)

// Type is what the sender of a ping is.
type Type uint32

// The types.
const (
	Primary   Type = 1
	Secondary Type = 2
)

// String gives the type in lower case.
func (t Type) String() string {
	switch t {
	case Primary:
		return "primary"
	case Secondary:
		return "secondary"
	}
	return "type " + strconv.FormatUint(uint64(t), 10)
}

// Ping is what one instance tells all others.
type Ping struct {
	// Host and Port are where the sender listens in TCP mode. Over multicast they mean nothing; Java says its address
	// and port 0 there.
	Host string
	Port int
	ID   ID
	Type Type
	// Position is the place of a secondary in the order of succession, from 1 on; 0 is none yet. A Java primary always
	// has 0; see package rules for what ours put there.
	Position int
}

// String gives the ping for log lines.
func (p Ping) String() string {
	return fmt.Sprintf("%v %d of %v at %s:%d", p.Type, p.Position, p.ID, p.Host, p.Port)
}

// Cause is why a packet was refused; the text is the counter's name.
type Cause string

// The causes.
const (
	// Old is the packet of a release before 3.8.
	Old Cause = "interlok-before-3.8"
	// WrongSize is anything else that has not 70 bytes.
	WrongSize Cause = "wrong-size"
	// Malformed has 70 bytes, but no Java instance writes such.
	Malformed Cause = "malformed"
)

// Error is the refusal of a packet.
type Error struct {
	Cause  Cause
	Detail string
}

// Error gives cause and detail.
func (e *Error) Error() string { return "ping refused, " + string(e.Cause) + ": " + e.Detail }

func refuse(cause Cause, format string, args ...any) error {
	return &Error{Cause: cause, Detail: fmt.Sprintf(format, args...)}
}

// CauseOf returns the cause of a refusal, Malformed for any other error.
func CauseOf(err error) Cause {
	var refusal *Error
	if errors.As(err, &refusal) {
		return refusal.Cause
	}
	return Malformed
}

// Encode gives the 70 bytes of a ping. It refuses what Decode would refuse, and so everything that would break a Java
// member: its multicast listener ends for good when a secondary's port is not a number.
func Encode(p Ping) ([]byte, error) {
	if err := check(p); err != nil {
		return nil, err
	}
	data := make([]byte, Size)
	copy(data[:portAt], p.Host)
	copy(data[portAt:idAt], strconv.Itoa(p.Port))
	copy(data[idAt:typeAt], p.ID[:])
	binary.BigEndian.PutUint32(data[typeAt:], uint32(p.Type))
	binary.BigEndian.PutUint32(data[placeAt:], uint32(p.Position))
	return data, nil
}

// Decode reads a packet from a stranger. The error is always an *Error. Nothing of data is kept.
func Decode(data []byte) (Ping, error) {
	switch len(data) {
	case Size:
	case OldSize:
		return Ping{}, refuse(Old, "%d bytes are a ping of an Interlok before 3.8, which cannot be in one cluster with later ones; "+
			"upgrade that instance to 3.8 or later first", len(data))
	default:
		return Ping{}, refuse(WrongSize, "%d bytes, a ping has %d; does another program, or a node without failover.wire=interlok, "+
			"use this group and port?", len(data), Size)
	}
	port, err := parsePort(trim(data[portAt:idAt]))
	if err != nil {
		return Ping{}, err
	}
	place := binary.BigEndian.Uint32(data[placeAt:])
	if place > math.MaxInt32 {
		return Ping{}, refuse(Malformed, "the position is %d", int32(place))
	}
	p := Ping{
		Host: string(trim(data[:portAt])), Port: port, ID: ID(data[idAt:typeAt]),
		Type: Type(binary.BigEndian.Uint32(data[typeAt:])), Position: int(place),
	}
	return p, check(p)
}

// trim cuts off what Java's String.trim does: blanks and control characters at both ends.
func trim(field []byte) []byte {
	for len(field) > 0 && field[0] <= ' ' {
		field = field[1:]
	}
	for len(field) > 0 && field[len(field)-1] <= ' ' {
		field = field[:len(field)-1]
	}
	return field
}

// parsePort reads the digits. An empty port, which an empty property gives in Java, means none.
func parsePort(text []byte) (int, error) {
	port := 0
	for _, digit := range text {
		if digit < '0' || digit > '9' {
			return 0, refuse(Malformed, "the port is %q", text)
		}
		port = port*10 + int(digit-'0')
	}
	return port, nil
}

func check(p Ping) error {
	switch {
	case len(p.Host) > MaxHost:
		return refuse(Malformed, "the host %q has %d bytes, at most %d fit into a ping", p.Host, len(p.Host), MaxHost)
	case !isHost(p.Host):
		return refuse(Malformed, "the host is %q", p.Host)
	case p.Port < 0 || p.Port > math.MaxUint16:
		return refuse(Malformed, "the port is %d", p.Port)
	case p.Type != Primary && p.Type != Secondary:
		return refuse(Malformed, "it is neither of a primary nor of a secondary, but of %v", p.Type)
	case p.Position < 0 || p.Position > math.MaxInt32:
		return refuse(Malformed, "the position is %d", p.Position)
	case p.ID == ID{}:
		return refuse(Malformed, "the instance has no id")
	}
	return nil
}

// isHost lets through what can be shown to people in one piece. What a name is worth is the resolver's matter.
func isHost(host string) bool {
	if !utf8.ValidString(host) {
		return false
	}
	for _, r := range host {
		if !unicode.IsPrint(r) || r == ' ' {
			return false
		}
	}
	return true
}
