package election

import (
	"fmt"
	"slices"
)

// transitions are the ways between the roles. Only the become methods below go them.
//
//	starting ──► standby ──► candidate ──► master
//	    └──────────┼────────────►▲             │
//	               ▲◄────────────┘             │
//	               └───────────────────────────┘
var transitions = map[Role][]Role{
	Starting:  {Standby, Candidate},
	Standby:   {Candidate},
	Candidate: {Standby, Master},
	Master:    {Standby},
}

// reasonResigned is the reason of a demotion that the host has asked for.
const reasonResigned = "resigned"

func (m *Machine) become(role Role, reason string) {
	if !slices.Contains(transitions[m.role], role) {
		panic(fmt.Sprintf("election: %v cannot become %v (%s)", m.role, role, reason))
	}
	m.role, m.since, m.reason = role, m.now, reason
	m.claimFrom = never
}

// becomeStandby waits from now on: after a start, when a claim is withdrawn, or when a mastership ends.
func (m *Machine) becomeStandby(reason string) {
	if m.role == Master {
		if m.promoted {
			m.do(Demote{Term: m.term, Reason: reason, Planned: reason == reasonResigned})
			m.lost = m.term
		}
		if m.votes() {
			m.acked = acknowledgement{term: m.term, at: m.beatAt} // Its own vote was behind it.
		}
		m.promoted, m.lapsed, m.takeover, m.wish, m.better = false, false, nil, Handover{}, ""
		m.base, m.change = Voters{}, change{}
		m.leader = leader{term: m.term, sequence: m.beats, at: m.beatAt, direct: m.beatAt}
		m.term, m.muted = Term{}, false
	}
	m.become(Standby, reason)
	m.claim = claim{}
	m.nextPresence = m.now
	m.report(Progress, "", "standby: %s", reason)
}

// becomeCandidate claims a new term. The number is on disk before anybody hears of it.
func (m *Machine) becomeCandidate(reason string) {
	suspected := m.claimFrom
	m.become(Candidate, reason)
	m.suspected = m.now
	if suspected != never {
		m.suspected = suspected
	}
	m.highest++
	m.claim = m.newClaim(Term{Number: m.highest, Node: m.cfg.ID})
	m.save(m.highest)
	m.send(m.claim.body)
	m.report(Progress, "", "claims term %v: %s", m.claim.body.Term, reason)
}

// becomeMaster leads in the claimed term: the others hear of it, then the own host.
func (m *Machine) becomeMaster(reason string) {
	won := m.claim
	m.become(Master, won.cause.String()+"; "+reason)
	m.failed = 0
	m.term, m.beats, m.lost = won.body.Term, 0, Term{}
	m.muted, m.quietUntil = false, never
	m.promoted, m.lapsed, m.confirmed = false, false, never
	clear(m.acks)
	m.takeover = m.newTakeover(won)
	if !won.body.Standing.InSync && !m.leader.term.IsZero() {
		m.report(Unclean, "", "leads in term %v although its mirror was not in sync: messages in flight may be missing", m.term)
	}
	m.claim = claim{}
	m.beat()
	// The first heartbeat is sent twice, so that one lost datagram does not hide the new master for a delay.
	m.nextBeat = m.now + m.cfg.Stagger()
	if !m.quorum() {
		m.promote()
	}
}

// promote lets the host work.
func (m *Machine) promote() {
	m.promoted = true
	m.takeover.Claim = m.now - m.claimedAt
	m.takeover.Heard = m.hears()
	m.do(Promote{Term: m.term, After: m.takeover.After, Cause: m.takeover.Cause, Takeover: *m.takeover})
}

func (m *Machine) newTakeover(won claim) *Takeover {
	m.claimedAt = won.began
	t := &Takeover{Cause: won.cause, After: won.body.HeardTerm, Wait: won.began - m.suspected}
	from := m.leader.at
	if m.leader.term.IsZero() {
		from = m.cfg.Start
	}
	t.Detection = max(m.suspected-from, 0)
	return t
}
