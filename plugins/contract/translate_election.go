package contract

import (
	"time"

	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

func toRoleReport(r RoleReport) *failoverv1.SessionResponse {
	out := &failoverv1.SessionResponse{
		Role: failoverv1.Role(r.Role), Term: toTerm(r.Term), EchoClockNanos: int64(r.EchoClock),
		ValidNanos: int64(r.Valid), MasterId: r.MasterID, MasterTerm: toTerm(r.MasterTerm), Reason: r.Reason,
		Takeover: toTakeover(r.Takeover),
	}
	if r.Handover != (Handover{}) {
		out.Handover = &failoverv1.Handover{To: r.Handover.To, Reason: r.Handover.Reason}
	}
	return out
}

func fromRoleReport(r *failoverv1.SessionResponse) RoleReport {
	return RoleReport{
		Role: fromEnum[Role](r.GetRole()), Term: fromTerm(r.GetTerm()),
		EchoClock: time.Duration(r.GetEchoClockNanos()), Valid: time.Duration(r.GetValidNanos()),
		MasterID: r.GetMasterId(), MasterTerm: fromTerm(r.GetMasterTerm()), Reason: r.GetReason(),
		Takeover: fromTakeover(r.GetTakeover()),
		Handover: Handover{To: r.GetHandover().GetTo(), Reason: r.GetHandover().GetReason()},
	}
}

func toTakeover(t *Takeover) *failoverv1.Takeover {
	if t == nil {
		return nil
	}
	return &failoverv1.Takeover{
		Cause: t.Cause, After: toTerm(t.After), DetectionNanos: int64(t.Detection), WaitNanos: int64(t.Wait),
		ClaimNanos: int64(t.Claim), Heard: toHeard(t.Heard),
	}
}

func fromTakeover(t *failoverv1.Takeover) *Takeover {
	if t == nil {
		return nil
	}
	return &Takeover{
		Cause: t.GetCause(), After: fromTerm(t.GetAfter()), Detection: time.Duration(t.GetDetectionNanos()),
		Wait: time.Duration(t.GetWaitNanos()), Claim: time.Duration(t.GetClaimNanos()), Heard: fromHeard(t.GetHeard()),
	}
}

func toHeard(ages []HeardAge) []*failoverv1.HeardAge {
	var out []*failoverv1.HeardAge
	for _, h := range ages {
		out = append(out, &failoverv1.HeardAge{NodeId: h.NodeID, AgeNanos: int64(h.Age)})
	}
	return out
}

func fromHeard(ages []*failoverv1.HeardAge) []HeardAge {
	var out []HeardAge
	for _, h := range ages {
		out = append(out, HeardAge{NodeID: h.GetNodeId(), Age: time.Duration(h.GetAgeNanos())})
	}
	return out
}

func toQuorum(q *Quorum) *failoverv1.Quorum {
	if q == nil {
		return nil
	}
	return &failoverv1.Quorum{
		Members: toInt32(q.Members), Voters: q.Voters, Voter: q.Voter, LeaseNanos: int64(q.Lease), Withheld: q.Withheld,
	}
}

func fromQuorum(q *failoverv1.Quorum) *Quorum {
	if q == nil {
		return nil
	}
	return &Quorum{
		Members: int(q.GetMembers()), Voters: q.GetVoters(), Voter: q.GetVoter(),
		Lease: time.Duration(q.GetLeaseNanos()), Withheld: q.GetWithheld(),
	}
}

func toElectionStatus(s ElectionStatus) *failoverv1.StatusResponse {
	out := &failoverv1.StatusResponse{
		NodeId: s.NodeID, Role: failoverv1.Role(s.Role), Term: toTerm(s.Term), MasterId: s.MasterID,
		Reason: s.Reason, SinceNanos: int64(s.Since), Dropped: s.Dropped, Sent: s.Sent, Received: s.Received,
		Transport: s.Transport, Steps: s.Steps, StepsDropped: s.StepsDropped,
		Paused: s.Paused, PausedBy: s.PausedBy, Observer: s.Observer, Witness: s.Witness,
		Quorum: toQuorum(s.Quorum), Takeover: toTakeover(s.Takeover), Order: s.Order, Sealed: s.Sealed,
		Priority: toInt32(s.Priority),
	}
	if w := s.Watched; w != (Watched{}) {
		out.Watched = &failoverv1.Watched{NodeId: w.NodeID, Address: w.Address, Connected: w.Connected}
	}
	for _, p := range s.Peers {
		out.Peers = append(out.Peers, toElectionPeer(p))
	}
	return out
}

func fromElectionStatus(s *failoverv1.StatusResponse) ElectionStatus {
	out := ElectionStatus{
		NodeID: s.GetNodeId(), Role: fromEnum[Role](s.GetRole()), Term: fromTerm(s.GetTerm()),
		MasterID: s.GetMasterId(), Reason: s.GetReason(), Since: time.Duration(s.GetSinceNanos()),
		Dropped: s.GetDropped(), Sent: s.GetSent(), Received: s.GetReceived(), Transport: s.GetTransport(),
		Steps: s.GetSteps(), StepsDropped: s.GetStepsDropped(),
		Watched: Watched{
			NodeID: s.GetWatched().GetNodeId(), Address: s.GetWatched().GetAddress(),
			Connected: s.GetWatched().GetConnected(),
		},
		Paused: s.GetPaused(), PausedBy: s.GetPausedBy(), Observer: s.GetObserver(), Witness: s.GetWitness(),
		Quorum: fromQuorum(s.GetQuorum()), Takeover: fromTakeover(s.GetTakeover()), Order: s.GetOrder(),
		Sealed: s.GetSealed(), Priority: int(s.GetPriority()),
	}
	for _, p := range s.GetPeers() {
		out.Peers = append(out.Peers, fromElectionPeer(p))
	}
	return out
}

func toElectionPeer(p ElectionPeer) *failoverv1.PeerStatus {
	out := &failoverv1.PeerStatus{
		NodeId: p.NodeID, Role: failoverv1.Role(p.Role), Term: toTerm(p.Term), AgeNanos: int64(p.Age),
		Priority: toInt32(p.Priority), Mirror: toPosition(p.Mirror), CanLead: p.CanLead,
		MasterId: p.MasterID, AdapterDigest: p.AdapterDigest, Hears: toHeard(p.Hears),
		MirrorInSync: p.InSync, Observer: p.Observer, Witness: p.Witness,
	}
	if p.Acknowledged != nil {
		nanos := int64(*p.Acknowledged)
		out.AcknowledgedNanos = &nanos
	}
	return out
}

func fromElectionPeer(p *failoverv1.PeerStatus) ElectionPeer {
	out := ElectionPeer{
		NodeID: p.GetNodeId(), Role: fromEnum[Role](p.GetRole()), Term: fromTerm(p.GetTerm()),
		Age: time.Duration(p.GetAgeNanos()), Priority: int(p.GetPriority()),
		Mirror: fromPosition(p.GetMirror()), CanLead: p.GetCanLead(), MasterID: p.GetMasterId(),
		AdapterDigest: p.GetAdapterDigest(), Hears: fromHeard(p.GetHears()),
		InSync: p.GetMirrorInSync(), Observer: p.GetObserver(), Witness: p.GetWitness(),
	}
	if p.AcknowledgedNanos != nil {
		age := time.Duration(p.GetAcknowledgedNanos())
		out.Acknowledged = &age
	}
	return out
}
