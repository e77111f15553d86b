package wire

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"

	"golang.org/x/crypto/chacha20poly1305"

	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

const (
	// KeySize is the length of a key in bytes.
	KeySize = chacha20poly1305.KeySize

	// sealedFlag in the version says that what follows the six plain bytes is sealed: the key's id, a nonce, and the
	// protobuf, encrypted and authenticated together with the six bytes and the cluster's name.
	sealedFlag = 0x80
	keyIDSize  = 4
	overhead   = keyIDSize + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
)

// Causes that have to do with keys.
const (
	// Unsealed is a plain datagram where keys are asked for.
	Unsealed Cause = "unsealed"
	// Sealed is a sealed datagram where there are no keys.
	Sealed Cause = "sealed"
	// UnknownKey is sealed with a key that is not in the ring.
	UnknownKey Cause = "unknown-key"
	// Forged is one that the key that it names did not seal, or that was changed on its way.
	Forged Cause = "forged"
	// Replayed is one that was received before, or is too far behind the latest to tell.
	Replayed Cause = "replayed"
	// OldBoot is one of an earlier life of its sender.
	OldBoot Cause = "old-boot"
	// Crowded is one of a node that there is no room to remember.
	Crowded Cause = "crowded"
)

// Codec encodes and decodes the datagrams of a cluster. With keys they are sealed by XChaCha20-Poly1305 with random
// nonces of 192 bits, which never repeat in practice, however many a node sends (draft-irtf-cfrg-xchacha). It may be
// used concurrently.
type Codec struct {
	cluster string
	keys    []sealer
	bound   []byte // What is authenticated beside the content of a datagram of this version.
}

type sealer struct {
	id   [keyIDSize]byte
	aead cipher.AEAD
}

// NewCodec takes the keys in their order: the first seals, all open. Without keys datagrams are plain.
func NewCodec(cluster string, keys [][KeySize]byte) (*Codec, error) {
	c := &Codec{cluster: cluster}
	c.bound = c.bind([]byte(magic + string([]byte{Version | sealedFlag, LeastVersion})))
	for _, key := range keys {
		aead, err := chacha20poly1305.NewX(key[:])
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(append([]byte("understudy key id "), key[:]...))
		c.keys = append(c.keys, sealer{id: [keyIDSize]byte(sum[:keyIDSize]), aead: aead})
	}
	return c, nil
}

// Sealed reports whether datagrams are authenticated and encrypted.
func (c *Codec) Sealed() bool { return len(c.keys) > 0 }

// Encode gives the bytes of a datagram. It refuses what Decode would refuse.
func (c *Codec) Encode(datagram *failoverv1.Datagram) ([]byte, error) {
	plain, err := Encode(datagram)
	if err != nil || !c.Sealed() {
		return plain, err
	}
	if len(plain)+overhead > MaxSize {
		return nil, refuse(TooLong, "%d bytes sealed, at most %d", len(plain)+overhead, MaxSize)
	}
	key := c.keys[0]
	data := make([]byte, 0, len(plain)+overhead)
	data = append(data, plain[:headerSize]...)
	data[len(magic)] |= sealedFlag
	data = append(data, key.id[:]...)
	nonce := data[len(data) : len(data)+chacha20poly1305.NonceSizeX]
	rand.Read(nonce) // It never fails, see its documentation.
	data = data[:len(data)+len(nonce)]
	return key.aead.Seal(data, nonce, plain[headerSize:], c.bound), nil
}

// bind is what is authenticated beside the content.
func (c *Codec) bind(header []byte) []byte {
	if bytes.HasPrefix(c.bound, header) { // Nearly always: of this version, and nothing to allocate.
		return c.bound
	}
	return append(append(make([]byte, 0, headerSize+len(c.cluster)), header...), c.cluster...)
}

// Decode reads a datagram of the cluster. The error is always an *Error. Nothing of data is kept, and its content is
// overwritten if it was sealed. What is not authentic is refused before anything of it is parsed, and what is cheap to
// see is looked at first: README.md has the order.
func (c *Codec) Decode(data []byte) (*failoverv1.Datagram, error) {
	version, least, err := readHeader(data)
	if err != nil {
		return nil, err
	}
	sealed := version&sealedFlag != 0
	version &^= sealedFlag
	switch {
	case sealed && !c.Sealed():
		return nil, errSealed
	case !sealed && c.Sealed():
		return nil, errUnsealed
	case !sealed:
		return decode(version, least, data[headerSize:], c.cluster)
	case !readable(version, least):
		return nil, otherVersion(version, least)
	case len(data) < headerSize+overhead:
		return nil, errNoSeal
	}
	key, known := c.find([keyIDSize]byte(data[headerSize : headerSize+keyIDSize]))
	if !known {
		return nil, errUnknownKey
	}
	nonce := data[headerSize+keyIDSize : headerSize+keyIDSize+chacha20poly1305.NonceSizeX]
	content := data[headerSize+keyIDSize+chacha20poly1305.NonceSizeX:]
	plain, err := key.aead.Open(content[:0], nonce, content, c.bind(data[:headerSize]))
	if err != nil {
		return nil, errForged
	}
	return decode(version, least, plain, c.cluster)
}

// Refusals that anybody can cause at will cost no allocation.
var (
	errSealed     = &Error{Cause: Sealed, Detail: "the sender has a key, this node has none: set failover.key.file on both"}
	errUnsealed   = &Error{Cause: Unsealed, Detail: "the sender has no key, this node has one: set failover.key.file on both"}
	errNoSeal     = &Error{Cause: Malformed, Detail: "it is too short for a sealed datagram"}
	errUnknownKey = &Error{Cause: UnknownKey, Detail: "it is sealed with a key that this node does not have: compare 'bootstrap keygen --show' on both, or another cluster uses this group and port"}
	errForged     = &Error{Cause: Forged, Detail: "it was not sealed with the key that it names, or for another cluster, or was changed on its way"}
)

func (c *Codec) find(id [keyIDSize]byte) (sealer, bool) {
	for _, key := range c.keys {
		if key.id == id {
			return key, true
		}
	}
	return sealer{}, false
}
