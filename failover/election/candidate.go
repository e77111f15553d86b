package election

import "time"

// claim is a claim under way.
type claim struct {
	body  Claim
	cause Cause
	// asked is how many nodes were there to answer; waiting are those of them that have not granted yet. When
	// none is left the claim has won at once.
	asked   int
	waiting map[string]bool
	// It has not won before notBefore, and is decided at until.
	notBefore, until time.Duration
	repeatAt         time.Duration
}

// held is a claim of another node that this one lets pass: it waits for the outcome.
type held struct {
	claim Claim
	until time.Duration
}

func (m *Machine) newClaim(term Term) claim {
	cause := m.suspicion(m.cfg.Stagger())
	c := claim{
		body: Claim{
			Term: term, Standing: m.standing(), HeardTerm: m.leader.term, HeardSequence: m.leader.sequence,
			Resigned: cause == Resigned,
		},
		cause:     cause,
		waiting:   m.voters(),
		notBefore: m.now,
		until:     m.now + m.cfg.Window(),
	}
	if cause == Gone {
		c.notBefore = m.now + LastWord
	}
	c.asked = len(c.waiting)
	switch {
	case c.asked > 0:
	case cause == Gone:
		c.until = c.notBefore
	case cause == Resigned:
		c.until = m.now + 1 // The next step: the term must be on disk first.
	default:
		// Nobody is there to answer but perhaps the silent master itself: a moment for its last word.
		c.until = m.now + m.cfg.Stagger()
	}
	c.repeatAt = m.now + m.cfg.Window()/3
	return c
}

// wait is what a node does that does not lead: say that it is there, and claim when its time has come.
func (m *Machine) wait() {
	m.bePresent()
	if m.role == Starting && m.now >= m.cfg.Start+m.cfg.Suspicion() && !m.canLead() {
		m.becomeStandby("nobody leads, and this node cannot: " + m.obstacle())
	}
	if !m.mayClaim(0) {
		m.claimFrom = never
		return
	}
	if m.claimFrom == never {
		m.claimFrom = m.now
	}
	if m.now >= m.claimAt() {
		m.becomeCandidate(m.suspicion(0).String())
	}
}

// claimAt is when this node claims if nobody better does before.
func (m *Machine) claimAt() time.Duration {
	if m.claimFrom == never {
		return never
	}
	return m.claimFrom + time.Duration(m.position())*m.cfg.Stagger()
}

func (m *Machine) mayClaim(slack time.Duration) bool {
	return m.now >= max(m.notBefore, m.held.until) && m.canLead() && m.suspicion(slack) != trusting
}

// bePresent multicasts the presence when it is due. A starting node asks three times within its first delay.
func (m *Machine) bePresent() {
	if m.now < m.nextPresence {
		return
	}
	m.nextPresence = m.now + m.cfg.Delay
	if m.role == Starting && m.now < m.cfg.Start+m.cfg.Delay {
		m.nextPresence = m.now + (m.cfg.Delay+2)/3
	}
	m.send(Presence{Asks: m.role == Starting})
}

// pursue is what a candidate does while time passes.
func (m *Machine) pursue() {
	switch {
	case !m.canLead():
		m.becomeStandby("claim withdrawn: " + m.obstacle())
	case m.claim.asked > 0 && len(m.claim.waiting) == 0 && m.now >= m.claim.notBefore:
		m.becomeMaster("all other nodes agreed")
	case m.now >= m.claim.until:
		m.becomeMaster("nobody objected")
	case m.now >= m.claim.repeatAt:
		m.claim.repeatAt = m.now + m.cfg.Window()/3
		m.send(m.claim.body)
	default:
		m.bePresent()
	}
}
