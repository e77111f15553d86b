package rules

import (
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/interlok/packet"
)

// member is another instance. It can be both for a while, as in Java: a secondary's last ping may overtake the first
// that it sent as primary.
type member struct {
	id   packet.ID
	host string
	port int
	at   time.Duration

	primary   bool
	primaryAt time.Duration
	// term is the one that it leads in, as far as this node knows.
	term election.Term
	told int // position in its last ping as primary

	secondary   bool
	secondaryAt time.Duration
	position    int

	// conflictFrom is when this primary first heard it as another one, answeredAt when it last pinged because of it.
	conflictFrom, answeredAt time.Duration
}

// address is host:port for people.
func (p *member) address() string { return net.JoinHostPort(p.host, strconv.Itoa(p.port)) }

func (m *Machine) receive(at time.Duration, ping packet.Ping) {
	if ping.ID == m.cfg.ID {
		return
	}
	p := m.members[ping.ID]
	if p == nil {
		if len(m.members) >= MaxMembers {
			m.report(Crowded, ping.ID.String(), "%d members are known, another one at %s:%d is ignored", MaxMembers, ping.Host, ping.Port)
			return
		}
		p = &member{id: ping.ID, at: at, primaryAt: never, secondaryAt: never, conflictFrom: never, answeredAt: never}
		m.members[ping.ID] = p
	}
	p.at, p.host, p.port = max(p.at, at), ping.Host, ping.Port
	if ping.Type == packet.Primary {
		m.primaryPinged(at, p, ping.Position)
		return
	}
	m.secondaryPinged(at, p, ping.Position)
}

func (m *Machine) primaryPinged(at time.Duration, p *member, told int) {
	if !p.primary || p.told != told {
		p.term = m.termOf(p.id, told)
		m.report(Progress, p.id.String(), "%s is primary, term %v", p.address(), p.term)
	}
	p.primary, p.told, p.primaryAt = true, told, max(p.primaryAt, at)
	p.secondary = false
	m.last = leader{term: p.term, at: p.primaryAt}
	if m.role == election.Master {
		m.conflict(p)
		return
	}
	m.heldUntil = never
}

// termOf gives a primary's term a number. A Java primary tells none: each of our nodes counts its mastership as one, so
// that the next of ours has a higher number than the last before it.
func (m *Machine) termOf(id packet.ID, told int) election.Term {
	if id.Ours() && told > 0 {
		m.highest = max(m.highest, uint64(told))
		return election.Term{Number: uint64(told), Node: id.String()}
	}
	m.highest++
	return election.Term{Number: m.highest, Node: id.String()}
}

func (m *Machine) secondaryPinged(at time.Duration, p *member, position int) {
	if p.primary && p.id.Ours() && position == Goodbye {
		p.primary = false
		if m.last.term == p.term {
			m.last.resigned = true
		}
		m.report(Progress, p.id.String(), "the primary at %s has stepped down", p.address())
	}
	p.secondary, p.position, p.secondaryAt = true, position, max(p.secondaryAt, at)
}

// purge forgets who has been silent for longer than the timeout.
func (m *Machine) purge() {
	for _, id := range m.ids() {
		p := m.members[id]
		if p.secondary && m.now-p.secondaryAt > m.cfg.Timeout {
			p.secondary = false
			m.report(TimedOut, id.String(), "Removing timed out secondary: %v", id)
		}
		if p.primary && m.now-p.primaryAt > m.cfg.Timeout {
			p.primary, p.conflictFrom = false, never
			m.report(Progress, id.String(), "the primary at %s was last heard %v ago", p.address(), m.now-p.primaryAt)
		}
		if !p.primary && !p.secondary {
			delete(m.members, id)
		}
	}
}

// ids are those of the members, in order, so that a run is the same each time.
func (m *Machine) ids() []packet.ID {
	ids := make([]packet.ID, 0, len(m.members))
	for id := range m.members {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, packet.ID.Compare)
	return ids
}

// primary returns the primary that was heard last, nil if none within the timeout.
func (m *Machine) primary() *member {
	var latest *member
	for _, p := range m.members {
		if p.primary && (latest == nil || p.primaryAt > latest.primaryAt ||
			p.primaryAt == latest.primaryAt && p.id.Compare(latest.id) > 0) {
			latest = p
		}
	}
	return latest
}

// anyAt reports whether a secondary holds a position.
func (m *Machine) anyAt(position int) bool {
	for _, p := range m.members {
		if p.secondary && p.position == position {
			return true
		}
	}
	return false
}

// successors reports whether anybody is there who could become primary.
func (m *Machine) successors() bool {
	for _, p := range m.members {
		if p.secondary && p.position != Goodbye {
			return true
		}
	}
	return false
}
