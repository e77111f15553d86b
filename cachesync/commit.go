package cachesync

import (
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// Settle is told the fate of a change. It must not wait for another commit.
type Settle func(Result, error)

// callerLimit is how much a caller of Commit sends itself, when the line is idle.
const callerLimit = 64 << 10

// Commit queues one change and returns at once, unless more than Config.Backlog waits for a slow standby. Changes are
// applied in the order of the calls. settle is called once, from any goroutine and maybe before Commit returns, in
// the order of the log, when the change is committed or refused; with quiet only if it is refused, and it may be nil.
// A change that writes nothing (the message is in flight already, or was done before) is settled when that is
// committed. While the store is full new messages are refused with NoRoom; changes of those in flight wait.
func (r *Replicator) Commit(term ledger.Term, op ledger.Op, quiet bool, settle Settle) {
	if op.Kind == ledger.Received {
		if full := r.journal.full(); full != nil {
			r.refuse(settlement{settle, NoRoom, full})
			return
		}
	}
	r.mu.Lock()
	g := r.leadingLocked(term)
	if g != nil {
		r.settler.hold()
		r.writeLocked(g, op, quiet, settle)
		r.settler.unhold()
		for _, k := range g.links {
			k.pumpLocked(false, callerLimit)
		}
		r.writeOnLocked(g)
	}
	r.mu.Unlock()
	if g != nil {
		r.settler.help()
		return
	}
	if settle == nil {
		return
	}
	r.refuse(settlement{settle, NotLeading, fmt.Errorf("%w: %v", ErrNotLeading, term)})
}

// refuse answers a change that was not written.
func (r *Replicator) refuse(refusal settlement) {
	if !r.settler.add(refusal) {
		refusal.give() // Run has ended and nobody else is left to answer
	}
}

// writeOnLocked has what has gathered for the store written, unless a batch is under way to a standby that counts:
// then it is written when the next one is sent, so that what is committed together is written together, here and
// there.
func (r *Replicator) writeOnLocked(g *reign) {
	for _, k := range g.links {
		if r.config.Mode == Sync && g.countsLocked(k) && k.stream != nil && k.stream.ready && !k.stream.farewell && k.underway.len() > 0 {
			return
		}
	}
	r.journal.goLocked()
}

// leadingLocked returns the reign of a term when its backlog has room, or nil if this node does not lead it.
func (r *Replicator) leadingLocked(term ledger.Term) *reign {
	g := r.reign
	for g != nil && g.leading && g.term == term && (g.log.bytes > r.config.Backlog || r.journal.bytes > r.config.Backlog) {
		r.room.Wait()
		g = r.reign
	}
	if g == nil || !g.leading || g.term != term {
		return nil
	}
	return g
}

// writeLocked decides on an operation, writes it and wakes the links.
func (r *Replicator) writeLocked(g *reign, op ledger.Op, quiet bool, settle Settle) {
	if op.UnixMilli == 0 {
		op.UnixMilli = time.Now().UnixMilli()
	}
	w := waiting{settle: settle, quiet: quiet, result: Committed}
	verdict, err := r.table.Decide(&op)
	switch verdict {
	case ledger.Accept:
		entry := ledger.LogEntry{Position: ledger.Position{Term: g.term, Index: r.table.Position().Index + 1}, Op: op}
		if err := r.table.Apply(&entry); err != nil {
			// Decide has accepted it and this is the only writer.
			panic(fmt.Sprintf("cachesync: the ledger refuses what it has accepted: %v", err))
		}
		g.log.push(entry)
		r.journal.changedLocked(r.table, &entry.Op)
	case ledger.InFlight:
	case ledger.DoneBefore:
		w.result = DoneBefore
	case ledger.Invalid:
		w.result, w.err = Invalid, err
	}
	w.index = r.table.Position().Index
	g.waiting.push(w)
	g.advanceLocked(r)
}

// waiting is a change that is not settled yet.
type waiting struct {
	index  uint64 // of the log entry that must be committed before
	settle Settle
	quiet  bool
	result Result
	err    error
}

// advanceLocked commits what this node's store has and every standby that counts has acknowledged, and drops from the log
// what no link needs any more.
func (g *reign) advanceLocked(r *Replicator) {
	committed, needed := g.durableLocked(r), g.log.last()
	for _, k := range g.links {
		counts := g.countsLocked(k)
		if k.stream != nil && !k.foreign || counts && !k.behind && !k.gone {
			needed = min(needed, k.floor)
		}
		if counts && r.config.Mode == Sync {
			committed = min(committed, k.has)
		}
	}
	if g.shortLocked(r) || g.effective.Version == 0 {
		// The first set of a term leaves out the master of the term before, who must not believe to be in any more.
		committed = g.committed
	}
	if g.log.dropTo(needed) {
		r.room.Broadcast()
	}
	g.committed = max(g.committed, committed)
	n := 0
	for _, w := range g.waiting.all() {
		if w.index > g.committed {
			break
		}
		// A quiet change is answered only if it is refused.
		if !w.quiet || w.result != Committed {
			r.settler.add(settlement{w.settle, w.result, w.err})
		}
		n++
	}
	g.waiting.drop(n)
}

// abandonLocked refuses what is not committed.
func (g *reign) abandonLocked(s *settler) {
	for _, w := range g.waiting.all() {
		s.add(settlement{w.settle, NotLeading, fmt.Errorf("%w: %v", ErrNotLeading, g.term)})
	}
	g.waiting.drop(g.waiting.len())
}
