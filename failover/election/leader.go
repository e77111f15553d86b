package election

import (
	"math"
	"time"
)

// leader is what a node knows of the master that it believes in.
type leader struct {
	term     Term
	sequence uint64
	// at is when the last heartbeat was heard, by whomever; direct when this node itself heard one.
	at, direct time.Duration
	members    []string
	liveness   Liveness
	secondHand bool
}

// fresh reports whether a leader counts as living.
func (m *Machine) fresh(l leader) bool {
	return !l.term.IsZero() && l.term != m.ended && !m.dead(l) && m.now-l.at < m.cfg.Suspicion()
}

// observe takes in that a heartbeat was heard at a time: by this node, or by one that has told of it. So a node
// that went deaf for one sender learns from the others that it lives, and does not even claim. A heartbeat
// counts once, when it is newer than the last: what goes round in a circle makes nobody younger.
func (m *Machine) observe(at time.Duration, term Term, sequence uint64, direct bool) {
	m.highest = max(m.highest, term.Number)
	if term.IsZero() || term == m.ended && sequence <= m.endedAt {
		return
	}
	if term == m.ended {
		m.ended = Term{} // A later heartbeat: its end was a rumour.
	}
	next := leader{term: term, sequence: sequence, at: at, direct: never}
	if direct {
		next.direct = at
	}
	if m.role == Master {
		if term.Compare(m.term) <= 0 || !m.fresh(next) {
			return
		}
		m.report(Conflict, term.Node, "it leads in term %v, this node in the lower %v: this node stands down", term, m.term)
		m.becomeStandby("a master of the higher term " + term.String() + " was heard")
	}
	current := m.leader
	if !m.newer(next, current) {
		if term == current.term && direct {
			m.leader.direct = max(m.leader.direct, at)
		}
		return
	}
	if term == current.term {
		next.members, next.liveness, next.secondHand = current.members, current.liveness, current.secondHand
		next.at = max(next.at, current.at)
		next.direct = max(next.direct, current.direct)
	}
	m.leader = next
	if !m.fresh(next) {
		return
	}
	if term == m.gone.term {
		m.gone = evidence{}
		m.report(Contradicted, term.Node, "its host's port refused a connection, and it is heard all the same in term %v: does a firewall reset connections?", term)
	}
	// One more than it is: so the next claim has not to wait for the disk.
	m.save(min(m.highest+1, math.MaxInt64))
	m.noteSecondHand()
	m.claimFrom, m.failed = never, 0
	if m.role == Candidate && !direct {
		m.report(Objected, term.Node, "a claim was withdrawn: others hear that it leads in term %v, this node did not", term)
	}
	if m.role == Starting || m.role == Candidate {
		m.becomeStandby(term.Node + " leads in term " + term.String())
	} else if term != current.term {
		m.report(Progress, term.Node, "leads in term %v", term)
	}
}

// newer decides between two leaders: a later heartbeat of the same term; else one that lives rather than one
// that does not, whatever their terms; else the higher term.
func (m *Machine) newer(next, current leader) bool {
	switch {
	case next.term == current.term:
		return next.sequence > current.sequence
	case m.fresh(next) != m.fresh(current):
		return m.fresh(next)
	}
	return next.term.Compare(current.term) > 0
}

// noteSecondHand reports, once, that the master is heard only through others.
func (m *Machine) noteSecondHand() {
	l := &m.leader
	deaf := m.now-max(l.direct, m.cfg.Start) >= m.cfg.Suspicion()
	if deaf && !l.secondHand {
		m.report(SecondHand, l.term.Node, "the master is heard only through other nodes: its datagrams do not arrive here")
	}
	l.secondHand = deaf
}

// end notes that the master of a term has said that it is over.
func (m *Machine) end(term Term, sequence uint64) {
	m.highest = max(m.highest, term.Number)
	if term != m.leader.term && term.Compare(m.ended) < 0 {
		return
	}
	m.ended, m.endedAt = term, sequence
	switch {
	case term == m.leader.term:
		m.endedAt = max(m.leader.sequence, sequence)
		m.leader.sequence = m.endedAt
	case !m.fresh(m.leader):
		m.leader = leader{term: term, sequence: sequence, at: m.now, direct: m.now, members: m.leader.members}
	}
}

// Cause is why a node thinks that nobody leads.
type Cause uint8

// The causes.
const (
	// trusting: somebody leads.
	trusting Cause = iota
	// Nobody: no master was ever heard.
	Nobody
	// Silence: the master's heartbeat has stopped.
	Silence
	// Resigned: the master has said that it leads no more.
	Resigned
	// Gone: there is evidence that the process of the master's host is gone.
	Gone
)

// String gives the cause in words.
func (c Cause) String() string {
	switch c {
	case Nobody:
		return "no master was heard"
	case Silence:
		return "the master is silent"
	case Resigned:
		return "the master has resigned"
	case Gone:
		return "the master's process is gone"
	}
	return "the master lives"
}

// suspicion tells whether this node misses a master. slack is how much earlier than its time a suspicion
// counts.
func (m *Machine) suspicion(slack time.Duration) Cause {
	switch {
	case m.now < m.suspectAt()-slack:
		return trusting
	case m.leader.term.IsZero():
		return Nobody
	case m.leader.term == m.ended:
		return Resigned
	case m.dead(m.leader):
		return Gone
	}
	return Silence
}

// suspectAt is when the suspicion comes, if nothing is heard until then.
func (m *Machine) suspectAt() time.Duration {
	switch {
	case !m.leader.term.IsZero() && (m.leader.term == m.ended || m.dead(m.leader)):
		return m.now
	case !m.leader.term.IsZero():
		return m.leader.at + m.cfg.Suspicion()
	case m.everybodyStarts():
		return m.cfg.Start + m.cfg.Delay
	}
	return m.cfg.Start + m.cfg.Suspicion()
}

// everybodyStarts reports whether this is the start of a whole cluster, where nobody needs to be waited for: at
// least one other node is heard, none of them knows a living master, and every node known from the disk is
// among them.
func (m *Machine) everybodyStarts() bool {
	heard := 0
	for _, p := range m.peers {
		if !m.live(p) {
			continue
		}
		h := p.about.Heard
		if p.about.Role == Master || !h.Term.IsZero() && h.Age+m.now-p.at < m.cfg.Suspicion() {
			return false
		}
		heard++
	}
	for id := range m.known {
		if p := m.peers[id]; p == nil || !m.live(p) {
			return false
		}
	}
	return heard > 0
}
