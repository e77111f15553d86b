package cachesync

import (
	"fmt"
	"sync"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// groupBytes bounds what one write to the store carries; a single change may be larger.
const groupBytes = 8 << 20

// partBytes bounds the parts of a table that is replaced.
const partBytes = 1 << 20

// journal carries the table's changes to the store, in order, one write at a time. While one write is under
// way the next ones gather, so that one fsync is enough for all that wait. Without a store nothing is carried and
// everything counts as written.
type journal struct {
	store Store
	wake  chan struct{}
	ended chan struct{} // closed when run has returned

	// What follows is guarded by Replicator.mu.

	mu    *sync.Mutex
	told  func() // called after each write
	queue []journalItem
	spare []journalItem // the memory of the last batch
	bytes int
	// writing: somebody writes to the store. running: that is run, which calls after when it is done.
	writing, running bool
	// due: what has gathered is to be written.
	due bool
	// queued and written count the items; a ticket is the number of the last item that somebody waits for.
	queued, written uint64
	// durable is the position up to which the table is in the store.
	durable  ledger.Position
	moved    *sync.Cond // on Replicator.mu: written has grown, or the journal has ended
	stopping bool
	failed   error
}

// journalItem is one of a change, a new table, a part of a new table, a promise.
type journalItem struct {
	change  ledger.Change
	table   *ledger.Snapshot
	part    *ledger.Chunk
	promise *Promise
}

func (i *journalItem) isChange() bool { return i.table == nil && i.part == nil && i.promise == nil }

func newJournal(store Store, mu *sync.Mutex, told func()) *journal {
	return &journal{store: store, mu: mu, told: told, wake: make(chan struct{}, 1), ended: make(chan struct{}), moved: sync.NewCond(mu)}
}

// full says why nothing can be written, or nil.
func (j *journal) full() error {
	if j.store == nil {
		return nil
	}
	return j.store.Full()
}

func (j *journal) addLocked(item journalItem) {
	j.queue = append(j.queue, item)
	j.queued++
}

// goLocked has what has gathered written now.
func (j *journal) goLocked() {
	if j.store != nil {
		j.due = true
		j.wakeUp()
	}
}

func (j *journal) wakeUp() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// changedLocked follows an operation that the table has just applied.
func (j *journal) changedLocked(table *ledger.Table, op *ledger.Op) {
	if j.store == nil {
		return
	}
	change := table.Changed(op)
	j.bytes += change.Size()
	j.addLocked(journalItem{change: change}) // whoever has made the change says when it is to be written
}

// replacedLocked follows a table that has taken the place of another one.
func (j *journal) replacedLocked(table *ledger.Table) {
	if j.store == nil {
		return
	}
	j.addLocked(journalItem{table: table.Snapshot()})
	j.goLocked()
}

// partLocked follows a table that comes in parts, so that a large one is on disk soon after its last part.
func (j *journal) partLocked(part *ledger.Chunk) {
	if j.store == nil {
		return
	}
	j.addLocked(journalItem{part: part})
	j.goLocked()
}

func (j *journal) promisedLocked(promise Promise) {
	if j.store == nil {
		return
	}
	j.addLocked(journalItem{promise: &promise})
	j.goLocked()
}

// awaitLocked waits until everything up to a ticket is in the store. If nobody writes, the caller does: that spares two
// switches between goroutines.
func (j *journal) awaitLocked(ticket uint64) error {
	for j.written < ticket && j.failed == nil {
		if j.writing {
			j.moved.Wait()
		} else {
			j.writeLocked(ticket)
		}
	}
	if j.written >= ticket {
		return nil
	}
	return j.failed
}

// writeLocked writes what has gathered up to a ticket, with the lock released meanwhile.
func (j *journal) writeLocked(ticket uint64) {
	j.writing = true
	for j.written < ticket && j.failed == nil {
		batch := j.queue
		j.queue, j.spare = j.spare[:0], nil
		for rest := batch; len(rest) > 0 && j.failed == nil; {
			j.mu.Unlock()
			n, err := j.write(rest)
			j.mu.Lock()
			if err != nil {
				j.failLocked(fmt.Errorf("the mirror's store has failed: %w", err))
				break
			}
			j.writtenLocked(rest[:n])
			j.told()
			rest = rest[n:]
		}
		clear(batch)
		j.spare = batch[:0]
	}
	j.writing = false
	j.moved.Broadcast()
}

// stopLocked lets run return when everything is written.
func (j *journal) stopLocked() {
	j.stopping = true
	j.goLocked()
}

// run writes what nobody waits for, until stop, and then what is left. after is called without the lock when something
// was written.
func (j *journal) run(after func()) {
	defer close(j.ended)
	for {
		j.mu.Lock()
		for j.writing && j.failed == nil {
			j.moved.Wait() // whoever writes may leave something
		}
		if j.due {
			j.due, j.running = false, true
			j.writeLocked(j.queued)
			j.running = false
		}
		done := j.failed != nil || j.stopping && j.written == j.queued
		if done {
			j.failLocked(ErrClosed)
		}
		j.mu.Unlock()
		after()
		if done {
			return
		}
		<-j.wake
	}
}

// failLocked wakes everybody who waits for what will not be written any more. The first reason stays.
func (j *journal) failLocked(err error) {
	if j.failed == nil {
		j.failed = err
	}
	j.moved.Broadcast()
	j.wakeUp()
}

// write brings the first items into the store and returns how many.
func (j *journal) write(items []journalItem) (int, error) {
	switch first := items[0]; {
	case first.table != nil:
		for part := range first.table.Chunks(partBytes) {
			if err := j.store.Replace(&part); err != nil {
				return 0, err
			}
		}
		return 1, nil
	case first.part != nil:
		return 1, j.store.Replace(first.part)
	case first.promise != nil:
		return 1, j.store.Keep(*first.promise)
	}
	changes, size := make([]ledger.Change, 0, len(items)), 0
	for i := range items {
		if !items[i].isChange() {
			break
		}
		n := items[i].change.Size()
		if size > 0 && size+n > groupBytes {
			break
		}
		changes, size = append(changes, items[i].change), size+n
	}
	return len(changes), j.store.Append(changes)
}

func (j *journal) writtenLocked(items []journalItem) {
	for i := range items {
		switch item := &items[i]; {
		case item.table != nil:
			j.durable = item.table.Position()
		case item.part != nil && item.part.Last:
			j.durable = item.part.Position
		case item.isChange():
			j.durable = item.change.Position
			j.bytes -= item.change.Size()
		}
	}
	j.written += uint64(len(items))
}
