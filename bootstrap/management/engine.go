package management

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

// Engine is a Source whose workload is an adapter.
type Engine interface {
	ListFailed(ctx context.Context) (*controlv1.ListFailedResponse, error)
	ShowFailed(ctx context.Context, request *controlv1.ShowFailedRequest) (*controlv1.ShowFailedResponse, error)
	RetryFailed(ctx context.Context, request *controlv1.RetryFailedRequest) (*controlv1.RetryFailedResponse, error)
	DropFailed(ctx context.Context, request *controlv1.DropFailedRequest) (*controlv1.DropFailedResponse, error)
	ControlWorkflows(ctx context.Context, request *controlv1.ControlWorkflowsRequest) (*controlv1.ControlWorkflowsResponse, error)
	Reload(ctx context.Context, request *controlv1.ReloadRequest) (*controlv1.ReloadResponse, error)
}

// engine returns the source as one, or the error for a caller.
func (s service) engine() (Engine, error) {
	if e, ok := s.source.(Engine); ok {
		return e, nil
	}
	return nil, status.Error(codes.Unimplemented, "this node has no adapter")
}

func (s service) ListFailed(ctx context.Context, _ *controlv1.ListFailedRequest) (*controlv1.ListFailedResponse, error) {
	e, err := s.engine()
	if err != nil {
		return nil, err
	}
	return e.ListFailed(ctx)
}

func (s service) ShowFailed(ctx context.Context, r *controlv1.ShowFailedRequest) (*controlv1.ShowFailedResponse, error) {
	e, err := s.engine()
	if err != nil {
		return nil, err
	}
	return e.ShowFailed(ctx, r)
}

func (s service) RetryFailed(ctx context.Context, r *controlv1.RetryFailedRequest) (*controlv1.RetryFailedResponse, error) {
	e, err := s.engine()
	if err != nil {
		return nil, err
	}
	return e.RetryFailed(ctx, r)
}

func (s service) DropFailed(ctx context.Context, r *controlv1.DropFailedRequest) (*controlv1.DropFailedResponse, error) {
	e, err := s.engine()
	if err != nil {
		return nil, err
	}
	return e.DropFailed(ctx, r)
}

func (s service) ControlWorkflows(ctx context.Context, r *controlv1.ControlWorkflowsRequest) (*controlv1.ControlWorkflowsResponse, error) {
	e, err := s.engine()
	if err != nil {
		return nil, err
	}
	return e.ControlWorkflows(ctx, r)
}

func (s service) Reload(ctx context.Context, r *controlv1.ReloadRequest) (*controlv1.ReloadResponse, error) {
	e, err := s.engine()
	if err != nil {
		return nil, err
	}
	return e.Reload(ctx, r)
}
