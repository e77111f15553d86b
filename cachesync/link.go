package cachesync

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

const (
	// window is the number of messages under way to a standby. Entries gather while it is full, so one message
	// at a time makes the largest batches. On loopback with many writers its median was a little lower than
	// with two; a line with a long round trip may want more.
	window = 1
	// patiencePerMiB is added to the lag timeout for what is under way, so that a large message on a slow line
	// is no silence.
	patiencePerMiB = 250 * time.Millisecond

	redialFirst = 50 * time.Millisecond
	redialLast  = time.Second
)

var (
	errSilent   = errors.New("silent for longer than cachesync.lag.timeout")
	errNoAnswer = errors.New("does not answer")
	errReignEnd = errors.New("this node does not lead any more")
	errBadAck   = errors.New("acknowledges what was never sent")
)

// link is the line from the master to one standby. It dials, sends what the standby lacks, and dials again
// when that fails, as long as the reign lasts and the peer is known.
type link struct {
	r     *Replicator
	reign *reign
	peer  string
	// wake is signalled when there may be something to send.
	wake chan struct{}
	// answer gets the position of the first answer, and is closed if the first attempt fails.
	answer chan ledger.Position
	// tried is closed when the peer is in sync for the first time, or when the first attempt has failed.
	tried     chan struct{}
	triedOnce sync.Once
	asked     bool // the first attempt is over; only run uses it
	complaint string

	// The rest is guarded by Replicator.mu and begins anew with each stream.

	stream *lane // nil while the peer is not connected
	// floor is the index up to which the standby needs nothing more, next the one to be sent next.
	floor, next uint64
	snapshot    *ledger.Snapshot // still to be sent
	// holding: commits wait for it. member: it also has all that is committed, and is told so.
	holding, member bool
	tell            bool // it does not know yet that it is a member
	acknowledged    ledger.Position
	underway        fifo[int] // sizes of the messages that are not answered yet
	underwayBytes   int
	// since is when the master began to wait for the oldest of them.
	since time.Time
}

// lane is one stream of a link.
type lane struct {
	cancel context.CancelCauseFunc
	// farewell: the standby is out of the set and is told so before the stream ends.
	farewell bool
}

func newLink(r *Replicator, g *reign, peer string) *link {
	return &link{
		r: r, reign: g, peer: peer,
		wake:   make(chan struct{}, 1),
		answer: make(chan ledger.Position, 1),
		tried:  make(chan struct{}),
	}
}

func (k *link) wakeUp() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *link) settleTried() { k.triedOnce.Do(func() { close(k.tried) }) }

// run is the link's goroutine.
func (k *link) run() {
	defer k.settleTried()
	pause := redialFirst
	for {
		started := time.Now()
		err := k.once()
		if !k.asked {
			k.asked = true
			close(k.answer)
			if errors.Is(err, errNoAnswer) {
				k.r.log.Warn("mirror: a peer does not answer, the term is sealed without it", "peer", k.peer, "waited", k.r.config.SealTimeout)
			}
		}
		k.settleTried()
		if k.reign.ctx.Err() != nil || !k.report(err) {
			return
		}
		if time.Since(started) > redialLast {
			pause = redialFirst
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-k.reign.ctx.Done():
			timer.Stop()
			return
		}
		pause = min(2*pause, redialLast)
	}
}

// report says once what is wrong, and returns whether to try again: not if the peer is gone for good.
func (k *link) report(err error) bool {
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Term.IsZero() && k.complaint != refused.Reason {
		k.complaint = refused.Reason
		k.r.log.Warn("mirror: a peer does not want to follow", "peer", k.peer, "reason", refused.Reason)
	}
	// Looked at with the lock, so that a peer that comes back now either keeps this link or is given a new one.
	k.r.mu.Lock()
	defer k.r.mu.Unlock()
	for _, peer := range k.r.peers.Known() {
		if peer.ID == k.peer {
			return true
		}
	}
	delete(k.reign.links, k.peer)
	return false
}

