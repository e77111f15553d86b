package cachesync

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// Errors of a Replicator.
var (
	// ErrNotLeading: this node does not write the term, or no longer.
	ErrNotLeading = errors.New("this node does not write the mirror in that term")
	// ErrClosed: the Replicator has ended.
	ErrClosed = errors.New("the mirror has been shut down")
)

// positionInterval is how often watchers hear of a change that is nothing but progress.
const positionInterval = 100 * time.Millisecond

// Replicator keeps this node's copy of the table. It follows until Lead, and again after Follow or after a
// peer has shown a higher term. All methods may be called from several goroutines.
type Replicator struct {
	config   Config
	peers    Peers
	recorder Recorder // may be nil
	now      func() time.Time
	log      *slog.Logger
	settler  *settler
	links    sync.WaitGroup // the goroutines of all reigns; Run waits for them
	adopted  adoptions

	mu     sync.Mutex // guards everything below, and what reigns, links and sessions say that it guards
	room   *sync.Cond // on mu: the backlog has shrunk, or the reign is over
	closed bool
	table  *ledger.Table
	// promise is the highest term that this node has led or followed; lower ones are refused. With it goes the last
	// in-sync set that this node has made or was told.
	promise   Promise
	refusedBy ledger.Term
	reign     *reign   // nil unless sealing or leading
	session   *Session // the master's stream, nil if there is none
	following following
	journal   *journal
	changed   chan struct{} // closed and replaced at every change that others must hear of at once
}

// Parts are what a Replicator works with.
type Parts struct {
	Peers Peers
	// Store keeps the table on disk; nil keeps it in memory only. Whoever opened it closes it, after Run.
	Store Store
	// Recorder is nil without a quorum.
	Recorder Recorder
	// Now is the clock by which a standby judges how long its master has been silent, the same as that of the Peers. It
	// should go on while the machine is suspended, as Go's own does not on Linux; nil is time.Now all the same.
	Now func() time.Time
	Log *slog.Logger
}

// New returns a Replicator with the table that the store has kept, else with an empty one. Nothing happens before
// Run.
func New(config Config, parts Parts) (*Replicator, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	r := &Replicator{
		config:   config,
		peers:    parts.Peers,
		recorder: parts.Recorder,
		now:      parts.Now,
		log:      parts.Log,
		settler:  newSettler(),
		adopted:  adoptions{added: make(chan struct{}, 1)},
		table:    ledger.New(config.Limits),
		changed:  make(chan struct{}),
	}
	if r.now == nil {
		r.now = time.Now
	}
	r.room = sync.NewCond(&r.mu)
	r.journal = newJournal(parts.Store, &r.mu, r.writtenLocked)
	if parts.Store != nil {
		if err := r.recover(parts.Store); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// recover takes over what an earlier process has kept.
func (r *Replicator) recover(store Store) error {
	restorer := ledger.NewRestorer(r.config.Limits)
	promise, err := store.Load(func(c *ledger.Chunk) error {
		table, err := restorer.Add(c)
		if table != nil {
			r.table = table
		}
		return err
	})
	if err != nil {
		return err
	}
	r.promise = promise
	position := r.table.Position()
	if promise.Term.Less(position.Term) {
		r.promise.Term = position.Term // the promise of a term comes first, so this is a store of old
	}
	r.journal.durable = position
	r.log.Info("mirror: recovered from disk", "path", store.Path(), "messages", r.table.Len(), "bytes", r.table.Bytes(),
		"finished", r.table.FinishedLen(), "position", position.String(), "insync", promise.Record.String())
	return nil
}

// Run watches over the deadlines and answers commits until ctx ends. It is called once. When it returns, every
// open commit has been settled, what was written is in the store, and no goroutine is left. While the store is full what
// is not written is given up; nobody was told that it is committed. It fails if the store does.
func (r *Replicator) Run(ctx context.Context) error {
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		r.settler.run()
	}()
	if r.journal.store != nil {
		go r.journal.run(r.settler.help)
	}
	r.watchOver(ctx)

	r.mu.Lock()
	r.closed = true
	r.session = nil
	r.endReignLocked()
	r.journal.stopLocked()
	r.mu.Unlock()
	err := r.awaitJournal()
	r.links.Wait()
	r.settler.stop()
	<-settled
	return err
}

// awaitJournal waits until the store has everything, if there is room for it.
func (r *Replicator) awaitJournal() error {
	if r.journal.store == nil {
		return nil
	}
	look := time.NewTicker(positionInterval)
	defer look.Stop()
	for r.journal.full() == nil {
		select {
		case <-r.journal.ended:
			r.mu.Lock()
			defer r.mu.Unlock()
			if errors.Is(r.journal.failed, ErrClosed) {
				return nil
			}
			return r.journal.failed
		case <-look.C:
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.journal.failLocked(ErrClosed)
	return nil
}

// writtenLocked hears that more is in the store.
func (r *Replicator) writtenLocked() {
	r.room.Broadcast()
	g := r.reign
	if g == nil || !g.leading {
		return
	}
	if r.journal.running { // which helps afterwards
		r.settler.hold()
		defer r.settler.unhold()
	}
	if g.effective.Version != g.proposed.Version {
		r.reviewLocked(g)
	}
	g.advanceLocked(r)
}

// watchOver starts links to new peers and ends what has been silent for too long.
func (r *Replicator) watchOver(ctx context.Context) {
	// A deadline is never nearer than the lag timeout when it is set, so a look at every quarter finds all of
	// them in time.
	quarter := r.config.LagTimeout / 4
	timer := time.NewTimer(quarter)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.journal.ended:
			return // the store has failed
		case <-r.peers.Changed():
			r.mu.Lock()
			r.linkUpLocked()
			r.mu.Unlock()
		case now := <-timer.C:
			timer.Reset(min(quarter, max(r.expire(now), time.Millisecond)))
		}
	}
}

// expire ends what is due and returns the time until the next deadline.
func (r *Replicator) expire(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.config.LagTimeout
	soon := func(left time.Duration) {
		if left > 0 {
			next = min(next, left)
		}
	}
	if r.following.heard.IsZero() {
		// nobody is followed
	} else if left := r.following.heard.Add(r.config.LagTimeout).Sub(r.now()); left > 0 {
		soon(left)
	} else if -left < r.config.LagTimeout {
		r.publishLocked() // this node may count itself out
	}
	if r.reign == nil {
		return next
	}
	for _, k := range r.reign.links {
		silence := k.silenceLocked(now)
		if silence == 0 {
			continue
		}
		soon(k.limitLocked() - silence)
		soon(r.config.aloneAfter() - silence)
		for _, other := range r.reign.links {
			soon(other.informs.Sub(now)) // then it may be left out
		}
		if silence >= k.limitLocked() {
			k.expelLocked()
		}
	}
	r.reviewLocked(r.reign)
	return next
}

// publishLocked wakes the watchers.
func (r *Replicator) publishLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// State returns how the mirror is now.
func (r *Replicator) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stateLocked()
}

