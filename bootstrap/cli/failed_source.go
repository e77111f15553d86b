package cli

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/failedstore"
	"github.com/understudy-ha/understudy/bootstrap/host"
	"github.com/understudy-ha/understudy/plugins/contract"
	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

// maxListedError is how long the reason of a message is in a list; bootstrap failed show has it whole.
const maxListedError = 1024

// maxShown is how much of a failed message's content goes over the control socket.
const maxShown = 1 << 20

// ListFailed implements management.Engine.
func (r *runner) ListFailed(ctx context.Context, _ *controlv1.ListFailedRequest) (*controlv1.ListFailedResponse, error) {
	store, err := r.failedStore()
	if err != nil {
		return nil, asStatus(err)
	}
	node := r.node.Load()
	out := &controlv1.ListFailedResponse{NodeId: r.nodeID, Store: store.Dir(), Master: node.Status().Phase == host.PhaseRunning}
	if role := node.Role(); role.Role != contract.RoleMaster {
		out.MasterId = role.MasterID
	}
	list, err := r.failedMessages(ctx, store)
	for _, m := range list {
		p := failedProto(m, store)
		if len(p.Error) > maxListedError {
			p.Error = text(p.Error[:maxListedError]) + "..."
		}
		out.Messages = append(out.Messages, p)
	}
	if err != nil {
		out.Faults = strings.Split(err.Error(), "\n")
	}
	return out, nil
}

// failedMessages asks the adapter, or the store if there is no adapter right now.
func (r *runner) failedMessages(ctx context.Context, store *failedstore.Store) ([]adapter.FailedMessage, error) {
	if a := r.engine.adapter.Load(); a != nil {
		return a.FailedMessages(ctx)
	}
	list, err := store.List(ctx)
	out := make([]adapter.FailedMessage, len(list))
	for i := range list {
		out[i].Failed = list[i]
	}
	return out, err
}

func failedProto(m adapter.FailedMessage, store *failedstore.Store) *controlv1.FailedMessage {
	out := &controlv1.FailedMessage{
		MessageId: text(m.MessageID), Channel: m.Channel, Workflow: text(m.Workflow), ErrorStep: text(m.ErrorStep), Error: text(m.Error),
		Attempts: uint32(m.Attempts), Term: m.Term, Step: text(m.Step), PossibleDuplicate: m.PossibleDuplicate, Bytes: m.Bytes,
		Held: m.Held, Mirrored: m.Mirrored, ReceivedUnixNano: unixNano(m.Received), FailedUnixNano: unixNano(m.Failed.Failed),
	}
	if folder, found := store.Folder(m.MessageID); found {
		out.Folder = folder
	}
	return out
}

// text is what protobuf takes as one.
func text(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// ShowFailed implements management.Engine.
func (r *runner) ShowFailed(ctx context.Context, request *controlv1.ShowFailedRequest) (*controlv1.ShowFailedResponse, error) {
	store, err := r.failedStore()
	if err != nil {
		return nil, asStatus(err)
	}
	var m adapter.FailedMessage
	if a := r.engine.adapter.Load(); a != nil {
		m, err = a.FailedMessage(ctx, request.MessageId)
	} else {
		m.Failed, err = store.Get(ctx, request.MessageId)
	}
	if err != nil {
		return nil, failedStatus(err)
	}
	parts, err := failedstore.Parts(m.Payload)
	if err != nil {
		return nil, asStatus(err)
	}
	out := &controlv1.ShowFailedResponse{Message: failedProto(m, store)}
	room := maxShown
	for _, p := range parts {
		part := &controlv1.FailedPart{Content: p.Content, Metadata: map[string]string{}}
		for key, value := range p.Metadata {
			part.Metadata[text(key)] = text(value)
		}
		if len(part.Content) > room {
			part.Content, out.Truncated = part.Content[:room], true
		}
		room -= len(part.Content)
		out.Parts = append(out.Parts, part)
	}
	return out, nil
}

// RetryFailed implements management.Engine.
func (r *runner) RetryFailed(ctx context.Context, request *controlv1.RetryFailedRequest) (*controlv1.RetryFailedResponse, error) {
	a, err := r.workingAdapter()
	if err != nil {
		return nil, err
	}
	if request.TimeoutNanos > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(request.TimeoutNanos))
		defer cancel()
	}
	outcome, err := a.RetryFailed(ctx, request.MessageId)
	if err != nil {
		return nil, failedStatus(err)
	}
	return &controlv1.RetryFailedResponse{Outcome: string(outcome.State), Error: text(outcome.Error)}, nil
}

// DropFailed implements management.Engine.
func (r *runner) DropFailed(ctx context.Context, request *controlv1.DropFailedRequest) (*controlv1.DropFailedResponse, error) {
	a, err := r.workingAdapter()
	if err != nil {
		return nil, err
	}
	if err := a.DropFailed(ctx, request.MessageId); err != nil {
		return nil, failedStatus(err)
	}
	return &controlv1.DropFailedResponse{}, nil
}

// workingAdapter returns the adapter of a node that leads.
func (r *runner) workingAdapter() (*adapter.Adapter, error) {
	if r.adapterConfig() == nil {
		return nil, errNoAdapter
	}
	a := r.engine.adapter.Load()
	if a != nil && r.node.Load().Status().Phase == host.PhaseRunning {
		return a, nil
	}
	if role := r.node.Load().Role(); role.Role != contract.RoleMaster && role.MasterID != "" {
		return nil, status.Errorf(codes.FailedPrecondition, "only the master can do this, and that is %s; ask there", role.MasterID)
	}
	return nil, status.Error(codes.FailedPrecondition, "only a master at work can do this, and this node is not one")
}

// failedStatus gives an error of the engine the code that it travels with.
func failedStatus(err error) error {
	switch {
	case errors.Is(err, adapter.ErrNoSuchFailed):
		return status.Error(codes.NotFound, err.Error()+"; bootstrap failed list shows those that there are")
	case errors.Is(err, adapter.ErrNotRunning):
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return asStatus(err)
}
