package election

import "time"

// receive takes a message in. What it tells about its sender, and what its sender tells of the master, counts
// whatever its body is.
func (m *Machine) receive(at time.Duration, msg Message) {
	if !consistent(msg) {
		m.report(Impossible, msg.From, "a message that contradicts itself was dropped: %v", msg.Body)
		return
	}
	p, latest := m.admit(at, msg)
	if p == nil {
		return
	}
	if latest && len(msg.About.Voters.IDs) > 0 {
		p.voters = msg.About.Voters
		m.adopt(p.voters)
	}
	if beat, ok := msg.Body.(Heartbeat); ok {
		m.takePause(msg.About.Pause)
		m.receiveHeartbeat(at, beat)
		return
	}
	if resignation, ok := msg.Body.(Resignation); ok {
		m.away(p)
		if m.ended != resignation.Term {
			m.name(resignation.Successor)
		}
		m.end(resignation.Term, resignation.Sequence)
		if by := resignation.SupersededBy; by.Compare(resignation.Term) > 0 {
			m.observe(at, by, 0, false)
		}
		m.observe(at-max(msg.About.Heard.Age, 0), msg.About.Heard.Term, msg.About.Heard.Sequence, false)
		return
	}
	if ack, ok := msg.Body.(Ack); ok {
		m.receiveAck(p, ack)
		return
	}
	if latest {
		m.receiveAbout(at, p, msg)
	}
	switch body := msg.Body.(type) {
	case Presence:
		if m.role == Master && !m.muted {
			m.tell(p)
			if body.Asks {
				m.announce()
			}
		}
	case Claim:
		m.receiveClaim(p, body)
	case Answer:
		m.receiveAnswer(p, body)
	}
}

// consistent reports whether a message may have come from a node that keeps the rules: nobody speaks for
// another one's term.
func consistent(msg Message) bool {
	switch body := msg.Body.(type) {
	case Heartbeat:
		return body.Term.Node == msg.From && body.Term.Number > 0
	case Claim:
		return body.Term.Node == msg.From && body.Term.Number > 0
	case Resignation:
		return body.Term.Node == msg.From && body.Term.Number > 0
	case Presence, Answer, Ack:
		return true
	}
	return false
}

// receiveAbout takes in what a sender knows of the master.
func (m *Machine) receiveAbout(at time.Duration, p *peer, msg Message) {
	a := msg.About
	m.takePause(a.Pause)
	over := a.Role != Master && a.AtRest && !a.GateOpen
	if over && msg.From == m.leader.term.Node && m.leader.term != m.ended && m.leader.direct != never {
		// The master itself has said after its heartbeat that it is none: it was demoted and is at rest, or has
		// been restarted. (Of a master known only through others it might be an old message that came late.)
		m.away(p)
		m.end(m.leader.term, m.leader.sequence)
	}
	m.observe(at-max(a.Heard.Age, 0), a.Heard.Term, a.Heard.Sequence, false)
}

func (m *Machine) receiveHeartbeat(at time.Duration, beat Heartbeat) {
	if m.role == Master && beat.Term.Compare(m.term) < 0 {
		m.highest = max(m.highest, beat.Term.Number)
		m.report(Conflict, beat.Term.Node, "it leads in term %v, this node in the higher %v: the other has to stand down", beat.Term, m.term)
		if !m.muted {
			m.announce()
		}
		return
	}
	m.observe(at, beat.Term, beat.Sequence, true)
	if m.leader.term == beat.Term && m.leader.sequence == beat.Sequence {
		m.leader.members, m.leader.liveness = beat.Members, beat.Liveness
		if p := m.peers[beat.Term.Node]; p != nil {
			m.mirrored = p.about.Standing.InSync
		}
		for _, id := range beat.Members {
			if id != m.cfg.ID {
				m.learn(id)
			}
		}
	}
	m.acknowledge(beat)
}

