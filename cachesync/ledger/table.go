package ledger

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits bound the dedupe window. Nodes with different limits hold the same entries in flight, and only
// differ in how long they remember finished ids.
type Limits struct {
	// DedupeCount is the number of ids that are remembered at most; 0 remembers none.
	DedupeCount int
	// DedupeTime is how long an id is remembered at most, measured by the times of the operations.
	DedupeTime time.Duration
}

// Verdict is what the writer has to do with an operation.
type Verdict uint8

// The verdicts.
const (
	// Accept: write the operation to the log and apply it.
	Accept Verdict = iota + 1
	// InFlight: Received of a message that is in flight already. There is nothing to write, and the entry
	// keeps its progress: the engine goes on with it.
	InFlight
	// DoneBefore: Received of an id in the dedupe window. There is nothing to write.
	DoneBefore
	// Invalid: the operation makes no sense.
	Invalid
)

// Table is the messages in flight and the window of finished ids, at one position of the log.
type Table struct {
	position Position
	entries  map[string]*Entry // the entries themselves are never changed, only replaced
	bytes    int
	finished window
	seals    Seals
}

// New returns the empty table at position zero.
func New(limits Limits) *Table {
	return &Table{entries: make(map[string]*Entry), finished: newWindow(limits)}
}

// Position is that of the last entry applied.
func (t *Table) Position() Position { return t.position }

// Len is the number of messages in flight.
func (t *Table) Len() int { return len(t.entries) }

// Bytes is about what the messages in flight cost in memory.
func (t *Table) Bytes() int { return t.bytes }

// FinishedLen is the number of ids in the dedupe window.
func (t *Table) FinishedLen() int { return len(t.finished.ids) }

// Entry returns a message in flight.
func (t *Table) Entry(messageID string) (Entry, bool) {
	e, found := t.entries[messageID]
	if !found {
		return Entry{}, false
	}
	return *e, true
}

// Entries returns the messages in flight in the order in which they were received.
func (t *Table) Entries() []Entry {
	s := t.Snapshot()
	s.sort()
	entries := make([]Entry, len(s.entries))
	for i, e := range s.entries {
		entries[i] = *e
	}
	return entries
}

// Decide tells the writer what to do with an operation; the table does not change. The error is an
// *InvalidError if the verdict is Invalid, and nil otherwise.
func (t *Table) Decide(op *Op) (Verdict, error) {
	if op.Kind == TermBegun {
		return Invalid, invalid(op, "only the beginning of a mastership writes this")
	}
	if err := t.check(op); err != nil {
		return Invalid, err
	}
	if op.Kind == Received {
		if _, found := t.entries[op.MessageID]; found {
			return InFlight, nil
		}
		if t.finished.contains(op.MessageID, op.UnixMilli) {
			return DoneBefore, nil
		}
	}
	return Accept, nil
}

// Apply applies the next entry of the log. It fails, and changes nothing, with a *GapError or a
// *LowerTermError for an entry out of order and with an *InvalidError for one that makes no sense, which
// tells a replica that its table is not the writer's.
func (t *Table) Apply(e *LogEntry) error {
	switch order := e.Position.Term.Compare(t.position.Term); {
	case order < 0:
		return &LowerTermError{Have: t.position.Term, Got: e.Position.Term}
	case e.Position.Index != t.position.Index+1:
		return &GapError{Have: t.position, Got: e.Position}
	case order == 0 && e.Op.Kind == TermBegun:
		return invalid(&e.Op, "term %v has begun before", e.Position.Term)
	case order > 0 && e.Op.Kind != TermBegun:
		return invalid(&e.Op, "term %v has not begun", e.Position.Term)
	}
	if err := t.check(&e.Op); err != nil {
		return err
	}
	t.finished.prune(e.Op.UnixMilli)
	if e.Op.Kind == TermBegun {
		t.seals = t.seals.with(t.position)
	}
	t.position = e.Position
	t.change(&e.Op)
	return nil
}

// check holds the rules that the writer and the replicas share. A replica may remember more finished ids
// than the writer, so it is no fault here to receive one of them.
func (t *Table) check(op *Op) error {
	if op.Kind < Received || op.Kind > TermBegun {
		return invalid(op, "unknown kind of operation")
	}
	if op.Kind == TermBegun {
		return nil
	}
	if op.MessageID == "" {
		return invalid(op, "the message id is empty")
	}
	for _, text := range [...]string{op.MessageID, op.WorkflowID, op.Step, op.Reason} {
		if len(text) > MaxText {
			return invalid(op, "an id or reason has %d bytes, the limit is %d", len(text), MaxText)
		}
		if !utf8.ValidString(text) {
			return invalid(op, "an id or reason is not UTF-8")
		}
	}
	if len(op.Payload) > MaxPayload {
		return invalid(op, "the payload has %d bytes, the limit is %d", len(op.Payload), MaxPayload)
	}
	if op.Kind == Stepped && op.Step == "" {
		return invalid(op, "the step id is empty")
	}
	if op.Kind != Received {
		if _, found := t.entries[op.MessageID]; !found {
			return invalid(op, "no such message is in flight")
		}
	}
	return nil
}

// change applies a checked operation; t.position is its position already.
func (t *Table) change(op *Op) {
	old := t.entries[op.MessageID]
	switch op.Kind {
	case TermBegun:
	case Received:
		if old != nil {
			return // it keeps its progress
		}
		payload := op.Payload
		if payload == nil {
			payload = []byte{}
		}
		t.put(&Entry{
			MessageID: op.MessageID, WorkflowID: op.WorkflowID, State: StateReceived, Payload: payload,
			ReceivedMilli: op.UnixMilli, ChangedMilli: op.UnixMilli, Position: t.position, Arrival: t.position,
		})
	case Done:
		t.remove(old)
		t.finished.add(Finished{MessageID: op.MessageID, UnixMilli: op.UnixMilli})
	case Released:
		t.remove(old)
	case Stepped, Producing, Held:
		e := *old
		e.ChangedMilli, e.Position, e.Reason = op.UnixMilli, t.position, ""
		switch op.Kind {
		case Stepped:
			e.State, e.Step = StateReceived, op.Step
		case Producing:
			e.State, e.PossibleDuplicate = StateProducing, true
		case Held:
			e.State, e.Reason = StateHeld, op.Reason
		}
		if op.Payload != nil {
			e.Payload = op.Payload
		}
		t.put(&e)
	}
}

func (t *Table) put(e *Entry) {
	if old := t.entries[e.MessageID]; old != nil {
		t.bytes -= old.Size()
	}
	t.entries[e.MessageID] = e
	t.bytes += e.Size()
}

func (t *Table) remove(e *Entry) {
	delete(t.entries, e.MessageID)
	t.bytes -= e.Size()
}

// sortByArrival orders entries as they came in. Messages of the same millisecond are ordered by their last
// change, then by id, so that every replica has the same order.
func sortByArrival(entries []*Entry) {
	slices.SortFunc(entries, func(a, b *Entry) int {
		return cmp.Or(cmp.Compare(a.ReceivedMilli, b.ReceivedMilli),
			cmp.Compare(a.Position.Index, b.Position.Index), strings.Compare(a.MessageID, b.MessageID))
	})
}
