package election

import (
	"cmp"
	"strconv"
	"time"
)

// Term is the number of one mastership. Terms are ordered by number, then by node, and never reused.
type Term struct {
	Number uint64
	Node   string
}

// Compare is negative if t came before other, zero if both are the same.
func (t Term) Compare(other Term) int {
	return cmp.Or(cmp.Compare(t.Number, other.Number), cmp.Compare(t.Node, other.Node))
}

// IsZero reports whether t is no term at all.
func (t Term) IsZero() bool { return t == Term{} }

// String gives number:node, "none" for the zero term.
func (t Term) String() string {
	if t.IsZero() {
		return "none"
	}
	return strconv.FormatUint(t.Number, 10) + ":" + t.Node
}

// Position is how far a mirror has come: the last applied index and the term that wrote it.
type Position struct {
	Term  Term
	Index uint64
}

// Compare orders positions by term, then by index.
func (p Position) Compare(other Position) int {
	return cmp.Or(p.Term.Compare(other.Term), cmp.Compare(p.Index, other.Index))
}

// Standing is what decides who leads next.
type Standing struct {
	// InSync: the mirror holds all that the master has committed. Among mirrors in sync the position does not
	// count, because it runs ahead in each node at other moments and nothing committed hangs on it.
	InSync   bool
	Mirror   Position
	Priority int
}

// Compare is positive if s should lead rather than other. Two nodes may be equal; the greater id then leads,
// which agrees with the order of terms.
func (s Standing) Compare(other Standing) int {
	if s.InSync != other.InSync {
		if s.InSync {
			return 1
		}
		return -1
	}
	mirror := 0
	if !s.InSync {
		mirror = s.Mirror.Compare(other.Mirror)
	}
	return cmp.Or(mirror, cmp.Compare(s.Priority, other.Priority))
}

// outranks is the total order of candidates.
func outranks(a Standing, idA string, b Standing, idB string) bool {
	return cmp.Or(a.Compare(b), cmp.Compare(idA, idB)) > 0
}

// Heard is the latest that a node knows of a master's life, at first hand or from others.
type Heard struct {
	Term Term
	// Sequence counts the heartbeats of a term.
	Sequence uint64
	// Age is how long before the message was sent the heartbeat had been heard.
	Age time.Duration
}
