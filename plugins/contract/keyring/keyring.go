// Package keyring is the file with which the nodes of a cluster know each other: one key, or two while a key is being
// replaced. The first seals, all open. What is said by datagram and what is said by stream never use the file's key
// itself, but keys derived from it for that purpose, by HKDF-SHA256 (RFC 5869).
package keyring

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// KeySize is the length of a key in bytes.
	KeySize = 32
	// MaxKeys is how many keys a ring may have.
	MaxKeys = 2

	prefix = "understudy-key-1:"
)

// Ring is the keys of a file, in its order. It is never changed after it was made, and may be used concurrently.
type Ring struct{ keys [][KeySize]byte }

// Generate returns a ring with one new random key.
func Generate() Ring {
	var key [KeySize]byte
	rand.Read(key[:]) // It never fails, see its documentation.
	return Ring{keys: [][KeySize]byte{key}}
}

// Add returns a ring with a new second key, with which nobody seals yet.
func (r Ring) Add() (Ring, error) {
	if len(r.keys) != 1 {
		return Ring{}, errors.New("there are two keys already: take the old one away first, with --drop")
	}
	return Ring{keys: append(slices.Clone(r.keys), Generate().keys...)}, nil
}

// Promote returns a ring with the second key first.
func (r Ring) Promote() (Ring, error) {
	if len(r.keys) != 2 {
		return Ring{}, errors.New("there is only one key: add another one first, with --add")
	}
	return Ring{keys: [][KeySize]byte{r.keys[1], r.keys[0]}}, nil
}

// Drop returns a ring without the second key.
func (r Ring) Drop() (Ring, error) {
	if len(r.keys) != 2 {
		return Ring{}, errors.New("there is only one key, and the cluster needs it")
	}
	return Ring{keys: slices.Clone(r.keys[:1])}, nil
}

// Len is the number of keys.
func (r Ring) Len() int { return len(r.keys) }

// Fingerprints name the keys without betraying them, in their order.
func (r Ring) Fingerprints() []string {
	var names []string
	for _, key := range r.Derive("fingerprint") {
		names = append(names, fmt.Sprintf("%x", key[:4]))
	}
	return names
}

// String names the keys, so that a ring that comes into a log betrays nothing.
func (r Ring) String() string { return "keys " + strings.Join(r.Fingerprints(), ", ") }

// GoString is String.
func (r Ring) GoString() string { return r.String() }

// Derive returns a key for a purpose for each key of the ring, in its order.
func (r Ring) Derive(purpose string) [][KeySize]byte {
	derived := make([][KeySize]byte, 0, len(r.keys))
	for _, key := range r.keys {
		out, err := hkdf.Key(sha256.New, key[:], nil, "understudy "+purpose, KeySize)
		if err != nil {
			panic("keyring: " + err.Error()) // The sizes are constant, and allowed.
		}
		derived = append(derived, [KeySize]byte(out))
	}
	return derived
}

// Parse reads the text of a key file: one key per line; empty lines and lines that begin with # do not count. name is
// for the error, which names the line and never shows a key.
func Parse(text []byte, name string) (Ring, error) {
	var ring Ring
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := parseKey(line)
		if err != nil {
			return Ring{}, fmt.Errorf("%s:%d: %w; 'bootstrap keygen' makes a key file", name, number, err)
		}
		for _, other := range ring.keys {
			if other == key {
				return Ring{}, fmt.Errorf("%s:%d: the same key stands in the file twice", name, number)
			}
		}
		if len(ring.keys) == MaxKeys {
			return Ring{}, fmt.Errorf("%s:%d: a third key: at most %d are allowed, the new one first", name, number, MaxKeys)
		}
		ring.keys = append(ring.keys, key)
	}
	if len(ring.keys) == 0 {
		return Ring{}, fmt.Errorf("%s: there is no key in it; 'bootstrap keygen' makes a key file", name)
	}
	return ring, nil
}

func parseKey(line string) (key [KeySize]byte, err error) {
	encoded, found := strings.CutPrefix(line, prefix)
	if !found {
		return key, fmt.Errorf("a key begins with %q", prefix)
	}
	data, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(data) != KeySize {
		return key, fmt.Errorf("the key is damaged: %s must be followed by %d bytes in base64", prefix, KeySize)
	}
	return [KeySize]byte(data), nil
}

// Text gives the content of the ring's file.
func (r Ring) Text() []byte {
	var text bytes.Buffer
	text.WriteString("# The keys of an Understudy cluster. Whoever has this file can take part in it. The first key seals, all open.\n")
	for i, key := range r.keys {
		fmt.Fprintf(&text, "# key %s\n%s%s\n", r.Fingerprints()[i], prefix, base64.StdEncoding.EncodeToString(key[:]))
	}
	return text.Bytes()
}
