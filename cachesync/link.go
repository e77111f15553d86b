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
	errBehind   = errors.New("it came back with less than it had")
)

// link is the line from the master to one standby. It dials, sends what the standby lacks, and dials again
// when that fails, as long as the reign lasts and the peer is known or commits wait for it.
type link struct {
	r     *Replicator
	reign *reign
	peer  string
	// wake is signalled when there may be something to send.
	wake chan struct{}
	// answer gets the first answer, and is closed if the first attempt fails.
	answer chan Answer
	// tried is closed when the peer is in sync for the first time, or when the first attempt has failed.
	tried     chan struct{}
	triedOnce sync.Once
	asked     bool // the first attempt is over; only run uses it
	complaint string

	// The rest is guarded by Replicator.mu. First what outlives a stream:

	// Commits wait for it if any of these holds. holding: it is about to join. member: it is in the effective in-sync
	// set. believes: it may have heard of a set that it is in, and not yet of one that it is not in.
	holding, member, believes bool
	// knows are the sets that it may go by: the last one that it has acknowledged and was in, and those sent since.
	knows []Record
	// has is the index up to which the standby has acknowledged this reign's log.
	has uint64
	// gone: its process has ended. behind: it has come back with less than it had.
	gone, behind bool
	// quietFrom is since when the master waits for a sign of life; zero if it does not.
	quietFrom time.Time
	// steadyFrom is since when it has certainly heard the master all the time; zero if it may not have. acks counts
	// towards that.
	steadyFrom, lastAck time.Time
	acks                int
	// recorded is the version of the last in-sync set that it has acknowledged. From informs on whoever trusts its word has
	// been told of that set, or that it hears the master.
	recorded     uint64
	informs      time.Time
	acknowledged ledger.Position

	// And what begins anew with each one.

	stream *lane // nil while the peer is not connected
	// floor is the index after which the log is kept for it, next the one to be sent next.
	floor, next uint64
	snapshot    *ledger.Snapshot // still to be sent
	// foreign: it holds something on a log of its own, which is taken before the snapshot is. Until then no log is kept
	// for it: what is taken may be more than the backlog.
	foreign  bool
	tell     bool          // it does not know yet that it is a member
	told     uint64        // version of the last in-sync set that was sent
	underway fifo[message] // what is not answered yet
	// underwayBytes is the size of all of it.
	underwayBytes int
	sentAt        time.Time // when the last one was sent
}

// message is one that is under way.
type message struct {
	bytes  int
	record uint64 // version of the in-sync set in it, or 0
	out    bool   // and the standby is not in that
}

// lane is one stream of a link.
type lane struct {
	cancel context.CancelCauseFunc
	out    Stream
	// ready: everything but batches has been sent. sending: somebody sends, with batch in hand.
	ready, sending bool
	batch          Batch
	// farewell: the stream ends because the standby is silent; it is told that the master goes on if the line still
	// carries anything.
	farewell bool
}

func newLink(r *Replicator, g *reign, peer string) *link {
	return &link{
		r: r, reign: g, peer: peer,
		wake:   make(chan struct{}, 1),
		answer: make(chan Answer, 1),
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
	pause, hurried := redialFirst, false
	for {
		connected, err := k.once()
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
		if connected {
			pause = redialFirst
		}
		if connected && !hurried {
			// Dialled again at once, a process that has ended is known as such.
			hurried = true
			continue
		}
		if hurried = false; !sleep(k.reign.ctx, pause) {
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
	if errors.Is(err, ErrGone) {
		k.gone, k.holding = true, false
		k.r.reviewLocked(k.reign)
	}
	if k.reign.countsLocked(k) {
		return true
	}
	for _, peer := range k.r.peers.Known() {
		if peer.ID == k.peer {
			return true
		}
	}
	delete(k.reign.links, k.peer)
	return false
}

// once dials and replicates until the stream breaks. connected reports whether there was a stream.
func (k *link) once() (connected bool, err error) {
	ctx, cancel := context.WithCancelCause(k.reign.ctx)
	defer cancel(nil)
	patience := k.r.config.LagTimeout
	if !k.asked {
		patience = k.r.config.SealTimeout
	}
	timer := time.AfterFunc(patience, func() { cancel(errNoAnswer) })
	hello := Hello{Node: k.r.config.NodeID, Term: k.reign.term}
	stream, answer, err := k.r.peers.Replicate(ctx, k.peer, hello)
	if !timer.Stop() {
		return false, errNoAnswer
	}
	if err != nil {
		k.refused(err)
		return false, err
	}
	if !k.asked {
		k.asked = true
		k.answer <- answer
	}
	select {
	case <-k.reign.opened:
	case <-ctx.Done():
		return true, context.Cause(ctx)
	}
	return true, k.replicate(ctx, cancel, stream, answer.Position)
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
	k.tell, k.told, k.acknowledged = true, 0, position
	k.underway, k.underwayBytes = fifo[message]{}, 0
	k.steadyFrom, k.acks = time.Time{}, 0
	k.quietFrom, k.gone, k.snapshot, k.foreign = time.Time{}, false, nil, false
	onOurLog := position == g.positionAt(position.Index) && position.Index <= g.log.last()
	if onOurLog && position.Index >= g.log.before && position.Index >= k.has {
		k.behind = false
		k.floor, k.has = position.Index, position.Index
	} else {
		k.behind, k.holding = true, false
		k.foreign = !k.r.table.Log().Holds(position)
		k.snapshotLocked()
	}
	k.next = k.floor + 1
}

// snapshotLocked takes the snapshot that the standby gets, in place of an earlier one. The log is kept from there on.
func (k *link) snapshotLocked() {
	k.snapshot = k.r.table.Snapshot()
	k.floor = k.snapshot.Position().Index
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
		k.r.reviewLocked(k.reign)
	}
	k.stream.cancel, k.stream.out = cancel, stream
	k.r.mu.Unlock()

	var receiving sync.WaitGroup
	receiving.Go(func() { cancel(k.receive(stream)) })
	if err := k.send(ctx, stream, position); !errors.Is(err, io.EOF) {
		cancel(err)
	}
	// After an EOF the receiving half knows why, and ends by itself.
	receiving.Wait()
	cause := context.Cause(ctx)
	k.refused(cause)
	k.detach()
	return cause
}

// detach ends a stream. Commits go on to wait for a standby that they have waited for, until it is back or left out.
func (k *link) detach() {
	k.r.mu.Lock()
	defer k.r.mu.Unlock()
	k.stream, k.snapshot = nil, nil
	if k.quietFrom.IsZero() {
		k.quietFrom = time.Now()
	}
	k.holding = k.holding && (k.member || k.believes)
	if k.r.reign == k.reign {
		k.r.journal.goLocked()
		k.reign.advanceLocked(k.r)
		k.r.publishLocked()
	}
}

// expelLocked ends a stream whose standby is silent. The link dials again.
func (k *link) expelLocked() {
	lane := k.stream
	if lane == nil || lane.farewell || lane.cancel == nil {
		return
	}
	lane.farewell = true
	k.r.journal.goLocked()
	k.wakeUp()
	time.AfterFunc(k.r.config.LagTimeout/4, func() { lane.cancel(errSilent) })
}
