package contract

import (
	"math"
	"time"

	"github.com/understudy-ha/understudy/profiler"
	cachesyncv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cachesync/v1"
	clusterv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
	profilerv1 "github.com/understudy-ha/understudy/proto/gen/understudy/profiler/v1"
)

// Every translation between the Go types of the border and the wire. Enumerations have the same numbers on
// both sides; wall clocks travel in milliseconds, the zero time as 0; an int that does not fit is clamped.

type number interface{ ~int | ~int32 | ~int64 }

func toInt32[N number](n N) int32 {
	return int32(min(max(int64(n), math.MinInt32), math.MaxInt32))
}

// fromEnum reads an enumeration; what a newer plugin may send and we do not know becomes 0.
func fromEnum[To ~uint8, From ~int32](n From) To {
	if n < 0 || n > math.MaxUint8 {
		return 0
	}
	return To(n)
}

func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func toTerm(t Term) *clusterv1.Term {
	if t.IsZero() {
		return nil
	}
	return &clusterv1.Term{Number: t.Number, NodeId: t.Node}
}

func fromTerm(t *clusterv1.Term) Term {
	return Term{Number: t.GetNumber(), Node: t.GetNodeId()}
}

func toPosition(p Position) *clusterv1.Position {
	return &clusterv1.Position{Term: toTerm(p.Term), Index: p.Index}
}

func fromPosition(p *clusterv1.Position) Position {
	return Position{Term: fromTerm(p.GetTerm()), Index: p.GetIndex()}
}

// Agent.

func toPremain(p Premain) *profilerv1.PremainRequest {
	return &profilerv1.PremainRequest{
		NodeId: p.NodeID, Cluster: p.Cluster, DataDir: p.DataDir, Options: p.Options,
		Properties: p.Properties, AdapterDigest: p.AdapterDigest,
	}
}

func fromPremain(p *profilerv1.PremainRequest) Premain {
	return Premain{
		NodeID: p.GetNodeId(), Cluster: p.GetCluster(), DataDir: p.GetDataDir(), Options: p.GetOptions(),
		Properties: p.GetProperties(), AdapterDigest: p.GetAdapterDigest(),
	}
}

func toManifest(m Manifest) *profilerv1.PremainResponse {
	out := &profilerv1.PremainResponse{Name: m.Name, Version: m.Version}
	for _, i := range m.Interests {
		out.Interests = append(out.Interests, &profilerv1.Interest{
			Kind: profilerv1.Kind(i.Kind), Lifecycle: i.Lifecycle, Steps: i.Steps,
		})
	}
	return out
}

func fromManifest(m *profilerv1.PremainResponse) Manifest {
	out := Manifest{Name: m.GetName(), Version: m.GetVersion()}
	for _, i := range m.GetInterests() {
		out.Interests = append(out.Interests, Interest{
			Kind: fromEnum[profiler.Kind](i.GetKind()), Lifecycle: i.GetLifecycle(), Steps: i.GetSteps(),
		})
	}
	return out
}

func toJoinpoint(j profiler.Joinpoint) *profilerv1.Joinpoint {
	return &profilerv1.Joinpoint{
		Kind: profilerv1.Kind(j.Kind), Id: j.ID, Path: j.Path, Transition: profilerv1.Transition(j.Transition),
	}
}

func fromJoinpoint(j *profilerv1.Joinpoint) profiler.Joinpoint {
	return profiler.Joinpoint{
		Kind: fromEnum[profiler.Kind](j.GetKind()), ID: j.GetId(), Path: j.GetPath(),
		Transition: fromEnum[profiler.Transition](j.GetTransition()),
	}
}

// toStep fills out, which is used again and again: every field is set.
func toStep(out *profilerv1.StepEvent, e *profiler.StepEvent) {
	out.MessageId, out.StepName = e.MessageID, e.StepName
	out.StepInstanceId, out.WorkflowId = e.StepInstanceID, e.WorkflowID
	out.StepType, out.Order = profilerv1.Kind(e.StepType), toInt32(e.Order)
	out.StartUnixNanos, out.DurationNanos, out.Failed = e.StartUnixNano, e.DurationNanos, e.Failed
}

