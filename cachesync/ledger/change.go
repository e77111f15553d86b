package ledger

// Change is what one log entry has made of its message: all that a store needs to follow the table.
type Change struct {
	Position Position
	// MessageID is empty if the entry concerns no message.
	MessageID string
	// Entry is the message as it is now; nil if it is not in flight any more. It must not be changed.
	Entry *Entry
	// Payload: the entry's payload is another one than before.
	Payload bool
	// Finished: the id has entered the dedupe window, at UnixMilli.
	Finished  bool
	UnixMilli int64
	// InFlight is the number of messages in flight after the change.
	InFlight int
	// Seals are set where a term begins.
	Seals *Seals
}

// Size is about what the change costs in memory, in bytes.
func (c *Change) Size() int {
	if c.Entry == nil {
		return overhead + len(c.MessageID)
	}
	if !c.Payload {
		return c.Entry.Size() - len(c.Entry.Payload)
	}
	return c.Entry.Size()
}

// Changed says what an operation has changed. It must be the one that was applied last.
func (t *Table) Changed(op *Op) Change {
	c := Change{Position: t.position, MessageID: op.MessageID, UnixMilli: op.UnixMilli, InFlight: len(t.entries)}
	switch op.Kind {
	case TermBegun:
		seals := t.seals
		c.MessageID, c.Seals = "", &seals
	case Done:
		c.Finished = true
	case Released:
	default:
		c.Entry = t.entries[op.MessageID]
		c.Payload = op.Payload != nil || op.Kind == Received
	}
	return c
}
