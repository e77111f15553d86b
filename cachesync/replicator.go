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
	config  Config
	peers   Peers
	log     *slog.Logger
	settler *settler
	links   sync.WaitGroup // the goroutines of all reigns; Run waits for them

	mu     sync.Mutex // guards everything below, and what reigns, links and sessions say that it guards
	room   *sync.Cond // on mu: the backlog has shrunk, or the reign is over
	closed bool
	table  *ledger.Table
	// promised is the highest term that this node has led or followed; lower ones are refused.
	promised  ledger.Term
	refusedBy ledger.Term
	reign     *reign   // nil unless sealing or leading
	session   *Session // the master's stream, nil if there is none
	following following
	changed   chan struct{} // closed and replaced at every change that others must hear of at once
}

// following is what this node knows of its own standing with a master.
type following struct {
	master string
	// member: the master has said that commits wait for this node. It outlives the stream, because it is
	// needed most when the master has just died; silence ends it.
	member bool
	heard  time.Time
}

// New returns a Replicator with an empty table. Nothing happens before Run.
func New(config Config, peers Peers, log *slog.Logger) (*Replicator, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	r := &Replicator{
		config:  config,
		peers:   peers,
		log:     log,
		settler: newSettler(),
		table:   ledger.New(config.Limits),
		changed: make(chan struct{}),
	}
	r.room = sync.NewCond(&r.mu)
	return r, nil
}

// Run watches over the deadlines and answers commits until ctx ends. It is called once. When it returns, every
// open commit has been settled and no goroutine is left.
func (r *Replicator) Run(ctx context.Context) error {
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		r.settler.run()
	}()
	r.watchOver(ctx)

	r.mu.Lock()
	r.closed = true
	r.session = nil
	r.endReignLocked()
	r.mu.Unlock()
	r.links.Wait()
	r.settler.stop()
	<-settled
	return nil
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
	if r.following.member {
		left := r.following.heard.Add(r.config.LagTimeout).Sub(now)
		if left <= 0 {
			r.following.member = false
			r.publishLocked()
		} else {
			next = min(next, left)
		}
	}
	if r.reign == nil {
		return next
	}
	for _, k := range r.reign.links {
		left, waiting := k.patienceLocked(now)
		switch {
		case !waiting:
		case left <= 0:
			k.expelLocked()
		default:
			next = min(next, left)
		}
	}
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
	s := State{Position: r.table.Position(), RefusedBy: r.refusedBy}
	if g := r.reign; g != nil && g.leading {
		s.Leading = true
		s.InSync = g.committed == s.Position.Index
		s.InSyncStandbys = g.members()
		return s
	}
	s.InSync = r.following.member && time.Since(r.following.heard) < r.config.LagTimeout
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
	if r.promised.Less(by) {
		// Nobody may make this node write an older term than one it knows of.
		r.promised = by
	}
	r.refusedBy = by
	g.refused = &RefusedError{Peer: peer, Term: by}
	r.endReignLocked()
	r.log.Warn("mirror: a higher term has begun, this node stops writing", "term", g.term.String(), "higher", by.String(), "peer", peer)
}
