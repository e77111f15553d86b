package election

import "time"

// Liveness is where the life of a node's host can be watched: a listener that ends with the host's process. The
// zero value says nowhere.
type Liveness struct {
	Address string
	// Process is different for any two processes.
	Process uint64
}

// Watch is the host whose life matters to this node: that of the master in whom it believes.
type Watch struct {
	Term     Term
	Liveness Liveness
}

// Watch returns what should be watched now; its Term is zero if there is nothing to watch.
func (m *Machine) Watch() Watch {
	if m.role == Master || m.leader.liveness.Address == "" || !m.fresh(m.leader) {
		return Watch{}
	}
	return Watch{Term: m.leader.term, Liveness: m.leader.liveness}
}

// evidence says that the host which worked in a term was gone at a time. It stands until a heartbeat of the term
// is heard later than that.
type evidence struct {
	term Term
	at   time.Duration
}

// dead reports whether there is evidence of the leader's death that no heartbeat has contradicted.
func (m *Machine) dead(l leader) bool {
	return !l.term.IsZero() && l.term == m.gone.term && l.at <= m.gone.at
}

// peerGone takes evidence in. Only the master in whom this node believes matters, and only the process that its
// last heartbeats were for: evidence may come late, when a restarted node leads again.
func (m *Machine) peerGone(at time.Duration, w Watch) {
	l := m.leader
	if m.role == Master || w.Term != l.term || w.Liveness != l.liveness || l.at > at || !m.fresh(l) {
		return
	}
	m.gone = evidence{term: l.term, at: at}
	if p := m.peers[l.term.Node]; p != nil {
		m.away(p) // Nobody waits for its answer.
	}
	m.report(Progress, l.term.Node, "the process of its host is gone: its port refuses connections")
	m.reconsider()
}

// reconsider answers the claim that is being let pass once more, now that this node misses the master too. So the
// order in which the nodes get to know of a death costs no time.
func (m *Machine) reconsider() {
	if m.role == Candidate || m.now >= m.held.until {
		return
	}
	c := m.held.claim
	if m.quorum() && (!m.votes() || !m.mayGrant(c) || m.suspicion(0) == trusting) {
		return
	}
	if m.now >= m.notBefore && !m.yields() && m.canLead() && !m.named(c.Term.Node) && m.standing().Compare(c.Standing) > 0 &&
		(!m.quorum() || m.unreachable() == "") {
		m.becomeCandidate("a better one than that of " + c.Term.Node)
		return
	}
	m.answer(c, Grant)
}
