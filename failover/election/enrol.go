package election

import (
	"slices"
)

// enrol brings about the list of voters when a cluster is born. The node with the least id among N that all hear
// each other, and of which none has a list, proposes them; each of them keeps the proposal on disk, and keeps to it;
// it is settled when all N have. So two lists that share a node can never both be settled.
func (m *Machine) enrol() {
	if !m.quorum() || m.cfg.Observer || m.vote.Voters.Settled {
		return
	}
	if len(m.vote.Voters.IDs) > 0 {
		m.settle()
		return
	}
	if m.now < m.cfg.Start+m.cfg.Delay {
		return
	}
	proposal := m.proposal()
	if len(proposal) == 0 {
		return
	}
	m.vote.Voters = Voters{Stamp: Stamp{Count: 1}, IDs: proposal}
	m.vote.Member, m.born = true, true
	m.saveVote()
	m.report(Progress, "", "agrees to the voters %v", proposal)
	m.nextPresence = m.now
	m.settle()
}

// proposal is the list that this node can agree to now; nil if there is none.
func (m *Machine) proposal() []string {
	blank := []string{m.cfg.ID}
	var follow []string
	for id, p := range m.peers {
		v := p.voters
		switch {
		case !m.live(p) || p.about.Observer || p.about.Members != m.cfg.Members:
		case v.Settled:
			return nil
		case len(v.IDs) > 0:
			if v.Has(m.cfg.ID) && len(v.IDs) == m.cfg.Members && (follow == nil || slices.Compare(v.IDs, follow) < 0) {
				follow = v.IDs
			}
		default:
			blank = append(blank, id)
		}
	}
	if follow != nil {
		return slices.Clone(follow)
	}
	if len(blank) < m.cfg.Members {
		return nil
	}
	slices.Sort(blank)
	blank = blank[:m.cfg.Members]
	if blank[0] != m.cfg.ID || !m.allHear(blank) {
		return nil
	}
	return blank
}

// allHear reports whether all of a list say that they hear all others of it.
func (m *Machine) allHear(ids []string) bool {
	for _, id := range ids {
		if id == m.cfg.ID {
			continue
		}
		for _, other := range ids {
			if other != id && !slices.ContainsFunc(m.peers[id].about.Hears, func(h Hearing) bool { return h.ID == other }) {
				return false
			}
		}
	}
	return true
}

// settle ends the birth when all have agreed, or one says that all have.
func (m *Machine) settle() {
	all := true
	for _, id := range m.vote.Voters.IDs {
		if id == m.cfg.ID {
			continue
		}
		p := m.peers[id]
		if p == nil || !p.voters.equal(m.vote.Voters) {
			all = false
			continue
		}
		if p.voters.Settled {
			all = true
			break
		}
	}
	if !all {
		return
	}
	m.vote.Voters.Settled = true
	m.saveVote()
	m.report(Progress, "", "the voters are %v", m.vote.Voters.IDs)
	m.nextPresence = m.now
}

// adopt takes over a later list of voters, whoever tells of it. A node that has none yet only learns who votes: if it
// is on the list it has lost its disk, and what it has promised is not known.
func (m *Machine) adopt(v Voters) {
	if !m.quorum() || !v.Settled || len(v.IDs) == 0 || len(v.IDs) > MaxPeers || m.role == Master {
		return
	}
	mine := m.vote.Voters
	if mine.Settled && v.Stamp.Compare(mine.Stamp) <= 0 {
		return
	}
	if !mine.Settled && len(mine.IDs) > 0 {
		if !v.equal(mine) && v.Stamp.Number == 0 {
			m.report(Disagreement, "", "the cluster was born with the voters %v, and not with %v, to which this node has agreed", v.IDs, mine.IDs)
			m.vote.Member = false
		}
	} else {
		was := mine.Has(m.cfg.ID)
		is := v.Has(m.cfg.ID)
		switch {
		case !is || len(mine.IDs) == 0:
			m.vote.Member = false
		case !was:
			m.vote.Member, m.born = true, false
		}
		if is && len(mine.IDs) == 0 {
			m.report(Disagreement, "", "this node is on the list of voters, but its vote file is lost: it does not vote; admit it anew with 'bootstrap members replace %s %s' on the master", m.cfg.ID, m.cfg.ID)
		}
	}
	m.vote.Voters = Voters{Stamp: v.Stamp, IDs: slices.Clone(v.IDs), Settled: true}
	m.saveVote()
	m.report(Progress, "", "the voters are %v", v.IDs)
}
