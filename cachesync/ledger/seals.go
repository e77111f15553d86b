package ledger

import "slices"

// maxSeals is how many terms a table remembers the end of.
const maxSeals = 256

// Seals is where the terms before the current one ended. Of terms before From nothing is known.
type Seals struct {
	// Ends are the last positions, oldest first. The slice is never changed.
	Ends []Position
	From Term
}

// with adds the end of a term.
func (s Seals) with(end Position) Seals {
	if end.Index == 0 {
		return s // nothing was written before the first term
	}
	ends := s.Ends
	if len(ends) >= maxSeals {
		ends = ends[len(ends)-maxSeals+1:]
		s.From = ends[0].Term
	}
	s.Ends = append(slices.Clip(ends), end)
	return s
}

// Log is what a table knows of the log that made it.
type Log struct {
	Position Position
	Seals    Seals
}

// Log returns where the table is and where the earlier terms ended.
func (t *Table) Log() Log { return Log{Position: t.position, Seals: t.seals} }

// Holds reports whether a place lies on this log: not after the end that its term has there. Of a term too old to
// be remembered everything counts as held, so that nothing that was finished long ago is mistaken for news.
func (l Log) Holds(p Position) bool {
	if p.Term == l.Position.Term {
		return p.Index <= l.Position.Index
	}
	if p.Term.Less(l.Seals.From) {
		return true
	}
	for _, end := range l.Seals.Ends {
		if end.Term == p.Term {
			return p.Index <= end.Index
		}
	}
	return p.Index == 0
}

// Beyond returns the messages in flight whose arrival lies on no log that is known to somebody else, without the
// finished ids.
func (s *Snapshot) Beyond(other Log) *Snapshot {
	beyond := &Snapshot{position: s.position, seals: s.seals}
	for _, e := range s.entries {
		// An arrival that is not known was written by an older build.
		if e.Arrival.Index != 0 && !other.Holds(e.Arrival) {
			beyond.entries = append(beyond.entries, e)
		}
	}
	return beyond
}
