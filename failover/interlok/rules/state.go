package rules

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
)

// Member is another instance as it was last heard.
type Member struct {
	ID string
	// Ours: it runs this implementation, as its id says.
	Ours bool
	// Address is host:port as it says; port 0 over multicast.
	Address string
	// Primary: it leads, in Term as far as this node knows. Else Position is its place.
	Primary  bool
	Term     election.Term
	Position int
	// At is when it was heard.
	At time.Duration
}

// State returns the state at the time of the last event.
func (m *Machine) State() election.State {
	s := election.State{Role: m.role, Since: m.since, Reason: m.explain()}
	if m.role == election.Master {
		s.Term, s.Leader, s.Takeover = m.term, m.term, m.takeover
		if !m.muted {
			s.Lease = max(m.leaseEnd(), 0)
		}
		return s
	}
	if p := m.primary(); p != nil {
		s.Leader = p.term
	}
	return s
}

// Position is this secondary's place in the order of succession; 0 if it has none.
func (m *Machine) Position() int { return m.position }

// Members returns the other instances: primaries first, then secondaries by position.
func (m *Machine) Members() []Member {
	members := make([]Member, 0, len(m.members))
	for _, id := range m.ids() {
		p := m.members[id]
		member := Member{ID: id.String(), Ours: id.Ours(), Address: p.address(), At: p.at, Position: p.position}
		if p.primary {
			member.Primary, member.Term, member.Position = true, p.term, 0
		}
		members = append(members, member)
	}
	slices.SortStableFunc(members, func(a, b Member) int { return cmp.Compare(a.Position, b.Position) })
	return members
}

// Order lists the other secondaries as they would lead, the first first.
func (m *Machine) Order() []string {
	var order []string
	for _, member := range m.Members() {
		if !member.Primary && member.Position != Goodbye {
			order = append(order, member.ID)
		}
	}
	return order
}

// explain says in words why the role is what it is.
func (m *Machine) explain() string {
	if m.role == election.Master {
		if m.muted {
			return "leads, but cannot vouch for its host"
		}
		return m.reason
	}
	text := m.reason
	p := m.primary()
	switch {
	case p != nil:
		text = p.address() + " is primary"
	case m.role == election.Starting:
		text = "listens for a primary"
	}
	if m.role == election.Standby && !m.silent {
		text += "; secondary position " + strconv.Itoa(m.position)
	}
	if obstacle := m.obstacle(); obstacle != "" {
		text += "; cannot lead: " + obstacle
	}
	return text
}
