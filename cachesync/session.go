package cachesync

import (
	"errors"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

var errSuperseded = errors.New("a newer stream of the same master has replaced this one")

// Session is the standby's end of a master's stream. Its methods are called by one goroutine.
type Session struct {
	r        *Replicator
	hello    Hello
	position ledger.Position
	restorer *ledger.Restorer // within a snapshot
}

// Accept answers a master's hello: with a session that replaces an older one, or with a *RefusedError if
// this node knows a higher term. Once a term has been accepted no lower one is, and a node that leads a
// lower one stops.
func (r *Replicator) Accept(hello Hello) (*Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return nil, ErrClosed
	case hello.Term.IsZero() || hello.Node == "":
		return nil, &RefusedError{Peer: r.config.NodeID, Reason: "the hello has no term or no node id"}
	case hello.Node == r.config.NodeID:
		return nil, &RefusedError{Peer: r.config.NodeID, Reason: "the hello has this node's own id " + hello.Node + ": give one of them another node.id"}
	case hello.Term.Node != hello.Node:
		return nil, &RefusedError{Peer: r.config.NodeID, Reason: fmt.Sprintf("term %v is not one of node %s", hello.Term, hello.Node)}
	case hello.Term.Less(r.promised):
		return nil, &RefusedError{Peer: r.config.NodeID, Term: r.promised}
	}
	r.refusedLocked(r.reign, hello.Term, hello.Node)
	r.promised = hello.Term
	r.following = following{master: hello.Node, heard: time.Now()}
	s := &Session{r: r, hello: hello, position: r.table.Position()}
	r.session = s
	r.publishLocked()
	return s, nil
}

// Position is how far this node was when the session began. Nothing but the session has changed that since.
func (s *Session) Position() ledger.Position { return s.position }

// Chunk takes a part of a snapshot. The table is replaced with the last one, whatever it was before: that
// is how a node loses what nobody has sealed. It returns the position to acknowledge.
func (s *Session) Chunk(c *ledger.Chunk) (ledger.Position, error) {
	// Parts are put together outside the lock; only the last one needs it for long.
	if c.First || s.restorer == nil {
		s.restorer = ledger.NewRestorer(s.r.config.Limits)
	}
	table, err := s.restorer.Add(c)
	if err != nil {
		return ledger.Position{}, err
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if err := s.currentLocked(); err != nil {
		return ledger.Position{}, err
	}
	if table != nil {
		if table.Position().Term != s.hello.Term {
			return ledger.Position{}, fmt.Errorf("the snapshot's position %v is not of the master's term %v", table.Position(), s.hello.Term)
		}
		s.restorer = nil
		s.r.table = table
	}
	s.r.following.heard = time.Now()
	return s.r.table.Position(), nil
}

// Batch applies log entries. An error means that this node's table does not fit, and that the stream must
// end: the master comes back with a snapshot. It returns the position to acknowledge.
func (s *Session) Batch(b *Batch) (ledger.Position, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if err := s.currentLocked(); err != nil {
		return ledger.Position{}, err
	}
	for i := range b.Entries {
		if term := b.Entries[i].Position.Term; term != s.hello.Term {
			return ledger.Position{}, fmt.Errorf("a log entry of term %v in the stream of term %v", term, s.hello.Term)
		}
		if err := s.r.table.Apply(&b.Entries[i]); err != nil {
			return ledger.Position{}, err
		}
	}
	s.r.following.heard = time.Now()
	if s.r.following.member != b.Member {
		s.r.following.member = b.Member
		s.r.publishLocked()
	}
	return s.r.table.Position(), nil
}

// currentLocked fails if another stream has replaced this one.
func (s *Session) currentLocked() error {
	switch {
	case s.r.session == s:
		return nil
	case s.r.closed:
		return ErrClosed
	case s.hello.Term.Less(s.r.promised):
		return &RefusedError{Peer: s.r.config.NodeID, Term: s.r.promised}
	}
	return errSuperseded
}

// Close says that the stream has ended.
func (s *Session) Close() {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if s.r.session == s {
		s.r.session = nil
	}
}

// Offer gives the whole table to a node that is about to lead and that this node has accepted.
func (r *Replicator) Offer(hello Hello) (*ledger.Snapshot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case hello.Term.Less(r.promised):
		return nil, &RefusedError{Peer: r.config.NodeID, Term: r.promised}
	case hello.Term != r.promised || r.reign != nil:
		return nil, &RefusedError{Peer: r.config.NodeID, Reason: "the table is only given to a node that has said hello with the same term"}
	}
	return r.table.Snapshot(), nil
}
