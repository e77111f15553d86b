package store

import (
	"encoding/binary"

	"google.golang.org/protobuf/proto"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	"github.com/understudy-ha/understudy/cachesync/translate"
	clusterv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// scratch is memory for one record at a time: a batch copies what it is given.
type scratch struct {
	key, value []byte
	message    mirrorv1.Entry
	position   clusterv1.Position
	term       clusterv1.Term
	arrival    clusterv1.Position
	arrived    clusterv1.Term
}

// text is the key of a record with a text at its end.
func (s *scratch) text(kind byte, generation uint64, text string) []byte {
	s.key = append(binary.BigEndian.AppendUint64(append(s.key[:0], kind), generation), text...)
	return s.key
}

// entry encodes a message in flight without its payload.
func (s *scratch) entry(e *ledger.Entry) ([]byte, error) {
	s.term.Number, s.term.NodeId = e.Position.Term.Number, e.Position.Term.Node
	s.position.Term, s.position.Index = &s.term, e.Position.Index
	s.arrived.Number, s.arrived.NodeId = e.Arrival.Term.Number, e.Arrival.Term.Node
	s.arrival.Term, s.arrival.Index = &s.arrived, e.Arrival.Index
	m := &s.message
	m.MessageId, m.WorkflowId, m.State, m.StepId = e.MessageID, e.WorkflowID, mirrorv1.EntryState(e.State), e.Step
	m.ReceivedUnixMillis, m.ChangedUnixMillis = e.ReceivedMilli, e.ChangedMilli
	m.Position, m.Arrival, m.Reason, m.PossibleDuplicate = &s.position, &s.arrival, e.Reason, e.PossibleDuplicate
	var err error
	s.value, err = proto.MarshalOptions{}.MarshalAppend(s.value[:0], m)
	return s.value, err
}

// entryFromProto leaves the payload out. A state that no build knows becomes 0, which the ledger refuses.
func entryFromProto(m *mirrorv1.Entry) ledger.Entry {
	state := ledger.State(0)
	if n := m.GetState(); n > 0 && n <= mirrorv1.EntryState_ENTRY_STATE_HELD {
		state = ledger.State(n)
	}
	return ledger.Entry{
		MessageID: m.GetMessageId(), WorkflowID: m.GetWorkflowId(), State: state, Step: m.GetStepId(),
		ReceivedMilli: m.GetReceivedUnixMillis(), ChangedMilli: m.GetChangedUnixMillis(),
		Position: translate.ToPosition(m.GetPosition()), Arrival: translate.ToPosition(m.GetArrival()), Reason: m.GetReason(), PossibleDuplicate: m.GetPossibleDuplicate(),
	}
}

func promiseToProto(p cachesync.Promise) *mirrorv1.StoredPromise {
	return &mirrorv1.StoredPromise{Promised: translate.FromTerm(p.Term), InSyncSet: translate.FromRecord(p.Record)}
}

func promiseFromProto(m *mirrorv1.StoredPromise) cachesync.Promise {
	return cachesync.Promise{Term: translate.ToTerm(m.GetPromised()), Record: translate.ToRecord(m.GetInSyncSet())}
}
