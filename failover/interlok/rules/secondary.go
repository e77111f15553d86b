package rules

import (
	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/interlok/packet"
)

// wait is what a secondary does while time passes.
func (m *Machine) wait() {
	if m.now < m.cfg.Start+m.cfg.Listen {
		return
	}
	if m.role == election.Starting {
		m.become(election.Standby, "has listened")
	}
	if obstacle := m.obstacle(); obstacle != "" {
		m.fallSilent(obstacle)
		return
	}
	m.appear()
	if m.now >= m.nextPoll {
		m.poll()
	}
	if m.mayLead() {
		m.promote()
		return
	}
	if m.now >= m.nextPing {
		m.nextPing = m.now + m.cfg.Interval
		m.do(Send{Ping: m.ping(packet.Secondary, m.position), Copies: 1})
	}
}

// fallSilent stops the pings of a secondary that could not lead. The others leave it out after the timeout; one that
// pinged in position 1 and could not lead would keep them waiting for ever.
func (m *Machine) fallSilent(why string) {
	if m.silent {
		return
	}
	m.silent, m.silentAt = true, m.now
	m.report(Muted, "", "no pings, so that the others do not count on this node: %s", why)
}

// appear begins to ping, or begins again. Who comes back after the others have forgotten it takes the last place, which
// moves nobody.
func (m *Machine) appear() {
	if !m.silent {
		return
	}
	m.silent, m.nextPing, m.nextPoll = false, m.now, m.now
	m.placedAt = m.now
	// Another one may appear at the same moment: each has to hear of the other's place first.
	m.notBefore = max(m.notBefore, m.now+LeastPings*m.cfg.Interval)
	if m.appeared && m.now-m.silentAt > m.cfg.Timeout || m.appeared && m.position == 0 {
		m.position = m.lastPlace()
		m.report(Assigned, "", "Assigning myself secondary position %d", m.position)
	}
	if m.appeared {
		m.report(Unmuted, "", "this node can lead again: it pings")
	}
	m.appeared = true
}

// lastPlace is the one behind all that are taken.
func (m *Machine) lastPlace() int {
	place := 0
	for _, p := range m.members {
		if p.secondary && p.position < Goodbye-1 {
			place = max(place, p.position)
		}
	}
	return place + 1
}

// poll looks at the positions, as a Java member does every five seconds.
func (m *Machine) poll() {
	m.nextPoll = m.now + m.cfg.Poll
	switch {
	case m.position == 0 || m.anyAt(0) || m.anyAt(m.position):
		m.allocate()
	case m.position > 1 && !m.anyAt(m.position-1):
		m.position--
		m.nextPing, m.placedAt = m.now, m.now
		m.report(Moved, "", "Promoting secondary to position %d", m.position)
	}
}

// allocate takes the place of this member's id in the order of all secondaries' ids. All do the same when any has no
// position, or one that is taken.
func (m *Machine) allocate() {
	place := 1
	for id, p := range m.members {
		if p.secondary && id.Compare(m.cfg.ID) < 0 {
			place++
		}
	}
	if place == m.position {
		return
	}
	m.position, m.nextPing, m.placedAt = place, m.now, m.now
	m.report(Assigned, "", "Assigning myself secondary position %d", place)
}

// mayLead reports whether it is this secondary's turn. As in Java it has held place 1 for a poll by then, so that
// another one that believes the same has been heard.
func (m *Machine) mayLead() bool {
	return m.position == 1 && m.now >= max(m.notBefore, m.placedAt+m.cfg.Poll) && !m.anyAt(1) && m.primary() == nil
}

// promote makes this member the primary.
func (m *Machine) promote() {
	cause := election.Silence
	from := m.last.at
	switch {
	case m.last.term.IsZero():
		cause, from = election.Nobody, m.cfg.Start
	case m.last.resigned:
		cause = election.Resigned
	}
	m.report(Promoting, "", "Primary not available, promoting myself to primary.")
	m.become(election.Master, cause.String())
	m.highest++
	m.term = election.Term{Number: m.highest, Node: m.cfg.NodeID}
	m.position, m.muted, m.quietUntil, m.unsaved = 0, false, never, true
	m.takeover = &election.Takeover{Cause: cause, After: m.last.term, Detection: max(m.now-from, 0), Heard: m.hears()}
	m.save(m.highest)
	m.beat(announceCopies)
	m.do(election.Promote{Term: m.term, After: m.last.term, Cause: cause, Takeover: *m.takeover})
}

// hears are the members heard lately, in the order of their ids.
func (m *Machine) hears() []election.Hearing {
	heard := make([]election.Hearing, 0, len(m.members))
	for _, id := range m.ids() {
		heard = append(heard, election.Hearing{ID: id.String(), Age: max(m.now-m.members[id].at, 0)})
	}
	return heard
}
