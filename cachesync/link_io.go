package cachesync

import (
	"context"
	"time"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// send is the sending half of a stream: the snapshot if there is one, then batches, signs of life between.
func (k *link) send(ctx context.Context, stream Stream, snapshot *ledger.Snapshot) error {
	if snapshot != nil {
		for chunk := range snapshot.Chunks(k.r.config.MessageBytes) {
			if err := k.awaitWindow(ctx, chunk.Size()); err != nil {
				return err
			}
			if err := stream.SendChunk(&chunk); err != nil {
				return err
			}
		}
	}
	life := time.NewTicker(k.r.config.LagTimeout / 4)
	defer life.Stop()
	var batch Batch
	quiet := true // nothing was sent since the last tick
	for due := false; ; {
		send, farewell := k.nextBatch(&batch, due)
		if farewell {
			// The standby may be deaf; its stream ends anyway.
			_ = stream.SendBatch(&Batch{})
			return errSilent
		}
		if send {
			due, quiet = false, false
			err := stream.SendBatch(&batch)
			clear(batch.Entries)
			if err != nil {
				return err
			}
			continue
		}
		select {
		case <-k.wake:
		case <-life.C:
			due, quiet = quiet, true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// awaitWindow waits for room in the window and books a message of that size.
func (k *link) awaitWindow(ctx context.Context, size int) error {
	for {
		k.r.mu.Lock()
		room := k.underway.len() < window
		if room {
			k.bookLocked(size)
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

func (k *link) bookLocked(size int) {
	if k.underway.len() == 0 {
		k.since = time.Now()
	}
	k.underway.push(size)
	k.underwayBytes += size
}

// nextBatch fills the batch with what the standby lacks, and reports whether to send it. With life it is
// sent even if there is nothing in it.
func (k *link) nextBatch(b *Batch, life bool) (send, farewell bool) {
	k.r.mu.Lock()
	defer k.r.mu.Unlock()
	g := k.reign
	if k.stream.farewell {
		return false, true
	}
	if k.r.reign != g || k.underway.len() >= window {
		return false, false
	}
	if k.next > g.log.last() && !k.tell && !life {
		return false, false
	}
	var size int
	b.Entries, size = g.log.take(b.Entries[:0], k.next-1, k.r.config.MessageBytes)
	k.next += uint64(len(b.Entries))
	b.Member, b.Committed, k.tell = k.member, ledger.Position{}, false
	if k.member {
		b.Committed = g.positionAt(g.committed)
	}
	k.bookLocked(size)
	return true, false
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

// acknowledge books the answer to the oldest message under way.
func (k *link) acknowledge(position ledger.Position) error {
	k.r.mu.Lock()
	defer k.r.mu.Unlock()
	g := k.reign
	if k.r.reign != g {
		return errReignEnd
	}
	ours := position.Term == g.term
	if k.underway.len() == 0 || ours && position.Index >= k.next {
		return errBadAck
	}
	k.underwayBytes -= k.underway.all()[0]
	k.underway.drop(1)
	k.since = time.Now()
	k.acknowledged = position
	k.wakeUp()
	if !ours || position.Index < k.floor || k.stream.farewell {
		return nil // a sign of life: still within its snapshot, or out of the set already
	}
	k.floor = position.Index
	if !k.holding && k.nearlyCaughtUpLocked() {
		// From here on commits wait for it, so that what it lacks can only shrink.
		k.holding = true
	}
	g.advanceLocked(k.r)
	if k.holding && !k.member && (k.floor >= g.committed || k.r.config.Mode == Async) {
		k.member, k.tell, g.alone = true, true, false
		k.r.log.Info("mirror: a standby is in sync", "peer", k.peer, "position", position.String())
		k.settleTried()
		k.r.publishLocked()
	}
	return nil
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
