package host

import (
	"context"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// mirror is the adapter's view of the cachesync plugin for one term.
type mirror struct {
	sync contract.CacheSync
	term contract.Term
	// lost is called when a commit is refused because another term writes.
	lost func(reason string)
	now  func() time.Time
}

var _ adapter.Mirror = (*mirror)(nil)

// commit sends one change and waits until it is committed.
func (m *mirror) commit(ctx context.Context, op contract.Op) (contract.CommitResult, error) {
	type outcome struct {
		result contract.CommitResult
		err    error
	}
	settled := make(chan outcome, 1)
	op.Time = m.now()
	m.sync.Commit(m.term, op, false, func(result contract.CommitResult, err error) {
		settled <- outcome{result, err}
	})
	select {
	case o := <-settled:
		return o.result, m.judge(op, o.result, o.err)
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// judge turns a refusal into an error, and a lost term into a shut gate.
func (m *mirror) judge(op contract.Op, result contract.CommitResult, err error) error {
	switch {
	case result == contract.NotLeading:
		m.lost("another term writes the mirror")
		return adapter.ErrNotLeading
	case result == contract.Invalid:
		return fmt.Errorf("mirror message %s: %w: %w", op.MessageID, adapter.ErrRefused, err)
	case err != nil:
		return fmt.Errorf("mirror message %s: %w", op.MessageID, err)
	}
	return nil
}

func (m *mirror) Receive(ctx context.Context, entry adapter.Entry) (bool, error) {
	payload := entry.Payload
	if payload == nil {
		payload = []byte{}
	}
	result, err := m.commit(ctx, contract.Op{
		Kind: contract.OpReceived, MessageID: entry.MessageID, WorkflowID: entry.Workflow, Payload: payload,
	})
	return result == contract.DoneBefore, err
}

func (m *mirror) Step(ctx context.Context, messageID, step string, payload []byte, wait bool) error {
	op := contract.Op{Kind: contract.OpStepped, MessageID: messageID, Step: step, Payload: payload}
	if wait {
		_, err := m.commit(ctx, op)
		return err
	}
	op.Time = m.now()
	m.sync.Commit(m.term, op, true, func(result contract.CommitResult, err error) {
		// A refused step is no loss: the service runs again. A lost term is noted by the next commit.
		_ = m.judge(op, result, err)
	})
	return nil
}

func (m *mirror) Producing(ctx context.Context, messageID string) error {
	_, err := m.commit(ctx, contract.Op{Kind: contract.OpProducing, MessageID: messageID})
	return err
}

func (m *mirror) Done(ctx context.Context, messageID string) error {
	_, err := m.commit(ctx, contract.Op{Kind: contract.OpDone, MessageID: messageID})
	return err
}

func (m *mirror) Release(ctx context.Context, messageID string) error {
	_, err := m.commit(ctx, contract.Op{Kind: contract.OpReleased, MessageID: messageID})
	return err
}

func (m *mirror) Hold(ctx context.Context, messageID, reason string) error {
	_, err := m.commit(ctx, contract.Op{Kind: contract.OpHeld, MessageID: messageID, Reason: reason})
	return err
}

// entries turns what a Lead returned into what the adapter takes.
func entries(in []contract.Entry) []adapter.Entry {
	out := make([]adapter.Entry, 0, len(in))
	for _, e := range in {
		out = append(out, adapter.Entry{
			MessageID: e.MessageID, Workflow: e.WorkflowID, State: adapter.EntryState(e.State), Step: e.Step,
			Payload: e.Payload, Received: e.Received, PossibleDuplicate: e.PossibleDuplicate, Reason: e.Reason,
		})
	}
	return out
}

// noMirror is used where no cachesync plugin is: nothing is remembered.
type noMirror struct{}

func (noMirror) Receive(context.Context, adapter.Entry) (bool, error) { return false, nil }
func (noMirror) Step(context.Context, string, string, []byte, bool) error {
	return nil
}
func (noMirror) Producing(context.Context, string) error { return nil }
func (noMirror) Done(context.Context, string) error      { return nil }
func (noMirror) Release(context.Context, string) error   { return nil }
func (noMirror) Hold(_ context.Context, id, reason string) error {
	return fmt.Errorf("hold message %s (%s): there is no mirror: %w", id, reason, adapter.ErrRefused)
}
