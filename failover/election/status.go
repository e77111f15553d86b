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
	// Takeover tells how this mastership came about; nil if this node does not lead.
	Takeover *Takeover
	// Handover is the wish that this master make room for another node; zero if there is none.
	Handover Handover
}

// Quorum is the state of the voting, for people.
type Quorum struct {
	Voters Voters
	// Voter: this node's vote counts. Withheld is why it grants nothing at the moment.
	Voter    bool
	Withheld string
	// Acknowledged is when each voter last acknowledged this master.
	Acknowledged map[string]time.Duration
}

// Quorum returns the state of the voting at the time of the last event; ok is false if there is no quorum.
func (m *Machine) Quorum() (q Quorum, ok bool) {
	if !m.quorum() {
		return Quorum{}, false
	}
	q = Quorum{Voters: m.vote.Voters, Voter: m.votes(), Withheld: m.withheld()}
	if m.role == Master {
		q.Acknowledged = make(map[string]time.Duration, len(m.acks))
		for id, a := range m.acks {
			q.Acknowledged[id] = a.at
		}
	}
	return q, true
}

// Pause returns the last word on promotions.
func (m *Machine) Pause() Pause { return m.pause }

// Order lists the live peers that can lead as they would claim if the master went now, best first.
func (m *Machine) Order() []string {
	return slices.DeleteFunc(m.order(), func(id string) bool { return !m.peers[id].about.CanLead })
}

// Change tells what has become of the last ChangeMembers: under way, refused for a reason, or done.
func (m *Machine) Change() (underWay bool, refusal string) {
	return m.change.next != nil || len(m.base.IDs) > 0, m.refusal
}

// Address is where a peer alone can be reached, as it says; empty if that is not known.
func (m *Machine) Address(id string) string {
	if p := m.peers[id]; p != nil {
		return p.about.Address
	}
	return ""
}

// Voters returns the list of voters that this node knows.
func (m *Machine) Voters() Voters { return m.vote.Voters }

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
	case m.role == Master && !m.promoted:
		s.Role, s.Reason = Standby, "elected in term "+m.term.String()+", waits for the majority to acknowledge"
	case m.role == Master:
		s.Term, s.Leader = m.term, m.term
		s.Takeover, s.Handover = m.takeover, m.wish
		if !m.muted {
			s.Lease = max(m.leaseEnd(), 0)
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
	case m.role == Master && m.lapsed:
		return "leads, but no majority of the voters acknowledges it"
	case m.role == Master || m.role == Candidate:
		return m.reason
	case m.fresh(m.leader):
		text = m.leader.term.Node + " leads"
	case m.role == Starting:
		text = "listens for a master"
	default:
		text = m.reason
	}
	obstacle := m.obstacle()
	if obstacle == "" && m.quorum() && !m.fresh(m.leader) {
		obstacle = m.unreachable()
	}
	if obstacle != "" {
		text += "; cannot lead: " + obstacle
	}
	return text
}
