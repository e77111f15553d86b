package cachesync

import (
	"fmt"
	"sync"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// groupBytes bounds what one write to the store carries; a single change may be larger.
const groupBytes = 8 << 20

// journal carries the table's changes to the store, in order, in a goroutine of its own. While one write is under
// way the next ones gather, so that one fsync is enough for all that wait. Without a store nothing is carried and
// everything counts as written.
type journal struct {
	store Store
	wake  chan struct{}
	ended chan struct{} // closed when run has returned

	// What follows is guarded by Replicator.mu.

	queue []journalItem
	bytes int
	// queued and written count the items; a ticket is the number of the last item that somebody waits for.
	queued, written uint64
	// durable is the position up to which the table is in the store.
	durable  ledger.Position
	moved    *sync.Cond // on Replicator.mu: written has grown, or the journal has ended
	stopping bool
	failed   error
}

// journalItem is one of a change, a new table, a promise.
type journalItem struct {
	change  ledger.Change
	table   *ledger.Snapshot
	promise *Promise
}

func newJournal(store Store, mu *sync.Mutex) *journal {
	return &journal{store: store, wake: make(chan struct{}, 1), ended: make(chan struct{}), moved: sync.NewCond(mu)}
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
	j.wakeUp()
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
	j.addLocked(journalItem{change: change})
}

// replacedLocked follows a table that has taken the place of another one.
func (j *journal) replacedLocked(table *ledger.Table) {
	if j.store == nil {
		return
	}
	j.addLocked(journalItem{table: table.Snapshot()})
}

func (j *journal) promisedLocked(promise Promise) {
	if j.store == nil {
		return
	}
	j.addLocked(journalItem{promise: &promise})
}

// awaitLocked waits until everything up to a ticket is in the store.
func (j *journal) awaitLocked(ticket uint64) error {
	for j.written < ticket && j.failed == nil {
		j.moved.Wait()
	}
	if j.written >= ticket {
		return nil
	}
	return j.failed
}

// stopLocked lets run return when everything is written.
func (j *journal) stopLocked() {
	j.stopping = true
	j.wakeUp()
}

// run writes until stop, and then what is left. written is called with the lock held after each write.
func (j *journal) run(mu *sync.Mutex, written func()) {
	defer close(j.ended)
	var queue []journalItem
	for {
		mu.Lock()
		done := len(j.queue) == 0 && j.stopping
		queue, j.queue = j.queue, queue[:0]
		mu.Unlock()
		if done {
			j.end(mu, ErrClosed)
			return
		}
		if len(queue) == 0 {
			<-j.wake
			continue
		}
		for rest := queue; len(rest) > 0; {
			n, err := j.write(rest)
			if err != nil {
				j.end(mu, fmt.Errorf("the mirror's store has failed: %w", err))
				return
			}
			mu.Lock()
			j.writtenLocked(rest[:n])
			written()
			mu.Unlock()
			rest = rest[n:]
		}
		clear(queue)
	}
}

// end wakes everybody who waits for what will not be written any more.
func (j *journal) end(mu *sync.Mutex, err error) {
	mu.Lock()
	defer mu.Unlock()
	j.failed = err
	j.moved.Broadcast()
}

// write brings the first items into the store and returns how many.
func (j *journal) write(items []journalItem) (int, error) {
	switch first := items[0]; {
	case first.table != nil:
		return 1, j.store.Replace(first.table)
	case first.promise != nil:
		return 1, j.store.Keep(*first.promise)
	}
	changes, size := make([]ledger.Change, 0, len(items)), 0
	for i := range items {
		if items[i].table != nil || items[i].promise != nil {
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
		case item.promise == nil:
			j.durable = item.change.Position
			j.bytes -= item.change.Size()
		}
	}
	j.written += uint64(len(items))
	j.moved.Broadcast()
}
