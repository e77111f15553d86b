package election

import (
	"fmt"
	"slices"
)

// change is a change of the list of voters that the master has under way. Only one node comes or goes at a time, so
// that any majority before it and any after it have a node in common. The first change of a term makes the old list
// one of this term before, so that what an earlier master has left half done cannot count any more (the flaw that
// Raft's single-server changes had).
type change struct {
	next []string // the list that is wanted; nil if nothing is under way
}

// changeMembers begins a change. The returned reason is empty if it has begun.
func (m *Machine) changeMembers(remove, add string) string {
	v := m.vote.Voters
	switch {
	case !m.quorum():
		return "there is no quorum: failover.members is not set"
	case m.role != Master || !m.promoted:
		return "this node does not lead: ask the master"
	case m.change.next != nil || len(m.base.IDs) > 0:
		return "another change is still under way"
	case (remove == "") == (add == ""):
		return "one node has to be named"
	case remove != "" && !v.Has(remove):
		return fmt.Sprintf("%s is no voter; the voters are %v", remove, v.IDs)
	case remove == m.cfg.ID:
		return "the master cannot remove itself: hand over first"
	case remove != "" && len(v.IDs) == 1:
		return "the last voter cannot be removed"
	case add != "" && v.Has(add):
		return add + " votes already"
	case add != "":
		if reason := m.admissible(add); reason != "" {
			return reason
		}
	}
	next := slices.Clone(v.IDs)
	if remove != "" {
		next = slices.DeleteFunc(next, func(id string) bool { return id == remove })
	} else {
		next = append(next, add)
		slices.Sort(next)
	}
	m.change.next = next
	if v.Stamp.Number != m.term.Number {
		m.propose(v.IDs)
	} else {
		m.propose(next)
	}
	return ""
}

// admissible says why a node cannot become a voter now. It must know that it is none: a node that has missed its
// removal would not know that it was admitted anew.
func (m *Machine) admissible(id string) string {
	if id == m.cfg.ID {
		return ""
	}
	p := m.peers[id]
	switch {
	case p == nil || !m.live(p):
		return id + " is not heard: start it first"
	case p.about.Observer:
		return id + " only observes"
	case p.about.Members == 0:
		return id + " has no quorum: failover.members is not set there"
	case p.voters.Stamp != m.vote.Voters.Stamp:
		return id + " has not heard of the current list of voters yet: try again"
	}
	return ""
}

// propose makes a list the newest one, here first. It counts at once, together with the one before.
func (m *Machine) propose(ids []string) {
	v := m.vote.Voters
	m.base = v
	stamp := Stamp{Number: m.term.Number, Count: 1}
	if v.Stamp.Number == m.term.Number {
		stamp.Count = v.Stamp.Count + 1
	}
	m.vote.Voters = Voters{Stamp: stamp, IDs: ids, Settled: true}
	m.vote.Member = m.vote.Voters.Has(m.cfg.ID) && (m.vote.Member || !v.Has(m.cfg.ID))
	m.saveVote()
	m.report(Progress, "", "asks the voters %v to keep the list %v", v.IDs, ids)
	m.beat()
}

// settleChange goes on with a change when a majority of both lists has it on disk.
func (m *Machine) settleChange() {
	if len(m.base.IDs) == 0 || !m.kept(m.base) || !m.kept(m.vote.Voters) {
		return
	}
	m.base = Voters{}
	if slices.Equal(m.vote.Voters.IDs, m.change.next) {
		m.change.next = nil
		m.report(Progress, "", "the voters are %v", m.vote.Voters.IDs)
		return
	}
	m.propose(m.change.next)
}

// kept reports whether a majority of a list has the newest list on disk.
func (m *Machine) kept(v Voters) bool {
	count := 0
	for _, id := range v.IDs {
		if id == m.cfg.ID || m.acks[id].voters == m.vote.Voters.Stamp {
			count++
		}
	}
	return count >= v.Majority()
}