func (r *Replicator) stateLocked() State {
	record := r.promise.Record
	s := State{
		Position: r.table.Position(), RefusedBy: r.refusedBy,
		RecordTerm: record.Term, RecordVersion: record.Version, Recorded: record.Has(r.config.NodeID),
	}
	if g := r.reign; g != nil && g.leading {
		s.Leading = true
		s.InSync = g.committed == s.Position.Index
		s.InSyncStandbys = g.members()
		s.Alone, s.Waiting = s.InSyncStandbys == 0, g.shortLocked(r)
		return s
	}
	s.InSync = r.inSyncLocked(r.now())
	return s
}

// Watch calls changed with the state, at once and after changes, until ctx ends. Mere progress is told ten
// times a second at most. It returns nil when ctx ends.
func (r *Replicator) Watch(ctx context.Context, changed func(State)) error {
	progress := time.NewTicker(positionInterval)
	defer progress.Stop()
	var last State
	for first := true; ; first = false {
		r.mu.Lock()
		state, again := r.stateLocked(), r.changed
		r.mu.Unlock()
		if first || state != last {
			changed(state)
			last = state
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again:
		case <-progress.C:
		}
	}
}

// Follow ends the writing. Open commits end as NotLeading. Following twice is no fault.
func (r *Replicator) Follow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusedBy = ledger.Term{}
	r.endReignLocked()
	r.publishLocked()
}

// endReignLocked stops sealing or leading, if this node does. The links end by themselves.
func (r *Replicator) endReignLocked() {
	g := r.reign
	if g == nil {
		return
	}
	r.reign = nil
	g.cancel()
	g.abandonLocked(r.settler)
	r.room.Broadcast()
	r.publishLocked()
}

// refusedLocked ends a reign because a higher term has been seen.
func (r *Replicator) refusedLocked(g *reign, by ledger.Term, peer string) {
	if r.reign != g || g == nil || !g.term.Less(by) {
		return
	}
	if r.promise.Term.Less(by) {
		// Nobody may make this node write an older term than one it knows of.
		r.promise.Term = by
		r.journal.promisedLocked(r.promise)
	}
	r.refusedBy = by
	g.refused = &RefusedError{Peer: peer, Term: by}
	r.endReignLocked()
	r.log.Warn("mirror: a higher term has begun, this node stops writing", "term", g.term.String(), "higher", by.String(), "peer", peer)
}
