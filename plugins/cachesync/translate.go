package main

import (
	"time"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	"github.com/understudy-ha/understudy/plugins/contract"
)

func termFrom(t contract.Term) ledger.Term { return ledger.Term(t) }

func termTo(t ledger.Term) contract.Term { return contract.Term(t) }

func positionTo(p ledger.Position) contract.Position {
	return contract.Position{Term: termTo(p.Term), Index: p.Index}
}

// kindFrom gives zero, which the ledger refuses, for a kind that this build does not know.
func kindFrom(k contract.OpKind) ledger.Kind {
	switch k {
	case contract.OpReceived:
		return ledger.Received
	case contract.OpStepped:
		return ledger.Stepped
	case contract.OpProducing:
		return ledger.Producing
	case contract.OpDone:
		return ledger.Done
	case contract.OpReleased:
		return ledger.Released
	case contract.OpHeld:
		return ledger.Held
	}
	return 0
}

func opFrom(op contract.Op) ledger.Op {
	out := ledger.Op{
		Kind: kindFrom(op.Kind), MessageID: op.MessageID, WorkflowID: op.WorkflowID, Step: op.Step,
		Payload: op.Payload, Reason: op.Reason,
	}
	if !op.Time.IsZero() {
		out.UnixMilli = op.Time.UnixMilli()
	}
	return out
}

func stateTo(s ledger.State) contract.EntryState {
	switch s {
	case ledger.StateReceived:
		return contract.EntryReceived
	case ledger.StateProducing:
		return contract.EntryProducing
	case ledger.StateHeld:
		return contract.EntryHeld
	}
	return 0
}

func entryTo(e *ledger.Entry) contract.Entry {
	return contract.Entry{
		MessageID: e.MessageID, WorkflowID: e.WorkflowID, State: stateTo(e.State), Step: e.Step, Payload: e.Payload,
		Received: time.UnixMilli(e.ReceivedMilli), Changed: time.UnixMilli(e.ChangedMilli),
		Position: positionTo(e.Position), Reason: e.Reason, PossibleDuplicate: e.PossibleDuplicate,
	}
}

func resultTo(r cachesync.Result) contract.CommitResult {
	switch r {
	case cachesync.Committed:
		return contract.Committed
	case cachesync.DoneBefore:
		return contract.DoneBefore
	case cachesync.Invalid:
		return contract.Invalid
	case cachesync.NoRoom:
		return contract.NoRoom
	}
	return contract.NotLeading
}

func mirrorStateTo(s cachesync.State) contract.MirrorState {
	return contract.MirrorState{
		Position: positionTo(s.Position), InSync: s.InSync, Leading: s.Leading,
		RefusedBy: termTo(s.RefusedBy), InSyncStandbys: s.InSyncStandbys,
		SetTerm: termTo(s.RecordTerm), SetVersion: s.RecordVersion, Recorded: s.Recorded, Alone: s.Alone, Waiting: s.Waiting,
	}
}
