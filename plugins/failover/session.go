package main

import (
	"context"
	"time"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// Session answers each report of the host with the role, and speaks unasked when the role changes.
func (p *plugin) Session(ctx context.Context, reports <-chan contract.HostReport, send func(contract.RoleReport) error) error {
	node, err := p.running()
	if err != nil {
		return err
	}
	ctx, release := context.WithCancel(ctx)
	defer release()
	session := p.replaceSession(release)
	defer func() { p.sessionEnded(ctx, node, session) }()

	var clock time.Duration
	reported := false
	_, changed := node.State()
	for {
		var state failover.State
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case report, open := <-reports:
			if !open {
				return nil
			}
			if state, err = node.Report(ctx, toHost(report)); err != nil {
				return err
			}
			clock, reported = report.Clock, true
		case <-changed:
			state, changed = node.State()
		}
		answer := toRoleReport(state, clock)
		if !reported {
			answer.Valid = 0 // It counts from a report of this session's host, and there was none.
		}
		if err := send(answer); err != nil {
			return err
		}
	}
}

// replaceSession ends the session that was open, and returns the number of the new one.
func (p *plugin) replaceSession(release context.CancelFunc) int {
	p.mu.Lock()
	before := p.release
	p.release = release
	p.session++
	session := p.session
	p.mu.Unlock()
	if before != nil {
		before()
	}
	return session
}

// sessionEnded stops vouching for the host if it has not come back already. The lock is held until that is done, so
// that a new session's first report cannot come before it.
func (p *plugin) sessionEnded(ctx context.Context, node electionNode, session int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == session {
		_ = node.HostLost(context.WithoutCancel(ctx)) // An error means that the node has ended.
	}
}

// Resign gives up a term; it has been told to the others when it returns.
func (p *plugin) Resign(ctx context.Context, term contract.Term, successor string) error {
	node, err := p.running()
	if err != nil {
		return err
	}
	return node.Resign(ctx, election.Term(term), successor)
}

// Pause tells the whole cluster.
func (p *plugin) Pause(ctx context.Context, on bool) error {
	node, err := p.running()
	if err != nil {
		return err
	}
	return node.Pause(ctx, on)
}

// ChangeMembers returns when the new list of voters holds.
func (p *plugin) ChangeMembers(ctx context.Context, change contract.MembersChange) ([]string, error) {
	node, err := p.running()
	if err != nil {
		return nil, err
	}
	return node.ChangeMembers(ctx, change.Remove, change.Add)
}

// Status gives what this node knows of the cluster.
func (p *plugin) Status(ctx context.Context) (contract.ElectionStatus, error) {
	node, err := p.running()
	if err != nil {
		return contract.ElectionStatus{}, err
	}
	s, err := node.Status(ctx)
	if err != nil {
		return contract.ElectionStatus{}, err
	}
	p.mu.Lock()
	words := p.words
	p.mu.Unlock()
	status := contract.ElectionStatus{
		NodeID: s.NodeID, Role: toRole(s.State.Role), Term: contract.Term(s.State.Term),
		MasterID: s.State.Leader.Node, Reason: s.State.Reason, Since: s.Since,
		Dropped: s.Dropped, Sent: s.Sent, Received: s.Received, Transport: words,
		Steps: p.steps.Load(), StepsDropped: p.dropped.Load(),
	}
	if watched := s.Watched; !watched.Term.IsZero() {
		status.Watched = contract.Watched{
			NodeID: watched.Term.Node, Address: watched.Liveness.Address, Connected: s.WatchConnected,
		}
	}
	p.describe(&status, s)
	return status, nil
}

// describe adds what is known of the other nodes, and of the vote.
func (p *plugin) describe(status *contract.ElectionStatus, s failover.Status) {
	status.Paused, status.PausedBy, status.Order = s.Pause.On, s.Pause.Node, s.Order
	status.Takeover = toTakeover(s.State.Takeover)
	p.mu.Lock()
	cfg := p.cfg
	p.mu.Unlock()
	status.Sealed = len(cfg.Keys) > 0
	status.Observer, status.Witness, status.Priority = cfg.Observer, cfg.Witness, cfg.Priority
	if q := s.Quorum; q != nil {
		status.Quorum = &contract.Quorum{
			Members: cfg.Members, Voters: q.Voters.IDs, Voter: q.Voter, Withheld: q.Withheld, Lease: s.Lease,
		}
	}
	for _, peer := range s.Peers {
		converted := toPeer(peer)
		if age, known := s.Acknowledged[peer.ID]; known {
			converted.Acknowledged = &age
		}
		status.Peers = append(status.Peers, converted)
	}
}

func toPeer(peer failover.Peer) contract.ElectionPeer {
	a := peer.About
	converted := contract.ElectionPeer{
		NodeID: peer.ID, Role: toRole(a.Role), Age: peer.Age, Priority: a.Standing.Priority,
		Mirror:  contract.Position{Term: contract.Term(a.Standing.Mirror.Term), Index: a.Standing.Mirror.Index},
		CanLead: a.CanLead, MasterID: a.Heard.Term.Node, AdapterDigest: a.AdapterDigest,
		Hears: toHears(a.Hears), InSync: a.Standing.InSync, Observer: a.Observer, Witness: a.Witness,
	}
	if a.Role == election.Master {
		converted.Term = contract.Term(a.Heard.Term)
	}
	return converted
}

func toHost(r contract.HostReport) election.Host {
	return election.Host{
		CanLead: r.CanLead, Reason: r.Reason, GateOpen: r.GateOpen, AtRest: r.AtRest,
		Mirror: election.Position{Term: election.Term(r.Mirror.Term), Index: r.Mirror.Index},
		InSync: r.MirrorInSync, Liveness: election.Liveness(r.Liveness), Later: election.Term(r.Later),
	}
}

func toRoleReport(s failover.State, clock time.Duration) contract.RoleReport {
	return contract.RoleReport{
		Role: toRole(s.Role), Term: contract.Term(s.Term), EchoClock: clock, Valid: s.Valid,
		MasterID: s.Leader.Node, MasterTerm: contract.Term(s.Leader), Reason: s.Reason,
		Takeover: toTakeover(s.Takeover), Handover: contract.Handover(s.Handover),
	}
}

func toTakeover(t *election.Takeover) *contract.Takeover {
	if t == nil {
		return nil
	}
	return &contract.Takeover{
		Cause: t.Cause.String(), After: contract.Term(t.After), Detection: t.Detection, Wait: t.Wait, Claim: t.Claim,
		Heard: toHears(t.Heard),
	}
}

func toHears(hears []election.Hearing) []contract.HeardAge {
	var out []contract.HeardAge
	for _, h := range hears {
		out = append(out, contract.HeardAge{NodeID: h.ID, Age: h.Age})
	}
	return out
}

func toRole(r election.Role) contract.Role {
	switch r {
	case election.Starting:
		return contract.RoleStarting
	case election.Master:
		return contract.RoleMaster
	default:
		return contract.RoleStandby
	}
}
