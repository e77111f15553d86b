package election

import (
	"cmp"
	"slices"
	"time"
)

// Stamp orders the lists of voters: by the number of the term in which one was made, then by count within it.
// The list of a cluster's birth has the stamp 0/1.
type Stamp struct{ Number, Count uint64 }

// Compare is negative if s is older than other.
func (s Stamp) Compare(other Stamp) int {
	return cmp.Or(cmp.Compare(s.Number, other.Number), cmp.Compare(s.Count, other.Count))
}

// Voters are the nodes whose votes count. A majority of them has to grant a term and to acknowledge a master.
type Voters struct {
	Stamp Stamp
	// IDs are sorted.
	IDs []string
	// Settled: the list holds. At the birth of a cluster it is proposed first, see enrol.
	Settled bool
}

// Has reports whether a node is on the list.
func (v Voters) Has(id string) bool { return slices.Contains(v.IDs, id) }

// Majority is how many of the voters are one.
func (v Voters) Majority() int { return len(v.IDs)/2 + 1 }

func (v Voters) equal(other Voters) bool {
	return v.Stamp == other.Stamp && slices.Equal(v.IDs, other.IDs)
}

// Vote is what a voter must not forget, whatever happens to its process.
type Vote struct {
	// Granted is the last term that was granted; one grant per number.
	Granted Term
	Voters  Voters
	// Member: this node votes, and has forgotten nothing. A node that lost its disk finds itself on the list and is
	// no member: what it has promised is unknown. It becomes one when it is admitted anew.
	Member bool
}

// acknowledgement is the last heartbeat that this voter has acknowledged: for S from then it grants nothing.
type acknowledgement struct {
	term Term
	at   time.Duration
}

// quorum reports whether a majority is asked for.
func (m *Machine) quorum() bool { return m.cfg.Members > 0 }

// votes reports whether this node's vote counts.
func (m *Machine) votes() bool {
	return m.quorum() && m.vote.Member && m.vote.Voters.Settled && m.vote.Voters.Has(m.cfg.ID)
}

// saveVote has the vote kept on disk. What depends on it follows as later actions.
func (m *Machine) saveVote() {
	m.voteSaved = true
	saved := m.vote
	saved.Voters.IDs = slices.Clone(saved.Voters.IDs)
	m.do(SaveVote{Vote: saved})
}

// freeAt is when this node may grant a claim: not within S of having acknowledged a living master, because that
// counts on it; and not within S of its own start, because it may have acknowledged one before. Only the end of that
// very term, said by its master, frees it earlier; and evidence, where that is wanted.
func (m *Machine) freeAt() time.Duration {
	free := never
	if !m.born {
		free = m.cfg.Start + m.cfg.Suspicion()
	}
	if a := m.acked; !a.term.IsZero() && a.term != m.ended && (!m.cfg.Evidence || a.term != m.gone.term || a.at > m.gone.at) {
		free = max(free, a.at+m.cfg.Suspicion())
	}
	return free
}

// withheld says why this node grants nothing at the moment; "" means that it would.
func (m *Machine) withheld() string {
	switch {
	case len(m.vote.Voters.IDs) == 0:
		return "the cluster has not been born yet: the voters have to hear each other first"
	case !m.vote.Voters.Settled:
		return "the list of voters is not settled yet"
	case !m.vote.Voters.Has(m.cfg.ID):
		return "it is not on the list of voters"
	case !m.vote.Member:
		return "it has lost its vote file: admit it anew with 'bootstrap members replace " + m.cfg.ID + " " + m.cfg.ID + "' on the master"
	case m.pause.On:
		return "promotions are paused"
	case m.now < m.freeAt():
		return "it has acknowledged a master, or started, less than " + m.cfg.Suspicion().String() + " ago"
	}
	return ""
}

// mayGrant reports whether this voter can promise a term to a claimant. It says so again to one that asks again, but
// not to a later life of it, which may have forgotten that it has led in that term.
func (m *Machine) mayGrant(c Claim) bool {
	granted := m.vote.Granted
	again := c.Term == granted && m.grantedBoot == m.peers[c.Term.Node].boot
	return m.withheld() == "" && (again || c.Term.Number > granted.Number) &&
		c.Voters.Compare(m.vote.Voters.Stamp) >= 0
}

// promise keeps a grant on disk; the answer follows it.
func (m *Machine) promise(term Term) {
	if m.vote.Granted != term || !m.voteSaved {
		m.vote.Granted = term
		m.saveVote()
	}
}

