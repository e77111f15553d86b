package election

import "cmp"

// Pause is somebody's word whether anybody may be promoted. The later one counts.
type Pause struct {
	Counter uint64
	// Node is where it was said.
	Node string
	On   bool
}

// later reports whether p was said after other; two said at once are ordered by node.
func (p Pause) later(other Pause) bool {
	return cmp.Or(cmp.Compare(p.Counter, other.Counter), cmp.Compare(p.Node, other.Node)) > 0
}

// setPause says it here, and to the others with each message from now on.
func (m *Machine) setPause(on bool) {
	m.takePause(Pause{Counter: m.pause.Counter + 1, Node: m.cfg.ID, On: on})
	if m.role == Master {
		m.nextBeat = m.now
	} else {
		m.nextPresence = m.now
	}
}

func (m *Machine) takePause(p Pause) {
	if !p.later(m.pause) {
		return
	}
	was := m.pause.On
	m.pause = p
	m.do(SavePause{Pause: p})
	switch {
	case p.On && !was:
		m.report(Paused, p.Node, "promotions are paused: if the master goes nobody takes over until 'bootstrap resume'")
	case !p.On && was:
		m.report(Progress, p.Node, "promotions are possible again")
		m.claimFrom = never
	}
}
