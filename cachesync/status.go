package cachesync

import (
	"cmp"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// Status is for people and metrics.
type Status struct {
	State State
	// Entries and Bytes are the messages in flight, DedupeIDs the ids in the dedupe window.
	Entries, Bytes, DedupeIDs int
	// Record is the last in-sync set that this node knows.
	Record Record
	// Store is where the table is kept, empty if that is memory; Fault says why nothing can be written there.
	Store, Fault string
	// Master is the node whose mirror this is; empty if none is known.
	Master string
	// Peers is empty on a standby: only the master talks to all.
	Peers []PeerStatus
}

// PeerStatus is a standby, as its master sees it.
type PeerStatus struct {
	ID                string
	Connected, InSync bool
	Acknowledged      ledger.Position
	// LagEntries is the number of log entries that it has not acknowledged, Lag how long the oldest message
	// under way to it has been waited for.
	LagEntries uint64
	Lag        time.Duration
}

// Status returns how the mirror is now.
func (r *Replicator) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{
		State:     r.stateLocked(),
		Entries:   r.table.Len(),
		Bytes:     r.table.Bytes(),
		DedupeIDs: r.table.FinishedLen(),
		Master:    r.following.master,
		Record:    r.promise.Record,
	}
	if r.journal.store != nil {
		s.Store = r.journal.store.Path()
		if full := r.journal.full(); full != nil {
			s.Fault = full.Error()
		}
	}
	g := r.reign
	if g == nil || !g.leading {
		return s
	}
	s.Master = r.config.NodeID
	for _, k := range g.links {
		p := PeerStatus{ID: k.peer, Connected: k.stream != nil, InSync: k.countedOnLocked(), Acknowledged: k.acknowledged}
		if k.stream != nil {
			p.LagEntries = g.log.last() - k.floor
			p.Lag = k.silenceLocked(time.Now())
		}
		s.Peers = append(s.Peers, p)
	}
	slices.SortFunc(s.Peers, func(a, b PeerStatus) int { return cmp.Compare(a.ID, b.ID) })
	return s
}
