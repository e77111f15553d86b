package cachesync

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// send is the sending half of a stream: what the in-sync set is, the snapshot if there is one, then batches, signs of
// life between.
func (k *link) send(ctx context.Context, stream Stream, position ledger.Position) error {
	var batch Batch
	if err := k.sendFirst(stream, &batch); err != nil {
		return err
	}
	if err := k.adopt(ctx, stream, &batch, position); err != nil {
		return err
	}
	if err := k.sendSnapshot(ctx, stream); err != nil {
		return err
	}
	return k.feed(ctx)
}

// feed keeps a stream going until it ends. Batches are sent by whoever makes or finds something to send, so that
// nobody has to be woken for that; this goroutine sends signs of life, and what others leave to it.
func (k *link) feed(ctx context.Context) error {
	r := k.r
	// The standby hears at least every quarter of the lag timeout.
	pulse := r.config.LagTimeout / 8
	life := time.NewTicker(pulse)
	defer life.Stop()
	r.mu.Lock()
	lane := k.stream
	lane.ready = true
	r.mu.Unlock()
	for due := false; ; {
		r.mu.Lock()
		if lane.farewell && !lane.sending {
			lane.sending = true
			k.fillLocked(&lane.batch)
			r.mu.Unlock()
			// The standby may be deaf; its stream ends anyway.
			_ = lane.out.SendBatch(&lane.batch)
			return errSilent
		}
		k.pumpLocked(due && time.Since(k.sentAt) >= pulse, math.MaxInt)
		r.mu.Unlock()
		select {
		case <-k.wake:
			due = false
		case <-life.C:
			due = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// pumpLocked sends what the standby lacks while there is room in the window, with the lock released meanwhile. It
// does nothing if somebody else is at it, who then finds what is new. More than limit bytes are left to the link's
// own goroutine, because the line may not take them at once. With life it sends a batch even if there is nothing in
// it.
func (k *link) pumpLocked(life bool, limit int) {
	lane := k.stream
	if lane == nil || !lane.ready || lane.sending {
		return
	}
	lane.sending = true
	for k.readyLocked(life) {
		if k.reign.log.bytes > limit {
			k.wakeUp()
			break
		}
		life = false
		k.fillLocked(&lane.batch)
		k.bookLocked(k.takeLocked(&lane.batch), &lane.batch)
		k.r.journal.goLocked() // what the standby writes now is written here at the same time
		k.r.mu.Unlock()
		err := lane.out.SendBatch(&lane.batch)
		clear(lane.batch.Entries)
		k.r.mu.Lock()
		if err != nil {
			if !errors.Is(err, io.EOF) { // then the receiving half knows why
				lane.cancel(err)
			}
			break
		}
	}
	lane.sending = false
	if lane.farewell {
		k.wakeUp()
	}
}

// readyLocked reports whether there is something to send, and room for it.
func (k *link) readyLocked(life bool) bool {
	g := k.reign
	if k.r.reign != g || k.stream == nil || k.stream.farewell || k.underway.len() >= window {
		return false
	}
	return k.next <= g.log.last() || k.tell || k.setDueLocked() || life
}

// sendFirst tells a standby whether it is in the in-sync set: before that it cannot rely on what another master has told
// it. What it lacks goes with it, if that is no snapshot.
func (k *link) sendFirst(stream Stream, batch *Batch) error {
	k.r.mu.Lock()
	k.fillLocked(batch)
	size := 0
	if k.snapshot == nil {
		size = k.takeLocked(batch)
	}
	k.bookLocked(size, batch)
	k.r.mu.Unlock()
	err := stream.SendBatch(batch)
	clear(batch.Entries)
	return err
}

// sendSnapshot sends the snapshot if there is one.
func (k *link) sendSnapshot(ctx context.Context, stream Stream) error {
	k.r.mu.Lock()
	snapshot := k.snapshot
	k.snapshot = nil
	k.r.mu.Unlock()
	if snapshot == nil {
		return nil
	}
	for chunk := range snapshot.Chunks(k.r.config.MessageBytes) {
		if err := k.awaitWindow(ctx, chunk.Size()); err != nil {
			return err
		}
		if err := stream.SendChunk(&chunk); err != nil {
			return err
		}
	}
	return nil
}

// awaitWindow waits for room in the window and books a message of that size.
func (k *link) awaitWindow(ctx context.Context, size int) error {
	for {
		k.r.mu.Lock()
		room := k.underway.len() < window
		if room {
			k.bookLocked(size, nil)
		}
		k.r.mu.Unlock()
		if room {
			return nil
		}
		select {
		case <-k.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// bookLocked notes a message that is about to be sent.
func (k *link) bookLocked(size int, batch *Batch) {
	m := message{bytes: size}
	if batch != nil && batch.Record != nil {
		m.record, m.out = batch.Record.Version, !batch.Record.Has(k.peer)
		if !m.out {
			k.believes, k.knows = true, append(k.knows, *batch.Record)
		}
	}
	k.sentAt = time.Now()
	if k.underway.len() == 0 {
		k.quietFrom = k.sentAt
	}
	k.underway.push(m)
	k.underwayBytes += size
}

// fillLocked sets everything of a batch but the entries.
func (k *link) fillLocked(b *Batch) {
	g := k.reign
	b.Entries, b.Member, b.Committed, b.Record = b.Entries[:0], k.member && !k.behind, ledger.Position{}, nil
	k.tell = false
	if b.Member {
		b.Committed = g.positionAt(g.committed)
	}
	if k.setDueLocked() {
		record := g.proposed
		b.Record, k.told = &record, record.Version
	}
}

// setDueLocked reports whether the standby is to be told of another in-sync set. Who has come back with less than it
// had is not told that it is in one: it will be left out as soon as that can be. Who joins is told last: it could take
// over by that set, and the others must not go by the one before then.
func (k *link) setDueLocked() bool {
	proposed := &k.reign.proposed
	if k.told >= proposed.Version || k.behind && proposed.Has(k.peer) {
		return false
	}
	return k.member || !proposed.Has(k.peer) || k.reign.membersKnowLocked(time.Now())
}

// takeLocked puts the next entries into the batch and returns their size.
func (k *link) takeLocked(b *Batch) int {
	var size int
	b.Entries, size = k.reign.log.take(b.Entries, k.next-1, k.r.config.MessageBytes)
	k.next += uint64(len(b.Entries))
	return size
}

// receive is the receiving half of a stream.
func (k *link) receive(stream Stream) error {
	for {
		position, err := stream.ReceiveAck()
		if err != nil {
			return err
		}
		if err := k.acknowledge(position); err != nil {
			return err
		}
	}
}

// pumpLimit is how much others than a link's own goroutine send at a time. It fits into gRPC's window, so that they
// do not wait for the line.
const pumpLimit = 1 << 20

// acknowledge books the answer to the oldest message under way, sends the next one and settles what is committed.
func (k *link) acknowledge(position ledger.Position) error {
	r := k.r
	r.mu.Lock()
	r.settler.hold()
	err := k.acknowledgeLocked(position)
	r.settler.unhold()
	if err == nil {
		k.pumpLocked(false, pumpLimit)
	}
	r.mu.Unlock()
	r.settler.help()
	return err
}

func (k *link) acknowledgeLocked(position ledger.Position) error {
	g := k.reign
	if k.r.reign != g {
		return errReignEnd
	}
	ours := position.Term == g.term
	if k.underway.len() == 0 || ours && position.Index >= k.next {
		return errBadAck
	}
	answered := k.underway.all()[0]
	k.underwayBytes -= answered.bytes
	k.underway.drop(1)
	now := time.Now()
	if k.quietFrom = (time.Time{}); k.underway.len() > 0 {
		k.quietFrom = now
	}
	k.acknowledged = position
	k.answeredLocked(now)
	if !k.stream.ready {
		k.wakeUp() // for who sends a snapshot
	}
	review := answered.record > k.recorded
	if review {
		k.recorded, k.informs = answered.record, now
		if life := wordLife(k.r.config); !k.steadyLocked(now.Add(-life)) {
			k.informs = now.Add(life) // what it has said before is void by then
		}
	}
	if answered.record > 0 {
		k.knows = slices.DeleteFunc(k.knows, func(r Record) bool { return r.Term != g.term || r.Version < answered.record })
	}
	if answered.out && answered.record == k.told {
		k.believes = false
	}
	if ours && position.Index >= k.floor && !k.stream.farewell {
		k.floor, k.has, k.behind = position.Index, position.Index, false
		if !k.holding && k.nearlyCaughtUpLocked() {
			// From here on commits wait for it, so that what it lacks can only shrink.
			k.holding, review = true, true
		}
		review = review || !g.proposed.Has(k.peer)
		g.advanceLocked(k.r)
		k.inSyncLocked()
	}
	if review {
		k.r.reviewLocked(g)
		for _, other := range g.links {
			other.wakeUp() // who joins may be told now
		}
	}
	return nil
}

// answeredLocked notes an acknowledgement. A standby counts a message as heard when it answered the one before, and that
// one was sent after the acknowledgement before that: so it hears the master all the time if any four acknowledgements
// in a row come within the lag timeout.
func (k *link) answeredLocked(now time.Time) {
	if k.acks > 0 && now.Sub(k.lastAck) > k.r.config.LagTimeout/3 {
		k.steadyFrom, k.acks = time.Time{}, 0
	}
	k.lastAck = now
	if k.acks++; k.acks == 3 {
		k.steadyFrom = now
	}
}

// steadyLocked reports whether the standby has heard the master all the time since then, up to its last acknowledgement.
func (k *link) steadyLocked(since time.Time) bool {
	return !k.steadyFrom.IsZero() && !k.steadyFrom.After(since)
}

// nearlyCaughtUpLocked: what the standby lacks fits into one batch.
func (k *link) nearlyCaughtUpLocked() bool {
	size := 0
	missing := k.reign.log.entries.all()[k.floor-k.reign.log.before:]
	for i := range missing {
		if size += missing[i].Size(); size > k.r.config.MessageBytes {
			return false
		}
	}
	return true
}
