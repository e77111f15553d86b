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
	answer   Answer
	restorer *ledger.Restorer // within a snapshot
	// answered is when the last message was answered, or a little before.
	answered time.Time
}

// Accept answers a master's hello: with a session that replaces an older one, or with a *RefusedError if
// this node knows a higher term. Once a term has been accepted no lower one is, and a node that leads a
// lower one stops. With a store that is on disk before the answer.
func (r *Replicator) Accept(hello Hello) (*Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.acceptableLocked(hello); err != nil {
		return nil, err
	}
	r.refusedLocked(r.reign, hello.Term, hello.Node)
	if r.promise.Term != hello.Term {
		r.promise.Term = hello.Term
		r.journal.promisedLocked(r.promise)
	}
	// What is told of the table must be on disk, too, and the session before may still add to it.
	for r.journal.written < r.journal.queued {
		if err := r.journal.awaitLocked(r.journal.queued); err != nil {
			return nil, err
		}
	}
	if err := r.acceptableLocked(hello); err != nil {
		return nil, err // things have changed while the lock was not held
	}
	if r.following.term != hello.Term {
		r.following = following{master: hello.Node, term: hello.Term}
	}
	s := &Session{r: r, hello: hello, answer: Answer{Position: r.table.Position(), Record: r.promise.Record}, answered: r.now()}
	r.session = s
	r.publishLocked()
	return s, nil
}

// acceptableLocked says why a hello cannot be accepted, or nil.
func (r *Replicator) acceptableLocked(hello Hello) error {
	switch {
	case r.closed:
		return ErrClosed
	case hello.Term.IsZero() || hello.Node == "":
		return &RefusedError{Peer: r.config.NodeID, Reason: "the hello has no term or no node id"}
	case hello.Node == r.config.NodeID:
		return &RefusedError{Peer: r.config.NodeID, Reason: "the hello has this node's own id " + hello.Node + ": give one of them another node.id"}
	case hello.Term.Node != hello.Node:
		return &RefusedError{Peer: r.config.NodeID, Reason: fmt.Sprintf("term %v is not one of node %s", hello.Term, hello.Node)}
	case hello.Term.Less(r.promise.Term):
		return &RefusedError{Peer: r.config.NodeID, Term: r.promise.Term}
	}
	return nil
}

// Answer is what the master is told first: how far this node was when the session began, and what it knows of the
// in-sync set. Nothing but the session has changed the table since.
func (s *Session) Answer() Answer { return s.answer }

// heardLocked notes a message: it was sent after the last answer had arrived.
func (s *Session) heardLocked() {
	s.r.following.heard = s.answered
	s.answered = s.r.now()
}

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
	s.r.journal.partLocked(c)
	return s.settledLocked()
}

// settledLocked waits until what was just done is in the store, and returns the position to acknowledge.
func (s *Session) settledLocked() (ledger.Position, error) {
	position := s.r.table.Position()
	if err := s.r.journal.awaitLocked(s.r.journal.queued); err != nil {
		return ledger.Position{}, err
	}
	s.heardLocked()
	return position, nil
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
		s.r.journal.changedLocked(s.r.table, &b.Entries[i].Op)
	}
	if b.Record != nil {
		if err := s.recordLocked(*b.Record); err != nil {
			return ledger.Position{}, err
		}
	}
	if legacy := b.Member && s.r.promise.Record.Term != s.hello.Term; legacy != s.r.following.legacy {
		s.r.following.legacy = legacy
		s.r.publishLocked()
	}
	return s.settledLocked()
}

// recordLocked takes a new in-sync set.
func (s *Session) recordLocked(record Record) error {
	if record.Term != s.hello.Term || !record.Has(s.hello.Node) {
		return fmt.Errorf("the in-sync set %v is not one of the master of term %v", record, s.hello.Term)
	}
	if !s.r.promise.Record.Less(record) {
		return nil // sent again after the stream had broken
	}
	s.r.promise.Record = record
	s.r.journal.promisedLocked(s.r.promise)
	s.r.publishLocked()
	return nil
}

// currentLocked fails if another stream has replaced this one.
func (s *Session) currentLocked() error {
	switch {
	case s.r.session == s:
		return nil
	case s.r.closed:
		return ErrClosed
	case s.hello.Term.Less(s.r.promise.Term):
		return &RefusedError{Peer: s.r.config.NodeID, Term: s.r.promise.Term}
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

// Offer gives the table to a node that this node has accepted: the whole of it, or with beyond what came in on no log
// that the other one knows.
func (r *Replicator) Offer(hello Hello, beyond *ledger.Log) (*ledger.Snapshot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case hello.Term.Less(r.promise.Term):
		return nil, &RefusedError{Peer: r.config.NodeID, Term: r.promise.Term}
	case hello.Term != r.promise.Term || r.reign != nil:
		return nil, &RefusedError{Peer: r.config.NodeID, Reason: "the table is only given to a node that has said hello with the same term"}
	}
	snapshot := r.table.Snapshot()
	if beyond != nil {
		snapshot = snapshot.Beyond(*beyond)
	}
	return snapshot, nil
}
