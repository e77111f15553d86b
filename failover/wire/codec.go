package wire

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"

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
	// Replayed is one that was received before, or an old one.
	Replayed Cause = "replayed"
)

// Codec encodes and decodes the datagrams of a cluster. With keys they are sealed by XChaCha20-Poly1305 with random
// nonces of 192 bits, which never repeat in practice, however many a node sends (draft-irtf-cfrg-xchacha). It may be
// used concurrently.
type Codec struct {
	cluster string
	keys    []sealer
}

type sealer struct {
	id   [keyIDSize]byte
	aead cipher.AEAD
}

// NewCodec takes the keys in their order: the first seals, all open. Without keys datagrams are plain.
func NewCodec(cluster string, keys [][KeySize]byte) (*Codec, error) {
	c := &Codec{cluster: cluster}
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
	return key.aead.Seal(data, nonce, plain[headerSize:], c.bound(data[:headerSize])), nil
}

// bound is what is authenticated beside the content.
func (c *Codec) bound(header []byte) []byte {
	return append(append(make([]byte, 0, headerSize+len(c.cluster)), header...), c.cluster...)
}

// Decode reads a datagram of the cluster. The error is always an *Error. Nothing of data is kept, and its content is
// overwritten if it was sealed. What is not authentic is refused before anything of it is parsed.
func (c *Codec) Decode(data []byte) (*failoverv1.Datagram, error) {
	if len(data) < headerSize || string(data[:len(magic)]) != magic || len(data) > MaxSize {
		return Decode(data, c.cluster) // It says what is wrong.
	}
	sealed := data[len(magic)]&sealedFlag != 0
	switch {
	case sealed && !c.Sealed():
		return nil, refuse(Sealed, "the sender has a key, this node has none: set failover.key.file on both")
	case !sealed && c.Sealed():
		return nil, refuse(Unsealed, "the sender has no key, this node has one: set failover.key.file on both")
	case !sealed:
		return Decode(data, c.cluster)
	case len(data) < headerSize+overhead:
		return nil, refuse(Malformed, "%d bytes are too few for a sealed datagram", len(data))
	}
	key, known := c.find([keyIDSize]byte(data[headerSize : headerSize+keyIDSize]))
	if !known {
		return nil, errUnknownKey
	}
	nonce := data[headerSize+keyIDSize : headerSize+keyIDSize+chacha20poly1305.NonceSizeX]
	content := data[headerSize+keyIDSize+chacha20poly1305.NonceSizeX:]
	plain, err := key.aead.Open(content[:0], nonce, content, c.bound(data[:headerSize]))
	if err != nil {
		return nil, errForged
	}
	return decode(data[len(magic)]&^sealedFlag, data[len(magic)+1], plain, c.cluster)
}

// Refusals that an attacker can cause at will cost no allocation.
var (
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

// Replay remembers what was received, so that nobody can send it again. It is not safe for concurrent use. Without keys it
// is of no use: who can forge needs not replay.
type Replay struct{ nodes map[string]*window }

// replayWindow is how far messages may overtake each other.
const replayWindow = 1024

type window struct {
	boot, highest uint64
	seen          [replayWindow / 64]uint64
}

// NewReplay takes the boots that are known from the disk: no earlier life of a node is heard.
func NewReplay(boots map[string]uint64) *Replay {
	r := &Replay{nodes: make(map[string]*window)}
	for node, boot := range boots {
		if len(r.nodes) < MaxNodes {
			r.nodes[node] = &window{boot: boot}
		}
	}
	return r
}

// Boots are the last known lives of the nodes, to be kept on disk.
func (r *Replay) Boots() map[string]uint64 {
	boots := make(map[string]uint64, len(r.nodes))
	for node, w := range r.nodes {
		boots[node] = w.boot
	}
	return boots
}

// errReplayed and errCrowded are refusals of Admit.
var (
	errReplayed = &Error{Cause: Replayed, Detail: "it was received before, or is older than what was"}
	errCrowded  = errors.New("too many nodes are known already")
)

// Admit notes a datagram. A node's later life makes the earlier ones old; within a life each sequence number counts once, and
// one that is behind the highest by 1024 or more not at all. A new node is not noted when MaxNodes are known. fresh says
// that a life was heard for the first time.
func (r *Replay) Admit(node string, boot, sequence uint64) (fresh bool, err error) {
	w := r.nodes[node]
	if w == nil {
		if len(r.nodes) >= MaxNodes {
			return false, errCrowded
		}
		w = &window{}
		r.nodes[node] = w
	}
	switch {
	case boot < w.boot:
		return false, errReplayed
	case boot > w.boot:
		*w = window{boot: boot}
		fresh = true
	}
	switch {
	case sequence > w.highest:
		w.advance(sequence)
	case w.highest-sequence >= replayWindow || w.has(sequence):
		return fresh, errReplayed
	}
	w.seen[sequence%replayWindow/64] |= 1 << (sequence % 64)
	return fresh, nil
}

func (w *window) has(sequence uint64) bool {
	return w.seen[sequence%replayWindow/64]&(1<<(sequence%64)) != 0
}

// advance clears the places that sequence numbers from the old highest on will use again.
func (w *window) advance(sequence uint64) {
	if sequence-w.highest >= replayWindow {
		clear(w.seen[:])
	} else {
		for s := w.highest + 1; s <= sequence; s++ {
			w.seen[s%replayWindow/64] &^= 1 << (s % 64)
		}
	}
	w.highest = sequence
}
