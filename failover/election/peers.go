package election

import (
	"slices"
	"time"
)

// peer is another node as it was last heard.
type peer struct {
	id             string
	boot, sequence uint64
	at             time.Duration
	about          About
	// awayUntil keeps a node whose mastership has just ended from being waited for.
	awayUntil time.Duration
	disagreed bool
	voters    Voters // as it last told
}

// live reports whether a peer was heard lately.
func (m *Machine) live(p *peer) bool { return m.now-p.at < m.cfg.Suspicion() }

// away gives the others precedence over a node whose mastership has just ended.
func (m *Machine) away(p *peer) { p.awayUntil = m.now + m.cfg.Suspicion() }

// admit notes the sender of a message and how it is. It returns nil if the message must be dropped, and whether
// the message is the latest of its sender: on the way one may overtake another.
func (m *Machine) admit(at time.Duration, msg Message) (p *peer, latest bool) {
	if msg.From == m.cfg.ID {
		m.hearSelf(at, msg.Boot)
		return nil, false
	}
	p = m.peers[msg.From]
	if p == nil {
		if len(m.peers) >= MaxPeers && !m.forgetSomebody() {
			m.report(Crowded, msg.From, "ignored: %d other nodes are known already; are they all of this cluster?", MaxPeers)
			return nil, false
		}
		p = &peer{id: msg.From, boot: msg.Boot, at: never, awayUntil: never}
		m.peers[msg.From] = p
		m.learn(msg.From)
	}
	switch {
	case msg.Boot < p.boot:
		m.report(OldBoot, msg.From, "a message of an earlier start of the node was dropped")
		return nil, false
	case msg.Boot > p.boot:
		p.boot, p.sequence, p.awayUntil = msg.Boot, 0, never
	}
	p.at = max(p.at, at)
	if msg.Sequence <= p.sequence {
		return p, false
	}
	hears := p.about.Hears
	p.sequence, p.about = msg.Sequence, msg.About
	switch msg.Body.(type) {
	case Heartbeat, Presence:
	default:
		p.about.Hears = hears
	}
	m.compareSettings(p)
	return p, true
}

// hearSelf is for messages with this node's own id: its own echo, a late one of its last life, or the sign that
// somebody has copied the data folder. Of two nodes with one id the one started later stays.
func (m *Machine) hearSelf(at time.Duration, boot uint64) {
	switch {
	case boot == m.cfg.Boot:
		return
	case boot < m.cfg.Boot:
		if m.now-m.cfg.Start <= 2*m.cfg.Delay {
			m.report(OldBoot, m.cfg.ID, "a message of this node's last life was dropped")
			return
		}
	default:
		m.twinAt = at
		if m.role == Master {
			m.becomeStandby("another node uses the id " + m.cfg.ID)
		}
	}
	m.report(DuplicateID, m.cfg.ID, "another running node uses the same id; give each node its own node.id, or delete data/node-id on one")
}

// forgetSomebody makes room by dropping the peer that has been silent longest, if it is long gone.
func (m *Machine) forgetSomebody() bool {
	var oldest *peer
	for _, p := range m.peers {
		if oldest == nil || p.at < oldest.at || p.at == oldest.at && p.id < oldest.id {
			oldest = p
		}
	}
	if oldest == nil || m.live(oldest) {
		return false
	}
	delete(m.peers, oldest.id)
	return true
}

// learn keeps the id of a node for the next start.
func (m *Machine) learn(id string) {
	if m.known[id] || len(m.known) >= MaxPeers {
		return
	}
	m.known[id] = true
	ids := make([]string, 0, len(m.known))
	for known := range m.known {
		ids = append(ids, known)
	}
	slices.Sort(ids)
	m.do(SaveNodes{Nodes: ids})
}

func (m *Machine) compareSettings(p *peer) {
	if p.disagreed {
		return
	}
	a := p.about
	switch {
	case a.Delay != m.cfg.Delay || a.Retries != m.cfg.Retries:
		m.report(Disagreement, p.id, "it has failover.delay=%v and failover.retries=%d, this node %v and %d: make them equal",
			a.Delay, a.Retries, m.cfg.Delay, m.cfg.Retries)
	case a.Members != m.cfg.Members || a.Preempt != m.cfg.Preempt || a.PreemptDelay != m.cfg.PreemptDelay:
		m.report(Disagreement, p.id, "it has failover.members=%d, failover.preempt=%v and failover.preempt.delay=%v, this node %d, %v and %v: make them equal",
			a.Members, a.Preempt, a.PreemptDelay, m.cfg.Members, m.cfg.Preempt, m.cfg.PreemptDelay)
	case a.AdapterDigest != "" && m.cfg.AdapterDigest != "" && a.AdapterDigest != m.cfg.AdapterDigest:
		m.report(Disagreement, p.id, "it has another adapter file: what is in flight may not be resumed there")
	default:
		return
	}
	p.disagreed = true
}

// voters are the nodes whose answer a claim waits for: all that were heard lately, and those that the last
// master listed and this node has never heard.
func (m *Machine) voters() map[string]bool {
	ids := make(map[string]bool)
	for id, p := range m.peers {
		if m.live(p) && m.now >= p.awayUntil {
			ids[id] = true
		}
	}
	for _, id := range m.unheardMembers() {
		ids[id] = true
	}
	return ids
}

// position counts the nodes that should claim before this one. Who is listed but was never heard goes first:
// nothing is known that speaks against it.
func (m *Machine) position() int {
	ahead := len(m.unheardMembers())
	for id, p := range m.peers {
		if m.live(p) && m.now >= p.awayUntil && p.about.CanLead &&
			outranks(p.about.Standing, id, m.standing(), m.cfg.ID) {
			ahead++
		}
	}
	return ahead
}

func (m *Machine) unheardMembers() []string {
	var ids []string
	for _, id := range m.leader.members {
		if id != m.cfg.ID && id != m.leader.term.Node && m.peers[id] == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// order lists the live peers as they would claim: those that can lead, best first, then the others.
func (m *Machine) order() []string {
	ids := make([]string, 0, len(m.peers))
	for _, h := range m.hears() {
		ids = append(ids, h.ID)
	}
	slices.SortStableFunc(ids, func(a, b string) int {
		pa, pb := m.peers[a], m.peers[b]
		switch {
		case pa.about.CanLead != pb.about.CanLead:
			if pa.about.CanLead {
				return -1
			}
			return 1
		case outranks(pa.about.Standing, a, pb.about.Standing, b):
			return -1
		}
		return 1
	})
	return ids
}
