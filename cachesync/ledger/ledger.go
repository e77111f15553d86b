// Package ledger is the mirrored table of messages in flight as a pure state machine: log entries in, a
// table out. Every replica that applies the same entries holds the same table. There is no I/O here, no
// clock and no randomness: the time is inside the operations, written by whoever leads.
//
// A Table is not safe for concurrent use. Entries that it hands out are never changed afterwards, and
// neither may the caller change their payloads; that is what makes a Snapshot cheap.
package ledger

import (
	"cmp"
	"strconv"
	"strings"
)

// Limits of one operation, in bytes. An operation beyond them is Invalid.
const (
	// MaxPayload is the largest message that can be mirrored.
	MaxPayload = 64 << 20
	// MaxText bounds ids, step ids and reasons.
	MaxText = 32 << 10
)

// Term is the number of one mastership: ordered by number, then by node, never reused.
type Term struct {
	Number uint64
	Node   string
}

// Compare orders terms as cmp.Compare does.
func (t Term) Compare(other Term) int {
	return cmp.Or(cmp.Compare(t.Number, other.Number), strings.Compare(t.Node, other.Node))
}

// Less reports whether t came before other.
func (t Term) Less(other Term) bool { return t.Compare(other) < 0 }

// IsZero reports whether t is no term at all.
func (t Term) IsZero() bool { return t == Term{} }

// String gives number:node, or "none" for the zero term.
func (t Term) String() string {
	if t.IsZero() {
		return "none"
	}
	return strconv.FormatUint(t.Number, 10) + ":" + t.Node
}

// Position is a place in the log. Since each term has one writer, two tables at the same position are the
// same table.
type Position struct {
	Term Term
	// Index counts the entries of all terms from 1; 0 is the empty table.
	Index uint64
}

// Compare orders positions by term, then by index.
func (p Position) Compare(other Position) int {
	return cmp.Or(p.Term.Compare(other.Term), cmp.Compare(p.Index, other.Index))
}

// Less reports whether p came before other.
func (p Position) Less(other Position) bool { return p.Compare(other) < 0 }

// String gives number:node/index.
func (p Position) String() string { return p.Term.String() + "/" + strconv.FormatUint(p.Index, 10) }

// Kind is a kind of operation.
type Kind uint8

// The operations, with the numbers that they have on the wire.
const (
	// Received: a message has come in. A nil payload is an empty one.
	Received Kind = iota + 1
	// Stepped: the service Op.Step has finished. A nil payload means that it changed nothing.
	Stepped
	// Producing: the produce is about to begin.
	Producing
	// Done: everything is done. The entry goes, its id enters the dedupe window.
	Done
	// Released: the entry goes and leaves no trace, because the source still has the message.
	Released
	// Held: the entry waits for an operator.
	Held
	// TermBegun is the first entry of each term. Only the replication itself writes it.
	TermBegun
)

// String gives the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Received:
		return "received"
	case Stepped:
		return "stepped"
	case Producing:
		return "producing"
	case Done:
		return "done"
	case Released:
		return "released"
	case Held:
		return "held"
	case TermBegun:
		return "term"
	}
	return "kind " + strconv.Itoa(int(k))
}

// Op is one change of the table.
type Op struct {
	Kind                        Kind
	MessageID, WorkflowID, Step string
	// Payload nil means unchanged, empty means empty. It belongs to the table from now on.
	Payload []byte
	// UnixMilli is the writer's wall clock, milliseconds since 1970.
	UnixMilli int64
	// Reason is for people; only Held has one.
	Reason string
}

// LogEntry is one change at its place in the log.
type LogEntry struct {
	Position Position
	Op       Op
}

// overhead stands for the fixed fields of an entry, in memory or on the wire.
const overhead = 64

// Size is about what the entry costs in memory and on the wire, in bytes.
func (e *LogEntry) Size() int {
	return overhead + len(e.Op.MessageID) + len(e.Op.WorkflowID) + len(e.Op.Step) + len(e.Op.Payload) + len(e.Op.Reason)
}

// State is how far a message in flight has come.
type State uint8

// The states of an entry, with the numbers that they have on the wire.
const (
	StateReceived State = iota + 1
	StateProducing
	StateHeld
)

// Entry is one message in flight.
type Entry struct {
	MessageID, WorkflowID string
	State                 State
	// Step is the last service that has finished; empty before the first.
	Step    string
	Payload []byte
	// ReceivedMilli and ChangedMilli are the times of the first and of the last operation.
	ReceivedMilli, ChangedMilli int64
	// Position is that of the last change, Arrival that of Received. Arrival is zero if an older build has written it.
	Position, Arrival Position
	// Reason says why it is held.
	Reason string
	// PossibleDuplicate: Producing was reached at some time, so that a replay may be a repeat.
	PossibleDuplicate bool
}

// Size is about what the entry costs in memory and on the wire, in bytes.
func (e *Entry) Size() int {
	return overhead + len(e.MessageID) + len(e.WorkflowID) + len(e.Step) + len(e.Payload) + len(e.Reason)
}

// Finished is one id of the dedupe window.
type Finished struct {
	MessageID string
	// UnixMilli is the time of the Done operation.
	UnixMilli int64
}
