package peer

import (
	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	"github.com/understudy-ha/understudy/cachesync/translate"
	clusterv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// The kinds and states of the ledger have the numbers of the protocol; a test keeps it so.

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
			e.term, e.shared = from.Position.Term, translate.FromTerm(from.Position.Term)
		}
		to.Position = &clusterv1.Position{Term: e.shared, Index: from.Position.Index}
	}
	if e.compact && len(b.Entries) > 0 {
		e.batch.FirstIndex = b.Entries[0].Position.Index
	}
	e.batch.Entries = e.entries[:len(b.Entries)]
	e.batch.Committed = nil
	if b.Member {
		e.batch.Committed = translate.FromPosition(b.Committed)
	}
	e.batch.InSyncSet = nil
	if b.Record != nil {
		e.batch.InSyncSet = translate.FromRecord(*b.Record)
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
	b := &cachesync.Batch{Member: from.Committed != nil, Committed: translate.ToPosition(from.Committed)}
	if from.InSyncSet != nil {
		record := translate.ToRecord(from.InSyncSet)
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
			position = ledger.Position{Term: interned(translate.ToTerm(entry.GetPosition().GetTerm()), term), Index: entry.GetPosition().GetIndex()}
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
		to.Position, to.Seals = translate.FromPosition(from.Position), translate.FromSeals(from.Seals)
	}
	for i := range from.Entries {
		e := &from.Entries[i]
		to.Entries = append(to.Entries, &mirrorv1.Entry{
			MessageId: e.MessageID, WorkflowId: e.WorkflowID, State: mirrorv1.EntryState(e.State), StepId: e.Step,
			Payload: e.Payload, ReceivedUnixMillis: e.ReceivedMilli, ChangedUnixMillis: e.ChangedMilli,
			Position: translate.FromPosition(e.Position), Reason: e.Reason, PossibleDuplicate: e.PossibleDuplicate,
			Arrival: translate.FromPosition(e.Arrival),
		})
	}
	for _, f := range from.Finished {
		to.Done = append(to.Done, &mirrorv1.Done{MessageId: f.MessageID, TimeUnixMillis: f.UnixMilli})
	}
	return to
}

func chunkFromProto(from *mirrorv1.SnapshotChunk) *ledger.Chunk {
	to := &ledger.Chunk{First: from.GetFirst(), Last: from.GetLast(), Position: translate.ToPosition(from.GetPosition())}
	if to.Last {
		to.Seals = translate.ToSeals(from.GetSeals(), to.Position)
	}
	var last ledger.Term
	for _, e := range from.GetEntries() {
		position, arrival := translate.ToPosition(e.GetPosition()), translate.ToPosition(e.GetArrival())
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
