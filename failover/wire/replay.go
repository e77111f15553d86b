package wire

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
)

// replayWindow is how far datagrams of a node may overtake each other, in sequence numbers.
const replayWindow = 1024

// Replay remembers what was received, so that nobody can send it again. It is not safe for concurrent use. Without keys it
// is of no use: who can forge needs not replay. It holds at most MaxNodes nodes, of some 200 bytes each.
type Replay struct{ nodes map[string]*window }

// window is what was received of one life of a node: the highest sequence number, 0 if nothing yet, and which of the
// last replayWindow ones up to it.
type window struct {
	boot, highest uint64
	seen          [replayWindow / 64]uint64
}

// NewReplay takes the boots that are known from the disk, by node id: no earlier life of a node is heard. Of more than
// MaxNodes the latest count.
func NewReplay(boots map[string]uint64) *Replay {
	nodes := slices.SortedFunc(maps.Keys(boots), func(a, b string) int {
		return cmp.Or(cmp.Compare(boots[b], boots[a]), strings.Compare(a, b))
	})
	r := &Replay{nodes: make(map[string]*window)}
	for _, node := range nodes[:min(len(nodes), MaxNodes)] {
		r.nodes[node] = &window{boot: boots[node]}
	}
	return r
}

// Boots are the last known lives of the nodes by node id, to be kept on disk. The map is the caller's.
func (r *Replay) Boots() map[string]uint64 {
	boots := make(map[string]uint64, len(r.nodes))
	for node, w := range r.nodes {
		boots[node] = w.boot
	}
	return boots
}

// The refusals of Admit.
var (
	errReplayed = &Error{Cause: Replayed, Detail: "it was received before, or is older than the last 1024 of its sender"}
	errOldBoot  = &Error{Cause: OldBoot, Detail: "its sender has been started since"}
	errCrowded  = &Error{Cause: Crowded, Detail: "64 nodes were heard since this one was started, and no more can be remembered"}
)

// Admit notes a datagram that is authentic. A node's later life makes the earlier ones old; within a life each sequence
// number counts once, and one that is before the first that was heard, or behind the highest by 1024 or more, not at all:
// so what was recorded before this node was started is of no use once the sender itself has been heard. If MaxNodes are known, a new one
// takes the place of the one with the oldest life that is known from the disk only, and is refused if there is none.
// fresh says that a life was heard for the first time, so that Boots has changed. The error is always an *Error.
func (r *Replay) Admit(node string, boot, sequence uint64) (fresh bool, err error) {
	w := r.nodes[node]
	if w == nil {
		if !r.makeRoom() {
			return false, errCrowded
		}
		w = &window{}
		// A copy: the id that is given may be a piece of the whole datagram.
		r.nodes[strings.Clone(node)] = w
	}
	switch {
	case boot < w.boot:
		return false, errOldBoot
	case boot > w.boot:
		*w = window{boot: boot}
		fresh = true
	}
	switch {
	case sequence == 0: // Sequences begin with 1.
		return fresh, errReplayed
	case w.highest == 0:
		w.begin(sequence)
	case sequence > w.highest:
		w.advance(sequence)
	case w.highest-sequence >= replayWindow || w.has(sequence):
		return fresh, errReplayed
	}
	w.seen[sequence%replayWindow/64] |= 1 << (sequence % 64)
	return fresh, nil
}

// makeRoom forgets a node that is not there any more, as far as can be known, if it has to.
func (r *Replay) makeRoom() bool {
	if len(r.nodes) < MaxNodes {
		return true
	}
	oldest := ""
	for node, w := range r.nodes {
		if w.highest == 0 && (oldest == "" || w.boot < r.nodes[oldest].boot) {
			oldest = node
		}
	}
	delete(r.nodes, oldest)
	return oldest != ""
}

func (w *window) has(sequence uint64) bool {
	return w.seen[sequence%replayWindow/64]&(1<<(sequence%64)) != 0
}

// begin takes all numbers before the first one for seen.
func (w *window) begin(sequence uint64) {
	w.highest = sequence
	for i := range w.seen {
		w.seen[i] = math.MaxUint64
	}
}

// advance clears the places that the sequence numbers beyond the highest will use again.
func (w *window) advance(sequence uint64) {
	step := sequence - w.highest
	if step >= replayWindow {
		clear(w.seen[:])
	} else {
		for i := range step { // Not up to sequence itself: that may be the last number there is.
			next := w.highest + 1 + i
			w.seen[next%replayWindow/64] &^= 1 << (next % 64)
		}
	}
	w.highest = sequence
}