// once dials and replicates until the stream breaks.
func (k *link) once() error {
	ctx, cancel := context.WithCancelCause(k.reign.ctx)
	defer cancel(nil)
	patience := k.r.config.LagTimeout
	if !k.asked {
		patience = k.r.config.SealTimeout
	}
	timer := time.AfterFunc(patience, func() { cancel(errNoAnswer) })
	stream, position, err := k.r.peers.Replicate(ctx, k.peer, Hello{Node: k.r.config.NodeID, Term: k.reign.term})
	if !timer.Stop() {
		return errNoAnswer
	}
	if err != nil {
		k.refused(err)
		return err
	}
	if !k.asked {
		k.asked = true
		k.answer <- position
	}
	select {
	case <-k.reign.opened:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return k.replicate(ctx, cancel, stream, position)
}

// refused ends the reign if the peer knows a higher term.
func (k *link) refused(err error) {
	var refused *RefusedError
	if errors.As(err, &refused) {
		k.r.mu.Lock()
		k.r.refusedLocked(k.reign, refused.Term, k.peer)
		k.r.mu.Unlock()
	}
}

// enrolLocked decides what the standby needs. From now on the log is kept for it.
func (k *link) enrolLocked(position ledger.Position) {
	g := k.reign
	k.stream = &lane{}
	k.holding, k.member, k.tell, k.acknowledged = false, false, false, position
	k.underway, k.underwayBytes, k.since = fifo[int]{}, 0, time.Time{}
	k.snapshot = nil
	onOurLog := position == g.positionAt(position.Index) && position.Index <= g.log.last()
	if onOurLog && position.Index >= g.log.before {
		k.floor = position.Index
	} else {
		if g.base.Less(position) && position.Term != g.term {
			k.r.log.Warn("mirror: a standby came too late for the seal with a later position than it; what only that standby held is dropped",
				"peer", k.peer, "position", position.String(), "sealed", g.base.String())
		}
		k.snapshot = k.r.table.Snapshot()
		k.floor = k.snapshot.Position().Index
	}
	k.next = k.floor + 1
}

// replicate feeds one stream until it breaks, and returns why.
func (k *link) replicate(ctx context.Context, cancel context.CancelCauseFunc, stream Stream, position ledger.Position) error {
	k.r.mu.Lock()
	if k.r.reign != k.reign {
		k.r.mu.Unlock()
		return errReignEnd
	}
	if k.stream == nil {
		k.enrolLocked(position)
	}
	k.stream.cancel = cancel
	snapshot := k.snapshot
	k.snapshot = nil
	k.r.mu.Unlock()

	var receiving sync.WaitGroup
	receiving.Go(func() { cancel(k.receive(stream)) })
	if err := k.send(ctx, stream, snapshot); !errors.Is(err, io.EOF) {
		cancel(err)
	}
	// After an EOF the receiving half knows why, and ends by itself.
	receiving.Wait()
	cause := context.Cause(ctx)
	k.refused(cause)
	k.detach(cause)
	return cause
}

// detach takes the standby out of everything that waits for it.
func (k *link) detach(cause error) {
	k.r.mu.Lock()
	defer k.r.mu.Unlock()
	k.leaveLocked(cause)
	k.stream = nil
	if k.r.reign == k.reign {
		k.reign.advanceLocked(k.r)
	}
}

// leaveLocked takes the standby out of the in-sync set.
func (k *link) leaveLocked(cause error) {
	counted, member := k.holding, k.member
	k.holding, k.member, k.tell = false, false, false
	if k.r.reign != k.reign || !counted {
		return
	}
	if member {
		k.r.log.Warn("mirror: a standby is out of sync, going on without it", "peer", k.peer, "reason", cause)
	}
	k.reign.advanceLocked(k.r)
	k.r.warnIfAloneLocked(k.reign)
	k.r.publishLocked()
}

// expelLocked ends a stream whose standby is silent. What waits for it goes on at once; the standby is told
// if the line still carries anything.
func (k *link) expelLocked() {
	lane := k.stream
	if lane == nil || lane.farewell || lane.cancel == nil {
		return
	}
	k.leaveLocked(errSilent)
	lane.farewell = true
	k.wakeUp()
	time.AfterFunc(k.r.config.LagTimeout/4, func() { lane.cancel(errSilent) })
}

// patienceLocked returns how long the master still waits for an acknowledgement, if it waits for one.
func (k *link) patienceLocked(now time.Time) (time.Duration, bool) {
	if k.stream == nil || k.stream.farewell || k.underway.len() == 0 {
		return 0, false
	}
	patience := k.r.config.LagTimeout + time.Duration(k.underwayBytes>>20)*patiencePerMiB
	return k.since.Add(patience).Sub(now), true
}
