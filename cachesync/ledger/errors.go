package ledger

import "fmt"

// GapError refuses a log entry that does not follow the table's position.
type GapError struct{ Have, Got Position }

func (e *GapError) Error() string {
	return fmt.Sprintf("log entry %v does not follow %v: want index %d", e.Got, e.Have, e.Have.Index+1)
}

// LowerTermError refuses a log entry of a term that is over.
type LowerTermError struct{ Have, Got Term }

func (e *LowerTermError) Error() string {
	return fmt.Sprintf("log entry of term %v, but term %v has begun", e.Got, e.Have)
}

// InvalidError refuses an operation that makes no sense in the table's state.
type InvalidError struct {
	Op Kind
	// MessageID may be empty, or cut short if it is too long.
	MessageID string
	Reason    string
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("%v of message %q: %s", e.Op, e.MessageID, e.Reason)
}

// SnapshotError refuses a snapshot whose parts do not make a table.
type SnapshotError struct{ Reason string }

func (e *SnapshotError) Error() string { return "snapshot: " + e.Reason }

func invalid(op *Op, format string, args ...any) error {
	id := op.MessageID
	if len(id) > 200 {
		id = id[:200]
	}
	return &InvalidError{Op: op.Kind, MessageID: id, Reason: fmt.Sprintf(format, args...)}
}
