package cachesync

import (
	"time"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// The in-sync set, as a standby judges its own place in it.

// following is what this node knows of its own standing with a master.
type following struct {
	master string
	term   ledger.Term
	// heard is when the master has certainly been alive and has not gone on without this node. Messages may have waited
	// in a buffer, for example while this process was stopped; but each one was sent after the acknowledgement of the one
	// before had arrived, so it was sent after that one was given.
	heard time.Time
	// legacy: the master knows no records and has said that commits wait for this node.
	legacy bool
}

// wordLife is how long what a peer has said is taken for true.
func wordLife(c Config) time.Duration { return c.LagTimeout / 4 }

// hearsLocked reports whether the master has been heard within the lag timeout.
func (r *Replicator) hearsLocked(now time.Time) bool {
	return !r.following.heard.IsZero() && now.Sub(r.following.heard) < r.config.LagTimeout
}

// inSyncLocked reports whether a standby has all that is committed: it is in the last recorded set, and nobody can have
// recorded another one since.
func (r *Replicator) inSyncLocked(now time.Time) bool {
	if r.following.legacy {
		return r.hearsLocked(now)
	}
	record := r.promise.Record
	if !record.Has(r.config.NodeID) {
		return false
	}
	if record.Term == r.following.term && r.hearsLocked(now) {
		return true // the master waits for this node at least that long
	}
	return r.nobodyWentOnLocked(record, now)
}

// nobodyWentOnLocked reports whether the other members of a record cannot have made a smaller one without this node,
// although their master has not been heard for a while. It takes a member that was not heard from, or one that may
// still have the master's ear, for one that has.
func (r *Replicator) nobodyWentOnLocked(record Record, now time.Time) bool {
	words := make(map[string]Word)
	for _, peer := range r.peers.Known() {
		if record.Less(Record{Term: peer.Word.Term, Version: peer.Word.Version}) {
			return false // that stays true however long ago it was said
		}
		if now.Sub(peer.Asked) < wordLife(r.config) {
			words[peer.ID] = peer.Word
		}
	}
	suspects, master := 0, false
	for _, id := range record.Members {
		word := words[id]
		switch {
		case id == r.config.NodeID:
		case !word.Term.IsZero() && !word.Attached:
		default:
			suspects++
			master = master || id == record.Term.Node
		}
	}
	// The master alone gives the last standbys of the set more time.
	return suspects == 0 || suspects == 1 && master && record.Term == r.following.term &&
		!r.following.heard.IsZero() && now.Sub(r.following.heard) < record.AloneAfter
}

// Word is what others must know to judge their own standing. ask says that this node needs theirs.
func (r *Replicator) Word() (word Word, ask bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	hears := r.hearsLocked(r.now())
	record := r.promise.Record
	word = Word{Term: record.Term, Version: record.Version, Attached: r.reign != nil || hears}
	return word, !word.Attached && record.Has(r.config.NodeID)
}