// acknowledge answers a heartbeat: for S from now this node grants no claim. Whoever has granted a later term, or
// acknowledged one, acknowledges no earlier one.
func (m *Machine) acknowledge(beat Heartbeat) {
	if !m.votes() || m.role == Master || beat.Term.Number < m.vote.Granted.Number || beat.Term.Compare(m.acked.term) < 0 ||
		beat.Term == m.ended {
		return
	}
	m.acked = acknowledgement{term: beat.Term, at: m.now}
	m.sendTo(beat.Term.Node, Ack{Term: beat.Term, Sequence: beat.Sequence, Voters: m.vote.Voters.Stamp})
}

// unreachable says why no majority can be had at the moment; "" means that a claim makes sense. A claim promises
// nothing by itself, it only asks.
func (m *Machine) unreachable() string {
	if m.votes() {
		if reason := m.withheld(); reason != "" {
			return "this node's own vote: " + reason
		}
	}
	v := m.vote.Voters
	switch {
	case len(v.IDs) == 0 || !v.Settled:
		return "no quorum yet: " + m.withheld()
	case m.liveVoters() < v.Majority():
		return "no quorum: too few of the voters are heard"
	}
	return ""
}

// liveVoters counts the voters that are heard, this node included.
func (m *Machine) liveVoters() int {
	count := 0
	for _, id := range m.vote.Voters.IDs {
		if id == m.cfg.ID && m.vote.Member {
			count++
		} else if p := m.peers[id]; p != nil && m.live(p) {
			count++
		}
	}
	return count
}

// grantedByMajority reports whether a majority has granted the claim under way, this node's own vote included.
func (m *Machine) grantedByMajority() bool {
	count := 0
	for _, id := range m.vote.Voters.IDs {
		if m.claim.grants[id] || id == m.cfg.ID && m.votes() {
			count++
		}
	}
	return count >= m.vote.Voters.Majority()
}

// ownVote gives the own vote to the own claim, at the last moment: a claim that fails has cost no promise, and so
// cannot stop this node from acknowledging a master that lives after all. done means that it is on disk, which it is
// in the next step.
func (m *Machine) ownVote() (done, ok bool) {
	own := m.claim.body.Term
	switch {
	case !m.votes() || m.vote.Granted == own && m.voteSaved:
		return true, true
	case m.vote.Granted.Number >= own.Number && m.vote.Granted != own || m.withheld() != "":
		return false, false
	}
	m.promise(own)
	return false, true
}

// receiveAck counts a voter's acknowledgement from the moment when the heartbeat was sent.
func (m *Machine) receiveAck(p *peer, a Ack) {
	if m.role != Master || a.Term != m.term || a.Sequence == 0 || a.Sequence > m.beats || a.Sequence+beatsKept <= m.beats {
		return
	}
	at := m.beatTimes[a.Sequence%beatsKept]
	if old, known := m.acks[p.id]; known && old.at >= at && old.voters == a.Voters {
		return
	}
	m.acks[p.id] = confirmation{at: max(at, m.acks[p.id].at), voters: a.Voters}
	m.confirm()
}

// confirmation is the last acknowledgement of a voter, as the master counts it.
type confirmation struct {
	at     time.Duration
	voters Stamp
}

// beatsKept is how many heartbeats can be under way at once. An acknowledgement of an older one is worth nothing.
const beatsKept = 64

// confirm works out since when a majority stands behind this master, and promotes its host when one does for the
// first time.
func (m *Machine) confirm() {
	m.confirmed = m.confirmedBy(m.vote.Voters)
	if len(m.base.IDs) > 0 {
		m.confirmed = min(m.confirmed, m.confirmedBy(m.base))
	}
	m.settleChange()
	if !m.promoted && m.now < m.leaseEnd() {
		m.promote()
	}
	if m.lapsed && m.now < m.leaseEnd() {
		m.lapsed = false
		m.report(Progress, "", "a majority acknowledges term %v again", m.term)
	}
}

// confirmedBy is the latest moment up to which a majority of a list has acknowledged.
func (m *Machine) confirmedBy(v Voters) time.Duration {
	var buffer [16]time.Duration
	times := buffer[:0]
	for _, id := range v.IDs {
		switch a, known := m.acks[id]; {
		case id == m.cfg.ID:
			times = append(times, m.beatAt)
		case known:
			times = append(times, a.at)
		default:
			times = append(times, never)
		}
	}
	if len(times) == 0 {
		return never
	}
	slices.Sort(times)
	return times[len(times)-v.Majority()]
}

// leaseEnd is until when this master's host may work. With a quorum: S after the last heartbeat that a majority has
// acknowledged was sent, less what the clocks of both sides may differ from the true time. So it has ended on any
// clock before one of that majority may grant another claim.
func (m *Machine) leaseEnd() time.Duration {
	if !m.quorum() {
		return m.beatAt + m.cfg.Suspicion()
	}
	if m.confirmed == never {
		return never
	}
	return m.confirmed + m.cfg.Lease()
}