func fromSteps(events []*profilerv1.StepEvent) []profiler.StepEvent {
	out := make([]profiler.StepEvent, len(events))
	for i, e := range events {
		out[i] = profiler.StepEvent{
			MessageID: e.GetMessageId(), StepName: e.GetStepName(), StepInstanceID: e.GetStepInstanceId(),
			WorkflowID: e.GetWorkflowId(), StepType: fromEnum[profiler.Kind](e.GetStepType()),
			Order: int(e.GetOrder()), StartUnixNano: e.GetStartUnixNanos(), DurationNanos: e.GetDurationNanos(),
			Failed: e.GetFailed(),
		}
	}
	return out
}

// Failover.

func toHostReport(r HostReport) *failoverv1.SessionRequest {
	return &failoverv1.SessionRequest{
		ClockNanos: int64(r.Clock), GateOpen: r.GateOpen, Term: toTerm(r.Term), AtRest: r.AtRest,
		CanLead: r.CanLead, Reason: r.Reason, Mirror: toPosition(r.Mirror), MirrorInSync: r.MirrorInSync,
		Liveness: toLiveness(r.Liveness), LaterTerm: toTerm(r.Later),
	}
}

func fromHostReport(r *failoverv1.SessionRequest) HostReport {
	return HostReport{
		Clock: time.Duration(r.GetClockNanos()), GateOpen: r.GetGateOpen(), Term: fromTerm(r.GetTerm()),
		AtRest: r.GetAtRest(), CanLead: r.GetCanLead(), Reason: r.GetReason(),
		Mirror: fromPosition(r.GetMirror()), MirrorInSync: r.GetMirrorInSync(),
		Liveness: fromLiveness(r.GetLiveness()), Later: fromTerm(r.GetLaterTerm()),
	}
}

func toLiveness(l Liveness) *failoverv1.Liveness {
	if l == (Liveness{}) {
		return nil
	}
	return &failoverv1.Liveness{Address: l.Address, Process: l.Process}
}

func fromLiveness(l *failoverv1.Liveness) Liveness {
	return Liveness{Address: l.GetAddress(), Process: l.GetProcess()}
}

// CacheSync.

func toMirrorConfig(c MirrorConfig) *cachesyncv1.ConfigureRequest {
	return &cachesyncv1.ConfigureRequest{
		NodeId: c.NodeID, Cluster: c.Cluster, DataDir: c.DataDir, Properties: c.Properties, Defaults: c.Defaults,
	}
}

func fromMirrorConfig(c *cachesyncv1.ConfigureRequest) MirrorConfig {
	return MirrorConfig{
		NodeID: c.GetNodeId(), Cluster: c.GetCluster(), DataDir: c.GetDataDir(), Properties: c.GetProperties(),
		Defaults: c.GetDefaults(),
	}
}

func toOp(o Op) *mirrorv1.Op {
	return &mirrorv1.Op{
		Kind: mirrorv1.OpKind(o.Kind), MessageId: o.MessageID, WorkflowId: o.WorkflowID, StepId: o.Step,
		Payload: o.Payload, HasPayload: o.Payload != nil, TimeUnixMillis: toMillis(o.Time), Reason: o.Reason,
	}
}

func fromOp(o *mirrorv1.Op) Op {
	out := Op{
		Kind: fromEnum[OpKind](o.GetKind()), MessageID: o.GetMessageId(), WorkflowID: o.GetWorkflowId(),
		Step: o.GetStepId(), Time: fromMillis(o.GetTimeUnixMillis()), Reason: o.GetReason(),
	}
	if o.GetHasPayload() {
		out.Payload = o.GetPayload()
		if out.Payload == nil {
			out.Payload = []byte{}
		}
	}
	return out
}

