package ledger

import "slices"

// window remembers finished ids, first in first out, bounded by number and by age. The age is measured by
// the times of the operations, so that every replica forgets the same ids at the same position. A writer
// whose clock is far ahead empties the window: time can only be as good as the clocks.
type window struct {
	limits Limits
	ids    map[string]int64 // id -> time of its Done
	// order[head:] are the ids of the map, oldest first. Snapshots share the array: it is appended to, and
	// replaced when it is worth compacting, but never overwritten.
	order []Finished
	head  int
}

func newWindow(limits Limits) window {
	return window{limits: limits, ids: make(map[string]int64)}
}

// contains reports whether the id was finished, and not too long before now.
func (w *window) contains(messageID string, nowMilli int64) bool {
	finished, found := w.ids[messageID]
	return found && !w.expired(finished, nowMilli)
}

func (w *window) expired(finishedMilli, nowMilli int64) bool {
	return nowMilli-finishedMilli > w.limits.DedupeTime.Milliseconds()
}

// prune forgets what is too old at a time.
func (w *window) prune(nowMilli int64) {
	for w.head < len(w.order) && w.expired(w.order[w.head].UnixMilli, nowMilli) {
		w.forgetOldest()
	}
	w.compact()
}

// add remembers an id. One that is remembered already stays where it is; it can only be seen again by a
// replica with a longer window than the writer's.
func (w *window) add(f Finished) {
	if _, found := w.ids[f.MessageID]; found {
		return
	}
	w.ids[f.MessageID] = f.UnixMilli
	w.order = append(w.order, f)
	for len(w.order)-w.head > max(w.limits.DedupeCount, 0) {
		w.forgetOldest()
	}
	w.compact()
}

func (w *window) forgetOldest() {
	delete(w.ids, w.order[w.head].MessageID)
	w.head++
}

// compact gives the forgotten ids back to the collector, seldom enough to cost nothing per operation.
func (w *window) compact() {
	if w.head >= 1024 && w.head > len(w.order)/2 {
		w.order, w.head = slices.Clone(w.order[w.head:]), 0
	}
}

// remembered returns the ids, oldest first. The slice stays as it is whatever happens to the window.
func (w *window) remembered() []Finished {
	return w.order[w.head:len(w.order):len(w.order)]
}
