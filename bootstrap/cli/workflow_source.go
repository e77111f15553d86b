package cli

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

func workflowProto(w adapter.WorkflowStatus) *controlv1.WorkflowStatus {
	out := &controlv1.WorkflowStatus{
		Id: w.ID, Channel: w.Channel, State: w.State.String(), Received: w.Received, Produced: w.Produced, Failed: w.Failed,
		Duplicates: w.Duplicates, InFlight: w.InFlight, Held: w.Held, LastError: text(w.LastError), Stored: w.Stored, Restarts: w.Restarts,
	}
	for _, s := range w.Slices {
		out.Slices = append(out.Slices, &controlv1.WorkflowSlice{
			StartUnixNano: s.Start.UnixNano(), Messages: s.Messages, Failed: s.Failed, Bytes: s.Bytes,
			TotalNanos: int64(s.Total), LongestNanos: int64(s.Longest),
		})
	}
	return out
}

// ControlWorkflows implements management.Engine.
func (r *runner) ControlWorkflows(ctx context.Context, request *controlv1.ControlWorkflowsRequest) (*controlv1.ControlWorkflowsResponse, error) {
	a, err := r.workingAdapter()
	if err != nil {
		return nil, err
	}
	timeout := r.setup.cfg.StopTimeout
	if request.TimeoutNanos > 0 {
		timeout = time.Duration(request.TimeoutNanos)
	}
	// What has begun goes on when the caller has gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	change := a.StartWorkflows
	if request.Stop {
		change = a.StopWorkflows
	}
	list, err := change(ctx, request.Id)
	switch {
	case errors.Is(err, adapter.ErrNoSuchWorkflow):
		return nil, status.Error(codes.NotFound, err.Error())
	case errors.Is(err, adapter.ErrNotRunning):
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	case err != nil:
		return nil, status.Error(codes.Aborted, err.Error())
	}
	out := &controlv1.ControlWorkflowsResponse{}
	for _, w := range list {
		out.Workflows = append(out.Workflows, workflowProto(w))
	}
	return out, nil
}