func toEntry(e Entry) *mirrorv1.Entry {
	return &mirrorv1.Entry{
		MessageId: e.MessageID, WorkflowId: e.WorkflowID, State: mirrorv1.EntryState(e.State), StepId: e.Step,
		Payload: e.Payload, ReceivedUnixMillis: toMillis(e.Received), ChangedUnixMillis: toMillis(e.Changed),
		Position: toPosition(e.Position), Reason: e.Reason, PossibleDuplicate: e.PossibleDuplicate,
	}
}

func fromEntry(e *mirrorv1.Entry) Entry {
	return Entry{
		MessageID: e.GetMessageId(), WorkflowID: e.GetWorkflowId(), State: fromEnum[EntryState](e.GetState()),
		Step: e.GetStepId(), Payload: e.GetPayload(), Received: fromMillis(e.GetReceivedUnixMillis()),
		Changed: fromMillis(e.GetChangedUnixMillis()), Position: fromPosition(e.GetPosition()),
		Reason: e.GetReason(), PossibleDuplicate: e.GetPossibleDuplicate(),
	}
}

func toMirrorState(s MirrorState) *cachesyncv1.MirrorState {
	return &cachesyncv1.MirrorState{
		Position: toPosition(s.Position), InSync: s.InSync, Leading: s.Leading, RefusedBy: toTerm(s.RefusedBy),
		InSyncStandbys: toInt32(s.InSyncStandbys), SetTerm: toTerm(s.SetTerm), SetVersion: s.SetVersion,
		Recorded: s.Recorded, Alone: s.Alone, Waiting: s.Waiting,
	}
}

func fromMirrorState(s *cachesyncv1.MirrorState) MirrorState {
	return MirrorState{
		Position: fromPosition(s.GetPosition()), InSync: s.GetInSync(), Leading: s.GetLeading(),
		RefusedBy: fromTerm(s.GetRefusedBy()), InSyncStandbys: int(s.GetInSyncStandbys()),
		SetTerm: fromTerm(s.GetSetTerm()), SetVersion: s.GetSetVersion(), Recorded: s.GetRecorded(),
		Alone: s.GetAlone(), Waiting: s.GetWaiting(),
	}
}

func toMirrorStatus(s MirrorStatus) *cachesyncv1.StatusResponse {
	out := &cachesyncv1.StatusResponse{
		NodeId: s.NodeID, Address: s.Address, State: toMirrorState(s.State), Entries: s.Entries,
		Bytes: s.Bytes, DedupeIds: s.DedupeIDs, MasterId: s.MasterID, Dropped: s.Dropped,
		InSyncSet: s.InSyncSet, Store: s.Store, Fault: s.Fault,
		Group: s.Group, Ehcache: s.Ehcache,
	}
	for _, p := range s.Peers {
		out.Peers = append(out.Peers, &cachesyncv1.PeerStatus{
			NodeId: p.NodeID, Address: p.Address, Connected: p.Connected, InSync: p.InSync,
			Acknowledged: toPosition(p.Acknowledged), LagEntries: p.LagEntries, LagNanos: int64(p.Lag),
		})
	}
	return out
}

func fromMirrorStatus(s *cachesyncv1.StatusResponse) MirrorStatus {
	out := MirrorStatus{
		NodeID: s.GetNodeId(), Address: s.GetAddress(), State: fromMirrorState(s.GetState()),
		Entries: s.GetEntries(), Bytes: s.GetBytes(), DedupeIDs: s.GetDedupeIds(), MasterID: s.GetMasterId(),
		Dropped: s.GetDropped(), InSyncSet: s.GetInSyncSet(), Store: s.GetStore(), Fault: s.GetFault(),
		Group: s.GetGroup(), Ehcache: s.GetEhcache(),
	}
	for _, p := range s.GetPeers() {
		out.Peers = append(out.Peers, MirrorPeer{
			NodeID: p.GetNodeId(), Address: p.GetAddress(), Connected: p.GetConnected(), InSync: p.GetInSync(),
			Acknowledged: fromPosition(p.GetAcknowledged()), LagEntries: p.GetLagEntries(),
			Lag: time.Duration(p.GetLagNanos()),
		})
	}
	return out
}
