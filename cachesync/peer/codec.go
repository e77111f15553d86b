package peer

import (
	"slices"
	"time"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	clusterv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// The kinds and states of the ledger have the numbers of the protocol; a test keeps it so.

func termToProto(t ledger.Term) *clusterv1.Term {
	return &clusterv1.Term{Number: t.Number, NodeId: t.Node}
}

func termFromProto(t *clusterv1.Term) ledger.Term {
	return ledger.Term{Number: t.GetNumber(), Node: t.GetNodeId()}
}

func positionToProto(p ledger.Position) *clusterv1.Position {
	return &clusterv1.Position{Term: termToProto(p.Term), Index: p.Index}
}

func positionFromProto(p *clusterv1.Position) ledger.Position {
	return ledger.Position{Term: termFromProto(p.GetTerm()), Index: p.GetIndex()}
}

// interned returns t with the node's name shared with like, if it is the same: most positions of a stream
// are of one term.
func interned(t, like ledger.Term) ledger.Term {
	if t == like {
		return like
	}
	return t
}

// small keeps a number that no kind or state has from being cut to one that has.
func small[T ~uint8, N ~int32](n N) T {
	if n < 0 || n > 255 {
		return 0
	}
	return T(n)
}

// batchEncoder turns batches into messages and reuses the memory of the last one: gRPC has encoded a message
// when Send returns.
type batchEncoder struct {
	// compact: the receiver needs no positions of entries that follow one another, which all entries of a batch do.
	compact bool
	request mirrorv1.ReplicateRequest
	body    mirrorv1.ReplicateRequest_Batch
	batch   mirrorv1.Batch
	entries []*mirrorv1.LogEntry
	term    ledger.Term
	shared  *clusterv1.Term // term, as all entries of the stream share it
}

func recordToProto(r cachesync.Record) *mirrorv1.InSyncSet {
	if r.IsZero() {
		return nil
	}
	return &mirrorv1.InSyncSet{
		Term: termToProto(r.Term), Version: r.Version, Members: r.Members, AloneAfterNanos: int64(r.AloneAfter),
	}
}

// recordFromProto sorts the members, as everything that looks them up expects.
func recordFromProto(m *mirrorv1.InSyncSet) cachesync.Record {
	if m == nil {
		return cachesync.Record{}
	}
	members := slices.Clone(m.GetMembers())
	slices.Sort(members)
	return cachesync.Record{
		Term: termFromProto(m.GetTerm()), Version: m.GetVersion(), Members: members,
		AloneAfter: time.Duration(m.GetAloneAfterNanos()),
	}
}

func sealsToProto(s ledger.Seals) *mirrorv1.Seals {
	m := &mirrorv1.Seals{From: termToProto(s.From)}
	for _, end := range s.Ends {
		m.Ends = append(m.Ends, positionToProto(end))
	}
	return m
}

// sealsFromProto takes a table whose sender knows no seals for one that has forgotten all earlier terms.
func sealsFromProto(m *mirrorv1.Seals, position ledger.Position) ledger.Seals {
	if m == nil {
		return ledger.Seals{From: position.Term}
	}
	s := ledger.Seals{From: termFromProto(m.GetFrom())}
	for _, end := range m.GetEnds() {
		s.Ends = append(s.Ends, positionFromProto(end))
	}
	return s
}

func (e *batchEncoder) encode(b *cachesync.Batch) *mirrorv1.ReplicateRequest {
	for len(e.entries) < len(b.Entries) {
		e.entries = append(e.entries, &mirrorv1.LogEntry{Op: &mirrorv1.Op{}})
	}
	e.batch.FirstIndex = 0
	for i := range b.Entries {
		from, to := &b.Entries[i], e.entries[i]
		opToProto(&from.Op, to.Op)
		if e.compact {
			continue
		}
		if e.shared == nil || from.Position.Term != e.term {
			e.term, e.shared = from.Position.Term, termToProto(from.Position.Term)
		}
		to.Position = &clusterv1.Position{Term: e.shared, Index: from.Position.Index}
	}
	if e.compact && len(b.Entries) > 0 {
		e.batch.FirstIndex = b.Entries[0].Position.Index
	}
	e.batch.Entries = e.entries[:len(b.Entries)]
	e.batch.Committed = nil
	if b.Member {
		e.batch.Committed = positionToProto(b.Committed)
	}
	e.batch.InSyncSet = nil
	if b.Record != nil {
		e.batch.InSyncSet = recordToProto(*b.Record)
	}
	e.body.Batch = &e.batch
	e.request.Body = &e.body
	return &e.request
}

// release lets go of the payloads of the last batch.
func (e *batchEncoder) release() {
	for _, entry := range e.batch.Entries {
		entry.Op.Payload = nil
	}
}

func opToProto(from *ledger.Op, to *mirrorv1.Op) {
	to.Kind = mirrorv1.OpKind(from.Kind)
	to.MessageId, to.WorkflowId, to.StepId = from.MessageID, from.WorkflowID, from.Step
	to.Payload, to.HasPayload = from.Payload, from.Payload != nil
	to.TimeUnixMillis, to.Reason = from.UnixMilli, from.Reason
}

// payload gives absent and empty payloads the forms that they have in the ledger.
func payload(present bool, bytes []byte) []byte {
	switch {
	case !present:
		return nil
	case bytes == nil:
		return []byte{}
	}
	return bytes
}

func batchFromProto(from *mirrorv1.Batch, term ledger.Term) *cachesync.Batch {
	b := &cachesync.Batch{Member: from.Committed != nil, Committed: positionFromProto(from.Committed)}
	if from.InSyncSet != nil {
		record := recordFromProto(from.InSyncSet)
		b.Record = &record
	}
	if len(from.Entries) == 0 {
		return b
	}
	b.Entries = make([]ledger.LogEntry, len(from.Entries))
	for i, entry := range from.Entries {
		op := entry.GetOp()
		position := ledger.Position{Term: term, Index: from.FirstIndex + uint64(i)}
		if from.FirstIndex == 0 {
			position = ledger.Position{Term: interned(termFromProto(entry.GetPosition().GetTerm()), term), Index: entry.GetPosition().GetIndex()}
		}
		b.Entries[i] = ledger.LogEntry{
			Position: position,
			Op: ledger.Op{
				Kind:      small[ledger.Kind](op.GetKind()),
				MessageID: op.GetMessageId(), WorkflowID: op.GetWorkflowId(), Step: op.GetStepId(),
				Payload:   payload(op.GetHasPayload(), op.GetPayload()),
				UnixMilli: op.GetTimeUnixMillis(), Reason: op.GetReason(),
			},
		}
	}
	return b
}

func chunkToProto(from *ledger.Chunk) *mirrorv1.SnapshotChunk {
	to := &mirrorv1.SnapshotChunk{First: from.First, Last: from.Last}
	if from.Last {
		to.Position, to.Seals = positionToProto(from.Position), sealsToProto(from.Seals)
	}
	for i := range from.Entries {
		e := &from.Entries[i]
		to.Entries = append(to.Entries, &mirrorv1.Entry{
			MessageId: e.MessageID, WorkflowId: e.WorkflowID, State: mirrorv1.EntryState(e.State), StepId: e.Step,
			Payload: e.Payload, ReceivedUnixMillis: e.ReceivedMilli, ChangedUnixMillis: e.ChangedMilli,
			Position: positionToProto(e.Position), Reason: e.Reason, PossibleDuplicate: e.PossibleDuplicate,
			Arrival: positionToProto(e.Arrival),
		})
	}
	for _, f := range from.Finished {
		to.Done = append(to.Done, &mirrorv1.Done{MessageId: f.MessageID, TimeUnixMillis: f.UnixMilli})
	}
	return to
}

func chunkFromProto(from *mirrorv1.SnapshotChunk) *ledger.Chunk {
	to := &ledger.Chunk{First: from.GetFirst(), Last: from.GetLast(), Position: positionFromProto(from.GetPosition())}
	if to.Last {
		to.Seals = sealsFromProto(from.GetSeals(), to.Position)
	}
	var last ledger.Term
	for _, e := range from.GetEntries() {
		position, arrival := positionFromProto(e.GetPosition()), positionFromProto(e.GetArrival())
		position.Term = interned(position.Term, last)
		arrival.Term = interned(arrival.Term, position.Term)
		last = position.Term
		to.Entries = append(to.Entries, ledger.Entry{
			MessageID: e.GetMessageId(), WorkflowID: e.GetWorkflowId(), State: small[ledger.State](e.GetState()), Step: e.GetStepId(),
			Payload: payload(true, e.GetPayload()), ReceivedMilli: e.GetReceivedUnixMillis(), ChangedMilli: e.GetChangedUnixMillis(),
			Position: position, Arrival: arrival, Reason: e.GetReason(), PossibleDuplicate: e.GetPossibleDuplicate(),
		})
	}
	for _, d := range from.GetDone() {
		to.Finished = append(to.Finished, ledger.Finished{MessageID: d.GetMessageId(), UnixMilli: d.GetTimeUnixMillis()})
	}
	return to
}
