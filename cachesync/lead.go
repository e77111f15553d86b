package cachesync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// reign is one mastership of this node, from the first question to the last commit. Its mutable fields are
// guarded by Replicator.mu.
type reign struct {
	term   ledger.Term
	ctx    context.Context // ends with the reign
	cancel context.CancelFunc
	// opened is closed when the term has been sealed and the links may replicate.
	opened    chan struct{}
	promised  bool // the term is promised, on disk too, so that others may hear of it
	leading   bool
	base      ledger.Position // the seal: last position of the earlier terms
	log       backlog
	committed uint64
	waiting   fifo[waiting]
	links     map[string]*link
	// effective is the in-sync set that all its members know; commits wait for them. proposed is the same, or the next.
	effective, proposed Record
	ticket              uint64          // of the journal, for proposed
	quorum              uint64          // version of the last set that a quorum has recorded
	quorumRecorder      *quorumRecorder // nil without a quorum
	told, alone         bool            // Lead has returned; it has been said that no standby is in sync
	refused             error           // a *RefusedError if a higher term has ended the reign
}

// members is the number of standbys in the set that can be counted on.
func (g *reign) members() int {
	n := 0
	for _, k := range g.links {
		if k.countedOnLocked() {
			n++
		}
	}
	return n
}

// countedOnLocked: it is in the set, and nothing says that it will be left out.
func (k *link) countedOnLocked() bool { return k.member && !k.behind && !k.gone }

// positionAt turns an index of this reign into a position.
func (g *reign) positionAt(index uint64) ledger.Position {
	if index <= g.base.Index {
		return g.base
	}
	return ledger.Position{Term: g.term, Index: index}
}

// Lead makes this node the writer of a term: it seals the earlier terms at the position of the most complete
// peer that answers, takes that peer's table if it has more, and waits until the peers that answered hold
// the new term or have failed. A term is led once. It fails with a *RefusedError if a peer knows a higher
// term, and with the context's error; the node follows then.
func (r *Replicator) Lead(ctx context.Context, term ledger.Term) (Lead, error) {
	g, asked, err := r.beginReign(term)
	if err != nil {
		return Lead{}, err
	}
	lead, err := r.seal(ctx, g, asked)
	if err != nil {
		r.mu.Lock()
		if r.reign == g {
			r.endReignLocked()
		} else if g.refused != nil {
			err = g.refused
		}
		r.mu.Unlock()
		return Lead{}, fmt.Errorf("lead the mirror in term %v: %w", term, err)
	}
	return lead, nil
}

// beginReign promises the term to itself, leaves the stream of the old master and asks everybody.
func (r *Replicator) beginReign(term ledger.Term) (*reign, []*link, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch have := r.table.Position().Term; {
	case r.closed:
		return nil, nil, ErrClosed
	case term.IsZero():
		return nil, nil, errors.New("lead the mirror: the term is empty")
	case term.Node != r.config.NodeID:
		return nil, nil, fmt.Errorf("lead the mirror in term %v: that is a term of node %s, this is %s (node.id)", term, term.Node, r.config.NodeID)
	case term.Less(r.promise.Term):
		r.refusedBy = r.promise.Term
		r.publishLocked()
		return nil, nil, fmt.Errorf("lead the mirror in term %v: %w", term, &RefusedError{Peer: r.config.NodeID, Term: r.promise.Term})
	case r.journal.full() != nil:
		return nil, nil, fmt.Errorf("lead the mirror in term %v: %w", term, r.journal.full())
	case have == term:
		return nil, nil, fmt.Errorf("lead the mirror in term %v: this term has been led before; a new writer needs a new term", term)
	case r.reign != nil && r.reign.term == term:
		return nil, nil, fmt.Errorf("lead the mirror in term %v: this is under way already", term)
	}
	r.endReignLocked()
	r.promise.Term, r.refusedBy = term, ledger.Term{}
	r.journal.promisedLocked(r.promise)
	r.session, r.following = nil, following{}
	r.adopted.take() // what nobody has asked for is in the table, too
	g := &reign{term: term, opened: make(chan struct{}), links: make(map[string]*link)}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	r.reign = g
	g.quorumRecorder = newQuorumRecorder(r, g)
	r.publishLocked()
	if err := r.journal.awaitLocked(r.journal.queued); err != nil {
		return nil, nil, err
	}
	if r.reign != g {
		return nil, nil, fmt.Errorf("lead the mirror in term %v: %w", term, ErrNotLeading)
	}
	g.promised = true
	return g, r.linkUpLocked(), nil
}

// linkUpLocked gives every known peer a link, and returns the new ones.
func (r *Replicator) linkUpLocked() []*link {
	g := r.reign
	if g == nil || !g.promised {
		return nil
	}
	var added []*link
	for _, peer := range r.peers.Known() {
		if k := r.linkToLocked(g, peer.ID); k != nil {
			added = append(added, k)
		}
	}
	return added
}

// linkToLocked gives a peer a link, or returns nil if it has one.
func (r *Replicator) linkToLocked(g *reign, peer string) *link {
	if peer == r.config.NodeID || g.links[peer] != nil {
		return nil
	}
	k := newLink(r, g, peer)
	g.links[peer] = k
	r.links.Go(k.run)
	return k
}

