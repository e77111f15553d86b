package packet

import (
	"bytes"
	"encoding/hex"
)

// ID is an instance's UUID. Java draws a random one (version 4) at each start.
type ID [16]byte

const (
	versionAt, variantAt = 6, 8
	// ownVersion is for UUIDs that are made by a rule of one's own (RFC 9562, version 8).
	ownVersion = 0x80
	variant    = 0x80
)

// NewID makes the id of an instance of ours from random bytes. Ours have another version than Java's, so that they
// know each other.
func NewID(random [16]byte) ID {
	id := ID(random)
	id[versionAt] = id[versionAt]&0x0f | ownVersion
	id[variantAt] = id[variantAt]&0x3f | variant
	return id
}

// Ours reports whether an instance is one of this implementation. Anybody can pretend that.
func (id ID) Ours() bool { return id[versionAt]&0xf0 == ownVersion && id[variantAt]&0xc0 == variant }

// Compare orders ids as Java orders their texts, in which letters come after digits, as they do in the bytes.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// String gives the usual form, in lower case.
func (id ID) String() string {
	text := make([]byte, 0, 36)
	for i, part := range [][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			text = append(text, '-')
		}
		text = hex.AppendEncode(text, part)
	}
	return string(text)
}
