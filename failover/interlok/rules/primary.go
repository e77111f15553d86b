package rules

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/interlok/packet"
)

// announceCopies is how often a ping is sent that should not be lost.
const announceCopies = 3

// lead is what a primary does while time passes: it pings, as long as it can vouch for its host.
func (m *Machine) lead() {
	switch {
	case m.hostSpeaks() && !m.host.CanLead && m.host.AtRest && !m.host.GateOpen:
		m.stepDown("the host cannot lead: "+cmp.Or(m.host.Reason, "no reason given"), false)
		return
	case !m.hostSpeaks():
		m.mute(m.silence())
		return
	case m.muted && m.now >= m.leaseEnd() && m.quietUntil == never:
		// Somebody else may lead by now: whoever does pings within that time.
		m.quietUntil = m.now + LeastPings*m.cfg.Interval
	}
	if m.now < m.quietUntil {
		return
	}
	if m.muted {
		m.muted, m.quietUntil, m.nextPing = false, never, m.now
		m.report(Unmuted, "", "the host speaks: pings go on")
	}
	if m.now >= m.nextPing {
		m.beat(1)
	}
}

// mute stops the pings and the lease.
func (m *Machine) mute(why string) {
	if m.muted {
		return
	}
	m.muted, m.quietUntil = true, never
	m.report(Muted, "", "%s: no pings until it speaks", why)
}

// silence says why the machine cannot vouch for its host.
func (m *Machine) silence() string {
	if m.hostAt == never {
		return "the host has gone, or has broken with this process"
	}
	return fmt.Sprintf("the host has been silent for %v", m.now-m.hostAt)
}

// beat sends a ping and plans the next.
func (m *Machine) beat(copies int) {
	m.beatAt, m.nextPing = m.now, m.now+m.cfg.Interval
	m.do(Send{Ping: m.ping(packet.Primary, m.told()), Copies: copies})
}

// told is the number of the term as the position of a primary's ping can carry it; 0 if it has grown too great.
func (m *Machine) told() int {
	if m.term.Number > math.MaxInt32 {
		return 0
	}
	return int(m.term.Number)
}

// leaseEnd is until when the host may work by the last ping.
func (m *Machine) leaseEnd() time.Duration { return m.beatAt + m.cfg.Lease() }

// conflict decides between this primary and another one that it has heard. Exactly one has to go.
//
// A Java primary has one rule, which cannot be changed: it ends its process as soon as it hears another primary's ping.
// If ours did the same both could go, because their pings may cross. So ours does what completes Java's rule to exactly
// one loser: it stays, and pings at once, so that the other need not work on until the next ping. Only if the other is
// still there two intervals after it was first heard does it not hear us, on a network that is cut in one direction;
// then ours steps down, because it is the only one that can know.
//
// Between two of ours the lower term steps down, of equal numbers the lower id, and the higher stays by the rule above.
// A primary whose own lease has run out, or that cannot vouch for its host, steps down before anybody.
func (m *Machine) conflict(p *member) {
	switch {
	case m.muted || m.now >= m.leaseEnd():
		m.yield(p, "the lease of this one had run out")
		return
	case p.id.Ours() && cmp.Or(cmp.Compare(p.told, m.told()), p.id.Compare(m.cfg.ID)) > 0:
		m.yield(p, fmt.Sprintf("its term %v is higher than %v", p.term, m.term))
		return
	case p.conflictFrom == never || p.primaryAt-p.conflictFrom > m.cfg.Timeout:
		p.conflictFrom, p.answeredAt = p.primaryAt, never
		m.report(Conflict, p.id.String(), "%s is primary too: this one stays, the other has to step down", p.address())
	case p.primaryAt-p.conflictFrom >= 2*m.cfg.Interval-m.cfg.Interval/4:
		m.yield(p, "it does not hear this one: the network is cut in one direction")
		return
	}
	// Strangers can cause this, so not without bounds.
	if m.now-p.answeredAt >= m.cfg.Interval/4 {
		p.answeredAt = m.now
		m.beat(announceCopies)
	}
}

// yield ends a mastership because of another primary.
func (m *Machine) yield(p *member, why string) {
	m.report(Yielded, p.id.String(), "Another instance is already primary, shutting down the workload here: %s, %s", p.address(), why)
	m.becomeSecondary("another instance is primary, " + p.address() + ": " + why)
}

// reasonResigned is the reason of a demotion that the host has asked for.
const reasonResigned = "resigned"

// resign gives up a term on the host's word that nothing is under way.
func (m *Machine) resign(term election.Term) {
	m.host.GateOpen, m.host.AtRest = false, true
	if m.role == election.Master && term == m.term {
		m.stepDown(reasonResigned, true)
	}
}

// stepDown ends a mastership whose host is at rest. This wire has no word for that. Java members wait for the timeout;
// ours understand the position of the last ping. This node does not ping, and so does not stand, before they have had
// their chance.
func (m *Machine) stepDown(reason string, planned bool) {
	term := m.term
	if planned {
		reason = reasonResigned
	}
	m.becomeSecondary(reason)
	m.last = leader{term: term, at: m.now, resigned: true}
	m.notBefore = max(m.notBefore, m.now+m.cfg.Timeout)
	m.heldUntil = m.now + LeastPings*m.cfg.Interval // Somebody may be starting.
	if m.successors() {
		m.heldUntil = m.now + m.cfg.turn()
	}
	m.do(Send{Ping: m.ping(packet.Secondary, Goodbye), Copies: announceCopies})
}

// becomeSecondary ends a mastership. The host may be working still: until it is at rest this node is silent.
func (m *Machine) becomeSecondary(reason string) {
	m.do(election.Demote{Term: m.term, Reason: reason, Planned: reason == reasonResigned})
	m.term, m.takeover, m.muted, m.quietUntil, m.beatAt = election.Term{}, nil, false, never, never
	m.position, m.silent, m.silentAt = 0, true, m.now
	m.become(election.Standby, reason)
	for _, p := range m.members {
		p.conflictFrom = never
	}
}
