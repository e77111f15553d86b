package failover

import (
	"math"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
	clusterv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

// This file translates between the machine's messages and the datagrams. The limits are package wire's.

func toDatagram(cluster string, msg election.Message) *failoverv1.Datagram {
	a := msg.About
	d := &failoverv1.Datagram{
		Cluster: cluster, NodeId: msg.From, BootId: msg.Boot, Sequence: msg.Sequence,
		About: &failoverv1.About{
			Role: toRole(a.Role), Standing: toStanding(a.Standing),
			CanLead: a.CanLead, GateOpen: a.GateOpen, AtRest: a.AtRest,
			DelayNanos: int64(a.Delay), Retries: int32(a.Retries), AdapterDigest: a.AdapterDigest,
			Members: int32(a.Members), Preempt: a.Preempt, PreemptDelayNanos: int64(a.PreemptDelay),
			Pause: toPause(a.Pause), Observer: a.Observer, Witness: a.Witness, Address: a.Address,
			Voters: toVoters(a.Voters),
		},
	}
	for _, h := range a.Hears {
		d.About.Hears = append(d.About.Hears, h.ID)
		d.About.HearsAgeMillis = append(d.About.HearsAgeMillis, uint32(min(h.Age.Milliseconds(), math.MaxUint32)))
		if h.Address != "" || len(d.About.HearsAddress) > 0 {
			for len(d.About.HearsAddress) < len(d.About.Hears)-1 {
				d.About.HearsAddress = append(d.About.HearsAddress, "")
			}
			d.About.HearsAddress = append(d.About.HearsAddress, h.Address)
		}
	}
	if !a.Heard.Term.IsZero() {
		d.About.Heard = &failoverv1.Heard{
			Term: toTerm(a.Heard.Term), Sequence: a.Heard.Sequence, AgeNanos: int64(a.Heard.Age),
		}
	}
	switch body := msg.Body.(type) {
	case election.Heartbeat:
		d.Body = &failoverv1.Datagram_Heartbeat{Heartbeat: &failoverv1.Heartbeat{
			Term: toTerm(body.Term), Sequence: body.Sequence, Members: body.Members,
			Liveness: toLiveness(body.Liveness),
		}}
	case election.Presence:
		d.Body = &failoverv1.Datagram_Presence{Presence: &failoverv1.Presence{Asks: body.Asks}}
	case election.Claim:
		d.Body = &failoverv1.Datagram_Claim{Claim: &failoverv1.Claim{
			Term: toTerm(body.Term), Standing: toStanding(body.Standing),
			HeardTerm: toTerm(body.HeardTerm), HeardSequence: body.HeardSequence, Resigned: body.Resigned,
			Voters: toStamp(body.Voters),
		}}
	case election.Answer:
		d.Body = &failoverv1.Datagram_Answer{Answer: &failoverv1.Answer{
			Claim: toTerm(body.Claim), Verdict: toVerdict(body.Verdict), Vote: body.Vote, Highest: body.Highest,
		}}
	case election.Resignation:
		d.Body = &failoverv1.Datagram_Resign{Resign: &failoverv1.Resign{
			Term: toTerm(body.Term), Sequence: body.Sequence, Successor: body.Successor, SupersededBy: toTerm(body.SupersededBy),
		}}
	case election.Ack:
		d.Body = &failoverv1.Datagram_Ack{Ack: &failoverv1.Ack{
			Term: toTerm(body.Term), Sequence: body.Sequence, Voters: toStamp(body.Voters),
		}}
	}
	return d
}

func fromDatagram(d *failoverv1.Datagram) election.Message {
	a := d.GetAbout()
	msg := election.Message{
		From: d.GetNodeId(), Boot: d.GetBootId(), Sequence: d.GetSequence(),
		About: election.About{
			Role: fromRole(a.GetRole()), Standing: fromStanding(a.GetStanding()),
			CanLead: a.GetCanLead(), GateOpen: a.GetGateOpen(), AtRest: a.GetAtRest(),
			Heard: election.Heard{
				Term: fromTerm(a.GetHeard().GetTerm()), Sequence: a.GetHeard().GetSequence(),
				Age: time.Duration(a.GetHeard().GetAgeNanos()),
			},
			Hears: fromHears(a), Delay: time.Duration(a.GetDelayNanos()), Retries: int(a.GetRetries()),
			AdapterDigest: a.GetAdapterDigest(),
			Members:       int(a.GetMembers()), Preempt: a.GetPreempt(), PreemptDelay: time.Duration(a.GetPreemptDelayNanos()),
			Pause: election.Pause{
				Counter: a.GetPause().GetCounter(), Node: a.GetPause().GetNodeId(), On: a.GetPause().GetOn(),
			},
			Observer: a.GetObserver(), Witness: a.GetWitness(), Address: a.GetAddress(),
			Voters: election.Voters{
				Stamp: fromStamp(a.GetVoters().GetStamp()), IDs: a.GetVoters().GetNodeIds(), Settled: a.GetVoters().GetSettled(),
			},
		},
	}
	switch body := d.GetBody().(type) {
	case *failoverv1.Datagram_Heartbeat:
		b := body.Heartbeat
		msg.Body = election.Heartbeat{
			Term: fromTerm(b.GetTerm()), Sequence: b.GetSequence(), Members: b.GetMembers(),
			Liveness: election.Liveness{Address: b.GetLiveness().GetAddress(), Process: b.GetLiveness().GetProcess()},
		}
	case *failoverv1.Datagram_Presence:
		msg.Body = election.Presence{Asks: body.Presence.GetAsks()}
	case *failoverv1.Datagram_Claim:
		b := body.Claim
		msg.Body = election.Claim{
			Term: fromTerm(b.GetTerm()), Standing: fromStanding(b.GetStanding()),
			HeardTerm: fromTerm(b.GetHeardTerm()), HeardSequence: b.GetHeardSequence(), Resigned: b.GetResigned(),
			Voters: fromStamp(b.GetVoters()),
		}
	case *failoverv1.Datagram_Answer:
		b := body.Answer
		msg.Body = election.Answer{Claim: fromTerm(b.GetClaim()), Verdict: fromVerdict(b.GetVerdict()), Vote: b.GetVote(), Highest: b.GetHighest()}
	case *failoverv1.Datagram_Resign:
		b := body.Resign
		msg.Body = election.Resignation{
			Term: fromTerm(b.GetTerm()), Sequence: b.GetSequence(), Successor: b.GetSuccessor(),
			SupersededBy: fromTerm(b.GetSupersededBy()),
		}
	case *failoverv1.Datagram_Ack:
		b := body.Ack
		msg.Body = election.Ack{Term: fromTerm(b.GetTerm()), Sequence: b.GetSequence(), Voters: fromStamp(b.GetVoters())}
	}
	return msg
}

// fromHears takes a node without its age for one heard just now.
func fromHears(a *failoverv1.About) []election.Hearing {
	var hears []election.Hearing
	ages, addresses := a.GetHearsAgeMillis(), a.GetHearsAddress()
	for i, id := range a.GetHears() {
		h := election.Hearing{ID: id}
		if i < len(ages) {
			h.Age = time.Duration(ages[i]) * time.Millisecond
		}
		if i < len(addresses) {
			h.Address = addresses[i]
		}
		hears = append(hears, h)
	}
	return hears
}

func toPause(p election.Pause) *failoverv1.Pause {
	if p == (election.Pause{}) {
		return nil
	}
	return &failoverv1.Pause{Counter: p.Counter, NodeId: p.Node, On: p.On}
}

func toVoters(v election.Voters) *failoverv1.Voters {
	if len(v.IDs) == 0 {
		return nil
	}
	return &failoverv1.Voters{Stamp: toStamp(v.Stamp), NodeIds: v.IDs, Settled: v.Settled}
}

func toStamp(s election.Stamp) *failoverv1.Stamp {
	if s == (election.Stamp{}) {
		return nil
	}
	return &failoverv1.Stamp{TermNumber: s.Number, Count: s.Count}
}

func fromStamp(s *failoverv1.Stamp) election.Stamp {
	return election.Stamp{Number: s.GetTermNumber(), Count: s.GetCount()}
}

func toTerm(t election.Term) *clusterv1.Term {
	if t.IsZero() {
		return nil
	}
	return &clusterv1.Term{Number: t.Number, NodeId: t.Node}
}

func fromTerm(t *clusterv1.Term) election.Term {
	return election.Term{Number: t.GetNumber(), Node: t.GetNodeId()}
}

func toLiveness(l election.Liveness) *failoverv1.Liveness {
	if l == (election.Liveness{}) {
		return nil
	}
	return &failoverv1.Liveness{Address: l.Address, Process: l.Process}
}

func toStanding(s election.Standing) *failoverv1.Standing {
	return &failoverv1.Standing{
		InSync: s.InSync, Priority: int32(s.Priority),
		Mirror: &clusterv1.Position{Term: toTerm(s.Mirror.Term), Index: s.Mirror.Index},
	}
}

func fromStanding(s *failoverv1.Standing) election.Standing {
	return election.Standing{
		InSync: s.GetInSync(), Priority: int(s.GetPriority()),
		Mirror: election.Position{Term: fromTerm(s.GetMirror().GetTerm()), Index: s.GetMirror().GetIndex()},
	}
}

func toRole(r election.Role) failoverv1.Role {
	switch r {
	case election.Starting:
		return failoverv1.Role_ROLE_STARTING
	case election.Master:
		return failoverv1.Role_ROLE_MASTER
	default:
		return failoverv1.Role_ROLE_STANDBY
	}
}

// fromRole takes a role that is not known here for a standby's: it is not one that leads.
func fromRole(r failoverv1.Role) election.Role {
	switch r {
	case failoverv1.Role_ROLE_STARTING:
		return election.Starting
	case failoverv1.Role_ROLE_MASTER:
		return election.Master
	default:
		return election.Standby
	}
}

func toVerdict(v election.Verdict) failoverv1.Verdict {
	switch v {
	case election.Grant:
		return failoverv1.Verdict_VERDICT_GRANT
	case election.Defer:
		return failoverv1.Verdict_VERDICT_DEFER
	default:
		return failoverv1.Verdict_VERDICT_OBJECT
	}
}

func fromVerdict(v failoverv1.Verdict) election.Verdict {
	switch v {
	case failoverv1.Verdict_VERDICT_GRANT:
		return election.Grant
	case failoverv1.Verdict_VERDICT_DEFER:
		return election.Defer
	default:
		return election.Object
	}
}
