package management_test

import (
	"context"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/understudy-ha/understudy/bootstrap/management"
	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

// engine is the part of a source that is about an adapter.
type engine struct{}

func (engine) ListFailed(context.Context, *controlv1.ListFailedRequest) (*controlv1.ListFailedResponse, error) {
	return &controlv1.ListFailedResponse{NodeId: "a"}, nil
}

func (engine) ShowFailed(_ context.Context, r *controlv1.ShowFailedRequest) (*controlv1.ShowFailedResponse, error) {
	return nil, status.Error(codes.NotFound, "no "+r.MessageId)
}

func (engine) RetryFailed(_ context.Context, r *controlv1.RetryFailedRequest) (*controlv1.RetryFailedResponse, error) {
	return &controlv1.RetryFailedResponse{Outcome: r.MessageId}, nil
}

func (engine) DropFailed(context.Context, *controlv1.DropFailedRequest) (*controlv1.DropFailedResponse, error) {
	return &controlv1.DropFailedResponse{}, nil
}

func (engine) ControlWorkflows(_ context.Context, r *controlv1.ControlWorkflowsRequest) (*controlv1.ControlWorkflowsResponse, error) {
	return &controlv1.ControlWorkflowsResponse{Workflows: []*controlv1.WorkflowStatus{{Id: r.Id}}}, nil
}

func (engine) Reload(_ context.Context, r *controlv1.ReloadRequest) (*controlv1.ReloadResponse, error) {
	return &controlv1.ReloadResponse{Changed: []string{"w"}}, nil
}

func serve(t *testing.T) controlv1.ControlServiceClient {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.sock")
	control, err := management.Listen(path, source{})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := management.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := control.Close(); err != nil {
			t.Error(err)
		}
	})
	return controlv1.NewControlServiceClient(conn)
}

// asked is one question of each kind.
func asked(ctx context.Context, c controlv1.ControlServiceClient) map[string]error {
	out := map[string]error{}
	_, out["list"] = c.ListFailed(ctx, &controlv1.ListFailedRequest{})
	_, out["show"] = c.ShowFailed(ctx, &controlv1.ShowFailedRequest{MessageId: "m"})
	_, out["retry"] = c.RetryFailed(ctx, &controlv1.RetryFailedRequest{MessageId: "m"})
	_, out["drop"] = c.DropFailed(ctx, &controlv1.DropFailedRequest{MessageId: "m"})
	_, out["control"] = c.ControlWorkflows(ctx, &controlv1.ControlWorkflowsRequest{Id: "w"})
	_, out["reload"] = c.Reload(ctx, &controlv1.ReloadRequest{})
	return out
}

func TestEngine(t *testing.T) {
	c := serve(t)
	for what, err := range asked(t.Context(), c) {
		if what == "show" && (status.Code(err) != codes.NotFound || status.Convert(err).Message() != "no m") || what != "show" && err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if r, err := c.RetryFailed(t.Context(), &controlv1.RetryFailedRequest{MessageId: "m"}); err != nil || r.Outcome != "m" {
		t.Errorf("%v, %v", r, err)
	}
	if r, err := c.ControlWorkflows(t.Context(), &controlv1.ControlWorkflowsRequest{Id: "w"}); err != nil || len(r.Workflows) != 1 || r.Workflows[0].Id != "w" {
		t.Errorf("%v, %v", r, err)
	}
}
