package ledger

import (
	"fmt"
	"iter"
	"math"
)

// Snapshot is a table as it was at one position. It costs one pointer for each message in flight: the
// entries are shared. It may be read by another goroutine than the table's.
type Snapshot struct {
	position Position
	entries  []*Entry
	finished []Finished
	seals    Seals
}

// Snapshot returns the table as it is now.
func (t *Table) Snapshot() *Snapshot {
	s := &Snapshot{position: t.position, seals: t.seals, entries: make([]*Entry, 0, len(t.entries)), finished: t.finished.remembered()}
	for _, e := range t.entries {
		s.entries = append(s.entries, e)
	}
	return s
}

// Position is where the snapshot was taken.
func (s *Snapshot) Position() Position { return s.position }

// Seals is where the terms before it ended.
func (s *Snapshot) Seals() Seals { return s.seals }

func (s *Snapshot) sort() { sortByArrival(s.entries) }

// Chunk is a part of a snapshot. The last one carries the position and the seals.
type Chunk struct {
	Entries     []Entry
	Finished    []Finished
	First, Last bool
	Position    Position
	Seals       Seals
}

// Size is about what the chunk costs on the wire, in bytes.
func (c *Chunk) Size() int {
	size := overhead
	for i := range c.Entries {
		size += c.Entries[i].Size()
	}
	for i := range c.Finished {
		size += finishedSize(c.Finished[i])
	}
	return size
}

// finishedSize counts an id, its time and the framing of both.
func finishedSize(f Finished) int { return len(f.MessageID) + 16 }

// Chunks cuts the snapshot into parts of at most limit bytes; an entry that is larger has a part of its
// own. There is always at least one part. It must be called only once at a time.
func (s *Snapshot) Chunks(limit int) iter.Seq[Chunk] {
	return func(yield func(Chunk) bool) {
		s.sort()
		chunk, size := Chunk{First: true}, 0
		// room makes room for something and reports whether to go on.
		room := func(n int) bool {
			if size > 0 && size+n > limit {
				if !yield(chunk) {
					return false
				}
				chunk, size = Chunk{}, 0
			}
			size += n
			return true
		}
		for _, e := range s.entries {
			if !room(e.Size()) {
				return
			}
			chunk.Entries = append(chunk.Entries, *e)
		}
		for _, f := range s.finished {
			if !room(finishedSize(f)) {
				return
			}
			chunk.Finished = append(chunk.Finished, f)
		}
		chunk.Last, chunk.Position, chunk.Seals = true, s.position, s.seals
		yield(chunk)
	}
}

// Restorer makes a table from the parts of a snapshot.
type Restorer struct {
	table *Table
	begun bool
	// top is the highest index of an entry: the snapshot cannot be older.
	top uint64
}

// NewRestorer returns a Restorer for one snapshot. The limits are those of the new table.
func NewRestorer(limits Limits) *Restorer { return &Restorer{table: New(limits)} }

// Add takes the next part, and returns the table with the last one. It fails with a *SnapshotError, and is
// of no use after that.
func (r *Restorer) Add(c *Chunk) (*Table, error) {
	if r.table == nil {
		return nil, &SnapshotError{Reason: "a part after the last one or after a broken one"}
	}
	table, err := r.add(c)
	if err != nil || table != nil {
		r.table = nil
	}
	return table, err
}

func (r *Restorer) add(c *Chunk) (*Table, error) {
	if c.First == r.begun {
		return nil, &SnapshotError{Reason: "the first part is missing or comes twice"}
	}
	r.begun = true
	t := r.table
	for i := range c.Entries {
		e := c.Entries[i]
		switch {
		case e.MessageID == "":
			return nil, &SnapshotError{Reason: "an entry without a message id"}
		case e.State < StateReceived || e.State > StateHeld:
			return nil, &SnapshotError{Reason: fmt.Sprintf("message %q is in an unknown state %d", e.MessageID, e.State)}
		case t.entries[e.MessageID] != nil:
			return nil, &SnapshotError{Reason: fmt.Sprintf("message %q comes twice", e.MessageID)}
		}
		if e.Payload == nil {
			e.Payload = []byte{}
		}
		r.top = max(r.top, e.Position.Index)
		t.put(&e)
	}
	for _, f := range c.Finished {
		if f.MessageID == "" {
			return nil, &SnapshotError{Reason: "a finished message without an id"}
		}
		t.finished.add(f)
	}
	if !c.Last {
		return nil, nil
	}
	if c.Position.Index < r.top || c.Position.Index == math.MaxUint64 || (c.Position.Index == 0) != c.Position.Term.IsZero() {
		return nil, &SnapshotError{Reason: fmt.Sprintf("its position %v cannot be, its last entry has index %d", c.Position, r.top)}
	}
	t.position = c.Position
	if err := checkSeals(c.Seals, c.Position); err != nil {
		return nil, err
	}
	t.seals = c.Seals
	return t, nil
}

// checkSeals wants ends in order, before the position.
func checkSeals(s Seals, position Position) error {
	last := Position{}
	for _, end := range s.Ends {
		if end.Index == 0 || !last.Term.Less(end.Term) || end.Index < last.Index || !end.Term.Less(position.Term) || end.Index >= position.Index {
			return &SnapshotError{Reason: fmt.Sprintf("its seal %v cannot be, it follows %v and its position is %v", end, last, position)}
		}
		last = end
	}
	if len(s.Ends) > maxSeals || position.Term.Less(s.From) {
		return &SnapshotError{Reason: fmt.Sprintf("its %d seals from term %v cannot be", len(s.Ends), s.From)}
	}
	return nil
}
