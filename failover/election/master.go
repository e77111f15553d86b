package election

import "fmt"

// lead is what a master does while time passes: heartbeats, as long as it can vouch for its host.
func (m *Machine) lead() {
	if m.hostSpeaks() && !m.host.CanLead && m.host.AtRest && !m.host.GateOpen {
		reason := m.host.Reason
		if reason == "" {
			reason = "no reason given"
		}
		m.stepDown("the host cannot lead: "+reason, "")
		return
	}
	if m.quorum() && !m.holdLease() {
		return
	}
	m.considerPreemption()
	if !m.hostSpeaks() || m.now < m.quietUntil {
		if !m.muted {
			m.muted = true
			m.report(Muted, "", "%s: no heartbeats until it speaks", m.silence())
		}
		return
	}
	if m.muted {
		m.muted = false
		m.report(Unmuted, "", "the host speaks: heartbeats go on")
		m.nextBeat = m.now
	}
	if m.now >= m.nextBeat {
		m.beat()
	}
}

// holdLease reports whether this node is still the master. When no majority acknowledges it the host must not work, but
// the role is kept for S: a majority that comes back in time opens the gate in the same term.
func (m *Machine) holdLease() bool {
	end := max(m.leaseEnd(), m.since)
	switch {
	case m.now < end:
	case m.now >= end+m.cfg.Suspicion():
		m.becomeStandby("no majority of the voters has acknowledged it for " + (m.now - end + m.cfg.Lease()).String())
		return false
	case m.promoted && !m.lapsed:
		m.lapsed = true
		m.report(Lapsed, "", "no majority of the voters %v acknowledges term %v: the gate is shut until one does", m.vote.Voters.IDs, m.term)
	}
	return true
}

// silence says why the machine cannot vouch for its host.
func (m *Machine) silence() string {
	if m.hostAt == never {
		return "the host has gone, or has broken with this process"
	}
	return fmt.Sprintf("the host has been silent for %v", m.now-m.hostAt)
}

// beat multicasts a heartbeat and plans the next.
func (m *Machine) beat() {
	m.beats++
	m.beatAt = m.now
	m.nextBeat = m.now + m.cfg.Delay
	m.beatTimes[m.beats%beatsKept] = m.now
	m.send(m.heartbeat())
	if m.quorum() {
		m.confirm()
	}
}

// heartbeat is the last one, or its repetition.
func (m *Machine) heartbeat() Heartbeat {
	return Heartbeat{Term: m.term, Sequence: m.beats, Members: m.order(), Liveness: m.host.Liveness}
}

// announce answers somebody who does not seem to know who leads, but no flood of them.
func (m *Machine) announce() {
	if m.now >= m.beatAt+m.cfg.Stagger() {
		m.beat()
		return
	}
	m.nextBeat = min(m.nextBeat, m.beatAt+m.cfg.Stagger())
}

// resign gives up a term on the host's word that nothing is under way.
func (m *Machine) resign(term Term, successor string) {
	m.host.GateOpen, m.host.AtRest = false, true
	switch {
	case m.role == Master && term == m.term:
		m.stepDown(reasonResigned, successor)
	case term == m.lost && !term.IsZero():
		m.hostChanged(m.host)
	}
}

// stepDown ends a mastership whose host is at rest. The others hear of it three times, and this node does not
// claim again before they had their chance.
func (m *Machine) stepDown(reason, successor string) {
	term, last := m.term, m.beats+1
	m.becomeStandby(reason)
	m.lost = Term{}
	m.leader = leader{term: term, sequence: last, at: m.now, direct: m.now}
	m.ended, m.endedAt = term, last
	m.name(successor)
	m.yieldUntil = m.now + m.cfg.Suspicion()
	word := m.resignation(term, last, successor)
	for range 3 {
		m.send(word)
	}
	m.observe(m.now, word.SupersededBy, 0, false)
}

// resignation is the word that ends a term. Where the host knows of a later term it says so: whoever has not heard its
// master yet must not take the end of this one for a vacancy.
func (m *Machine) resignation(term Term, sequence uint64, successor string) Resignation {
	r := Resignation{Term: term, Sequence: sequence, Successor: successor}
	if m.host.Later.Compare(term) > 0 {
		r.SupersededBy = m.host.Later
	}
	return r
}
