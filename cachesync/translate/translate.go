// Package translate turns what peers tell each other, and what the store keeps, into protocol messages and back. What is
// missing in a message becomes a zero value.
package translate

import (
	"slices"
	"time"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	clusterv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// FromTerm makes a message.
func FromTerm(t ledger.Term) *clusterv1.Term {
	return &clusterv1.Term{Number: t.Number, NodeId: t.Node}
}

// ToTerm reads a message.
func ToTerm(m *clusterv1.Term) ledger.Term {
	return ledger.Term{Number: m.GetNumber(), Node: m.GetNodeId()}
}

// FromPosition makes a message.
func FromPosition(p ledger.Position) *clusterv1.Position {
	return &clusterv1.Position{Term: FromTerm(p.Term), Index: p.Index}
}

// ToPosition reads a message.
func ToPosition(m *clusterv1.Position) ledger.Position {
	return ledger.Position{Term: ToTerm(m.GetTerm()), Index: m.GetIndex()}
}

// FromRecord makes a message, nil if nothing was recorded.
func FromRecord(r cachesync.Record) *mirrorv1.InSyncSet {
	if r.IsZero() {
		return nil
	}
	return &mirrorv1.InSyncSet{
		Term: FromTerm(r.Term), Version: r.Version, Members: r.Members, AloneAfterNanos: int64(r.AloneAfter),
	}
}

// ToRecord reads a message. It sorts the members, as everything that looks them up expects.
func ToRecord(m *mirrorv1.InSyncSet) cachesync.Record {
	if m == nil {
		return cachesync.Record{}
	}
	members := slices.Clone(m.GetMembers())
	slices.Sort(members)
	return cachesync.Record{
		Term: ToTerm(m.GetTerm()), Version: m.GetVersion(), Members: members,
		AloneAfter: time.Duration(m.GetAloneAfterNanos()),
	}
}

// FromSeals makes a message.
func FromSeals(s ledger.Seals) *mirrorv1.Seals {
	m := &mirrorv1.Seals{From: FromTerm(s.From)}
	for _, end := range s.Ends {
		m.Ends = append(m.Ends, FromPosition(end))
	}
	return m
}

// ToSeals reads a message. A table at that position whose writer knew no seals is taken for one that has forgotten all
// earlier terms.
func ToSeals(m *mirrorv1.Seals, position ledger.Position) ledger.Seals {
	if m == nil {
		return ledger.Seals{From: position.Term}
	}
	s := ledger.Seals{From: ToTerm(m.GetFrom())}
	for _, end := range m.GetEnds() {
		s.Ends = append(s.Ends, ToPosition(end))
	}
	return s
}
