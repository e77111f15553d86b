package election

import (
	"slices"
	"strings"
	"time"
)

// State is what a machine has decided.
type State struct {
	// Role is never Candidate: to the outside that is a standby.
	Role Role
	// Term is the one held while Role is Master.
	Term Term
	// Leader is the master that this node believes in, itself included; the zero term if none.
	Leader Term
	Reason string
	// Since is when the role began.
	Since time.Duration
	// Lease is until when this node's host may work, by the clock of the events; never later than the moment
	// when the others may begin to miss it. Zero if this node does not lead or does not vouch for its host.
	Lease time.Duration
}

// Peer is another node as it was last heard.
type Peer struct {
	ID    string
	About About
	// At is when it was heard.
	At time.Duration
}

// State returns the state at the time of the last event.
func (m *Machine) State() State {
	s := State{Role: m.role, Since: m.since, Reason: m.explain()}
	switch {
	case m.role == Master:
		s.Term, s.Leader = m.term, m.term
		if !m.muted {
			s.Lease = m.beatAt + m.cfg.Suspicion()
		}
	case m.fresh(m.leader):
		s.Leader = m.leader.term
	}
	if m.role == Candidate {
		s.Role = Standby
	}
	return s
}

// Peers returns the other nodes in the order of their ids.
func (m *Machine) Peers() []Peer {
	peers := make([]Peer, 0, len(m.peers))
	for id, p := range m.peers {
		peers = append(peers, Peer{ID: id, About: p.about, At: p.at})
	}
	slices.SortFunc(peers, func(a, b Peer) int { return strings.Compare(a.ID, b.ID) })
	return peers
}

// explain says in words why the role is what it is.
func (m *Machine) explain() string {
	var text string
	switch {
	case m.role == Master && m.muted:
		return "leads, but the host is silent"
	case m.role == Master || m.role == Candidate:
		return m.reason
	case m.fresh(m.leader):
		text = m.leader.term.Node + " leads"
	case m.role == Starting:
		text = "listens for a master"
	default:
		text = m.reason
	}
	if obstacle := m.obstacle(); obstacle != "" {
		text += "; cannot lead: " + obstacle
	}
	return text
}
