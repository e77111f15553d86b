package cachesync

import "context"

// quorumRecorder has the in-sync sets of one reign recorded by a quorum, one at a time, the last one next.
type quorumRecorder struct {
	r     *Replicator
	reign *reign
	// proposed holds the set that is to be recorded next; only the last one counts.
	proposed chan Record
	// cancel ends the recording that is under way; guarded by Replicator.mu.
	cancel context.CancelFunc
}

// newQuorumRecorder returns nil if there is no Recorder.
func newQuorumRecorder(r *Replicator, g *reign) *quorumRecorder {
	if r.recorder == nil {
		return nil
	}
	q := &quorumRecorder{r: r, reign: g, proposed: make(chan Record, 1), cancel: func() {}}
	r.links.Go(q.run)
	return q
}

// next has a set recorded instead of the one before. It is called with the Replicator's lock held.
func (q *quorumRecorder) next(record Record) {
	q.cancel()
	select {
	case <-q.proposed:
	default:
	}
	q.proposed <- record
}

// run records until the reign ends.
func (q *quorumRecorder) run() {
	for {
		select {
		case record := <-q.proposed:
			q.record(record)
		case <-q.reign.ctx.Done():
			return
		}
	}
}

// record tries until a quorum has the set, or there is another one.
func (q *quorumRecorder) record(record Record) {
	ctx, cancel := context.WithCancel(q.reign.ctx)
	defer cancel()
	q.r.mu.Lock()
	q.cancel = cancel
	superseded := q.reign.proposed.Version != record.Version
	q.r.mu.Unlock()
	if superseded {
		return
	}
	for pause := redialFirst; ; pause = min(2*pause, redialLast) {
		err := q.r.recorder.Record(ctx, record)
		if err == nil {
			break
		}
		if !sleep(ctx, pause) {
			return
		}
		q.r.log.Warn("mirror: the in-sync set is not recorded by a quorum yet", "set", record.String(), "error", err)
	}
	q.r.mu.Lock()
	defer q.r.mu.Unlock()
	q.reign.quorum = max(q.reign.quorum, record.Version)
	q.r.reviewLocked(q.reign)
}
