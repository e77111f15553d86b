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
	// grants are the nodes that have granted, for the majority.
	grants map[string]bool
	began  time.Duration
	// It has not won before notBefore, and is decided at until.
	notBefore, until time.Duration
	repeatAt         time.Duration
}

// held is a claim of another node that this one lets pass: it waits for the outcome.
type held struct {
	claim   Claim
	until   time.Duration
	granted bool
}

func (m *Machine) newClaim(term Term) claim {
	cause := m.suspicion(m.cfg.Stagger())
	c := claim{
		body: Claim{
			Term: term, Standing: m.standing(), HeardTerm: m.leader.term, HeardSequence: m.leader.sequence,
			Resigned: cause == Resigned, Voters: m.vote.Voters.Stamp,
		},
		began:     m.now,
		grants:    make(map[string]bool),
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
	case c.asked > 0 || m.quorum():
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
	if m.quorum() && m.now < m.held.until && !m.held.granted {
		m.reconsider()
	}
	if m.role == Candidate {
		return
	}
	m.observeOnly()
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

// observeOnly says what an observer would have done, once for each master that is missed.
func (m *Machine) observeOnly() {
	if !m.cfg.Observer || m.now < m.notBefore {
		return
	}
	cause := m.suspicion(0)
	if cause == trusting {
		m.observed = Term{}
		return
	}
	missed := m.leader.term
	missed.Number++ // Not zero, if none was ever heard.
	if m.observed != missed {
		m.observed = missed
		m.report(Observed, m.leader.term.Node, "would have claimed now: %v", cause)
	}
}

// claimAt is when this node claims if nobody better does before.
func (m *Machine) claimAt() time.Duration {
	if m.claimFrom == never {
		return never
	}
	if m.named(m.cfg.ID) {
		return m.claimFrom
	}
	return m.claimFrom + time.Duration(m.position())*m.cfg.Stagger()
}

// yields reports whether the others have precedence because this node has resigned.
func (m *Machine) yields() bool { return m.now < m.yieldUntil && !m.named(m.cfg.ID) }

func (m *Machine) mayClaim(slack time.Duration) bool {
	return m.now >= max(m.notBefore, m.held.until) && !m.yields() && !m.awaits() && m.canLead() && m.suspicion(slack) != trusting &&
		(!m.quorum() || m.unreachable() == "")
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
	case m.quorum():
		m.pursueMajority()
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

// backOff is how long a candidate waits that found no majority: not as long as the next one in order, and longer each
// time, up to a delay, so that split votes end and nobody floods a network in which there is no majority.
func (m *Machine) backOff() time.Duration {
	wait := time.Duration(1+m.position()) * m.cfg.Stagger()
	for range m.failed {
		if wait *= 2; wait >= m.cfg.Delay {
			wait = m.cfg.Delay
			break
		}
	}
	m.failed++
	return wait
}

// pursueMajority is what a candidate does that needs one.
func (m *Machine) pursueMajority() {
	switch {
	case m.now >= m.claim.notBefore && m.grantedByMajority():
		switch done, ok := m.ownVote(); {
		case !ok:
			m.becomeStandby("claim withdrawn: this node has promised its vote")
		case done:
			m.becomeMaster("a majority granted")
		}
	case m.now >= m.claim.until:
		m.notBefore = max(m.notBefore, m.now+m.backOff())
		m.becomeStandby("no majority granted the claim")
	case m.now >= m.claim.repeatAt:
		m.claim.repeatAt = m.now + m.cfg.Window()/3
		m.send(m.claim.body)
	default:
		m.bePresent()
	}
}
