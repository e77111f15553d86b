package tcp

import (
	"sync"
	"time"
)

// outbox is what waits for one node. It never blocks who puts something in: the oldest makes room.
type outbox struct {
	stale time.Duration
	// ready holds a token when there is something, or has been.
	ready chan struct{}

	mu      sync.Mutex // guards the rest
	waiting []entry
	bytes   int
	dropped uint64
}

type entry struct {
	datagram []byte // shared with the outboxes of other nodes, never changed
	at       time.Time
}

func newOutbox(stale time.Duration) *outbox {
	return &outbox{stale: stale, ready: make(chan struct{}, 1)}
}

// push puts a datagram in, and keeps it.
func (o *outbox) push(datagram []byte) {
	o.mu.Lock()
	for len(o.waiting) > 0 && (len(o.waiting) >= outboxDatagrams || o.bytes+len(datagram) > outboxBytes) {
		o.removeLocked()
		o.dropped++
	}
	o.waiting = append(o.waiting, entry{datagram, time.Now()})
	o.bytes += len(datagram)
	o.mu.Unlock()
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// pop takes the oldest that is not stale.
func (o *outbox) pop() (datagram []byte, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.waiting) > 0 {
		first := o.removeLocked()
		if time.Since(first.at) <= o.stale {
			return first.datagram, true
		}
		o.dropped++
	}
	return nil, false
}

// removeLocked takes the oldest out. The slice moves through its array and is laid out anew when that ends, so that a
// datagram costs no allocation of its own in the long run.
func (o *outbox) removeLocked() entry {
	first := o.waiting[0]
	o.waiting[0] = entry{}
	o.waiting = o.waiting[1:]
	o.bytes -= len(first.datagram)
	return first
}

// droppedSoFar counts what was never sent.
func (o *outbox) droppedSoFar() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dropped
}