// receiveClaim answers a claim. Without a quorum an answer is only advice, so nothing has to be kept on disk.
func (m *Machine) receiveClaim(p *peer, c Claim) {
	m.highest = max(m.highest, c.Term.Number)
	if m.role == Master {
		// The best objection is a sign of life. A muted master gives none: its host may be dead.
		if !m.muted {
			m.tell(p)
			m.announce()
		}
		return
	}
	if c.Resigned {
		m.end(c.HeardTerm, c.HeardSequence)
	}
	if m.role == Candidate {
		mine := m.claim.body
		if !m.named(p.id) && (m.named(m.cfg.ID) || !outranks(c.Standing, p.id, mine.Standing, m.cfg.ID)) {
			return // It will hear this node's claim, and withdraw.
		}
		m.becomeStandby("claim withdrawn for the better one of " + p.id)
	}
	verdict := m.judge(c)
	if verdict == Grant && !m.named(p.id) && m.mayClaim(m.cfg.Stagger()) && m.standing().Compare(c.Standing) > 0 {
		m.becomeCandidate("a better one than that of " + p.id)
		return
	}
	if verdict != Object && m.held.claim.Term != c.Term {
		// Whoever has let a claim pass waits for its outcome before claiming.
		m.held = held{claim: c, until: m.now + m.cfg.Window() + m.cfg.Stagger()}
	}
	m.answer(c, verdict)
}

// tell sends the last heartbeat to one node that does not seem to hear this master: either it has not heard yet,
// or it is deaf for what all hear, and this reaches it.
func (m *Machine) tell(p *peer) {
	heard := p.about.Heard
	if (heard.Term != m.term || heard.Sequence+2 <= m.beats) && p.about.Address != "" && m.beats > 0 {
		m.sendTo(p.id, m.heartbeat())
	}
}

// answer says the verdict on a claim; a voter's grant is on disk before.
func (m *Machine) answer(c Claim, verdict Verdict) {
	if verdict == Grant && m.votes() {
		m.grantedBoot = m.peers[c.Term.Node].boot
		m.promise(c.Term)
	}
	if verdict == Grant && m.held.claim.Term == c.Term {
		m.held.granted = true
	}
	m.sendTo(c.Term.Node, Answer{Claim: c.Term, Verdict: verdict, Vote: verdict == Grant && m.votes(), Highest: m.highest})
}

// judge decides about a claim. Suspicions of the same silence come at slightly different times, so one that is
// almost due counts.
func (m *Machine) judge(c Claim) Verdict {
	switch {
	case m.votes() && !m.mayGrant(c):
		if m.fresh(m.leader) && (m.leader.term != c.HeardTerm || m.leader.sequence > c.HeardSequence) {
			return Object
		}
		return Defer
	case m.suspicion(m.cfg.Stagger()) != trusting:
		return Grant
	case !m.fresh(m.leader):
		return Defer // Still listening after the start.
	case m.leader.term == c.HeardTerm && m.leader.sequence <= c.HeardSequence:
		return Defer
	}
	return Object
}

func (m *Machine) receiveAnswer(p *peer, a Answer) {
	m.highest = max(m.highest, a.Highest)
	if m.role != Candidate || a.Claim != m.claim.body.Term {
		return
	}
	switch a.Verdict {
	case Grant:
		delete(m.claim.waiting, p.id)
		if a.Vote {
			m.claim.grants[p.id] = true
		}
	case Defer:
		// Whose mirror is not in sync leads only when nobody answers whose is.
		if s := p.about.Standing; s.InSync && p.about.CanLead && !m.claim.body.Standing.InSync {
			m.notBefore = max(m.notBefore, m.now+m.cfg.Delay)
			m.becomeStandby("claim withdrawn: the mirror of " + p.id + " is in sync, that of this node is not")
		}
	case Object:
		// If the objection told of a living master, observe has withdrawn the claim before. Else it is out of
		// date: its master has resigned, or is missed here by now for all that the objector knows.
	}
}
