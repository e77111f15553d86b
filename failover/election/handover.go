package election

import "time"

// succession is the last master's wish who shall lead next. It holds for the time of a claim.
type succession struct {
	id    string
	until time.Duration
}

// awaits reports whether somebody else was named to lead next and still has time to claim.
func (m *Machine) awaits() bool {
	return m.successor.id != "" && m.successor.id != m.cfg.ID && m.now < m.successor.until
}

// named reports whether a node was named to lead next.
func (m *Machine) named(id string) bool { return m.successor.id == id && m.now < m.successor.until }

func (m *Machine) name(id string) {
	if id == "" {
		return
	}
	m.successor = succession{id: id, until: m.now + m.cfg.Window()}
}

// Handover is the wish that this master make room for another node.
type Handover struct {
	To     string
	Reason string
}

// considerPreemption looks whether a better node has been there long enough, where that is wanted.
func (m *Machine) considerPreemption() {
	if !m.cfg.Preempt {
		return
	}
	best := ""
	for id, p := range m.peers {
		if !m.live(p) || !p.about.CanLead || !p.about.Standing.InSync || p.about.Standing.Priority <= m.cfg.Priority || m.now < p.awayUntil {
			continue
		}
		if best == "" || outranks(p.about.Standing, id, m.peers[best].about.Standing, best) {
			best = id
		}
	}
	if best != m.better {
		m.better, m.betterSince = best, m.now
	}
	m.wish = Handover{}
	if best != "" && m.now-m.betterSince >= m.cfg.PreemptDelay && !m.pause.On {
		m.wish = Handover{To: best, Reason: "it has the higher priority, and failover.preempt is on"}
	}
}