func (r *Replicator) seal(ctx context.Context, g *reign, asked []*link) (Lead, error) {
	offers, err := askAll(ctx, g, asked)
	if err != nil {
		return Lead{}, err
	}
	var lead Lead
	if lead.TakenFrom, err = r.takeMostComplete(ctx, g, offers); err != nil {
		return Lead{}, err
	}
	if err := r.open(g, offers); err != nil {
		return Lead{}, err
	}
	if err := r.awaitStandbys(ctx, g, offers); err != nil {
		return Lead{}, err
	}
	if ctx.Err() != nil {
		return Lead{}, ctx.Err() // nobody is there any more to write
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reign != g {
		return Lead{}, ErrNotLeading
	}
	g.told = true
	lead.Sealed, lead.Entries = g.base, r.table.Entries()
	r.log.Info("mirror: leading", "term", g.term.String(), "sealed", g.base.String(), "inflight", len(lead.Entries),
		"takenfrom", lead.TakenFrom, "standbys", g.members())
	r.warnIfAloneLocked(g)
	return lead, nil
}

// offer is what a link has learned from its peer's answer.
type offer struct {
	link   *link
	answer Answer
}

// askAll waits until every link has its answer or has failed. A link gives up after the seal timeout.
func askAll(ctx context.Context, g *reign, asked []*link) ([]offer, error) {
	var offers []offer
	for _, k := range asked {
		select {
		case answer, answered := <-k.answer:
			if answered {
				offers = append(offers, offer{k, answer})
			}
		case <-g.ctx.Done():
			return nil, ErrNotLeading
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return offers, nil
}

// takeMostComplete fetches the table of whoever has more than this node, and says from whom.
func (r *Replicator) takeMostComplete(ctx context.Context, g *reign, offers []offer) (string, error) {
	failed := make(map[*link]bool)
	for {
		r.mu.Lock()
		most := offer{answer: Answer{Position: r.table.Position()}}
		r.mu.Unlock()
		for _, o := range offers {
			if !failed[o.link] && most.answer.Position.Less(o.answer.Position) {
				most = o
			}
		}
		if most.link == nil {
			return "", nil
		}
		err := r.pull(ctx, g, most)
		if err == nil {
			return most.link.peer, nil
		}
		if g.ctx.Err() != nil {
			return "", ErrNotLeading
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		r.log.Warn("mirror: a peer has more, but its table cannot be fetched", "peer", most.link.peer, "position", most.answer.Position.String(), "error", err)
		failed[most.link] = true
	}
}

// pull replaces this node's table by a peer's. It gives up when no part has come for the lag timeout.
func (r *Replicator) pull(ctx context.Context, g *reign, from offer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(g.ctx, func() { cancel(ErrNotLeading) })() //nolint:contextcheck // the reign has an end of its own
	silence := time.AfterFunc(r.config.LagTimeout, func() { cancel(errSilent) })
	defer silence.Stop()

	restorer := ledger.NewRestorer(r.config.Limits)
	var table *ledger.Table
	err := r.peers.Pull(ctx, from.link.peer, Hello{Node: r.config.NodeID, Term: g.term}, nil, func(c *ledger.Chunk) (err error) {
		silence.Reset(r.config.LagTimeout)
		table, err = restorer.Add(c)
		return err
	})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	if table == nil || table.Position().Less(from.answer.Position) {
		return errors.New("the table ends before the position that was offered")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reign != g {
		return ErrNotLeading
	}
	r.table = table
	r.journal.replacedLocked(table)
	return nil
}

// open writes the first entry of the term and lets the links replicate.
func (r *Replicator) open(g *reign, offers []offer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reign != g {
		return ErrNotLeading
	}
	g.base = r.table.Position()
	g.log.before, g.committed = g.base.Index, g.base.Index
	begun := ledger.LogEntry{
		Position: ledger.Position{Term: g.term, Index: g.base.Index + 1},
		Op:       ledger.Op{Kind: ledger.TermBegun, UnixMilli: time.Now().UnixMilli()},
	}
	if err := r.table.Apply(&begun); err != nil {
		return err
	}
	g.log.push(begun)
	r.journal.changedLocked(r.table, &begun.Op)
	r.journal.goLocked()
	members, last := r.firstSetLocked(offers)
	g.effective = Record{Term: g.term, Members: members}
	for _, id := range g.effective.Members {
		// Who has not answered is waited for as if it had fallen silent now.
		r.linkToLocked(g, id)
	}
	for id, k := range g.links {
		k.member, k.has, k.quietFrom, k.knows = g.effective.Has(id), g.base.Index, time.Now(), []Record{last}
	}
	for _, o := range offers {
		// Enrolled here, they all count before the first of them can acknowledge anything.
		o.link.has = 0
		o.link.enrolLocked(o.answer.Position)
	}
	g.leading = true
	close(g.opened)
	if wanted := g.wantedLocked(r, time.Now()); wanted != nil {
		r.proposeLocked(g, wanted)
	}
	r.takeEffectLocked(g, time.Now())
	g.advanceLocked(r)
	r.publishLocked()
	return nil
}

// awaitStandbys waits until each peer that answered is in sync or has failed, for the lag timeout at most.
func (r *Replicator) awaitStandbys(ctx context.Context, g *reign, offers []offer) error {
	timeout := time.NewTimer(r.config.LagTimeout)
	defer timeout.Stop()
	for _, o := range offers {
		select {
		case <-o.link.tried:
		case <-timeout.C:
			return nil
		case <-g.ctx.Done():
			return ErrNotLeading
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// warnIfAloneLocked says once that nobody else holds what is written from now on.
func (r *Replicator) warnIfAloneLocked(g *reign) {
	if g.alone || !g.told || g.members() > 0 {
		return
	}
	g.alone = true
	if g.shortLocked(r) {
		r.log.Warn("mirror: too few standbys are in sync, nothing is committed until there are more (cachesync.alone=wait)",
			"term", g.term.String(), "want", r.config.MinInSync)
		return
	}
	r.log.Warn("mirror: no standby is in sync, going on alone: messages in flight are held by this node only", "term", g.term.String())
}
