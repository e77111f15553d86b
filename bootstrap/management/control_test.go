package management_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/understudy-ha/understudy/bootstrap/management"
	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

// source answers with what it was asked.
type source struct{ engine }

func (source) Status(context.Context) *controlv1.StatusResponse {
	return &controlv1.StatusResponse{NodeId: "a"}
}

func (source) Handover(_ context.Context, r *controlv1.HandoverRequest) (*controlv1.HandoverResponse, error) {
	if r.To == "" {
		return nil, status.Error(codes.FailedPrecondition, "nobody\nb: cannot lead")
	}
	return &controlv1.HandoverResponse{To: r.To, DrainNanos: r.TimeoutNanos}, nil
}

func (source) Pause(_ context.Context, r *controlv1.PauseRequest) (*controlv1.PauseResponse, error) {
	return &controlv1.PauseResponse{Paused: r.On}, nil
}

func (source) ChangeMembers(_ context.Context, r *controlv1.ChangeMembersRequest) (*controlv1.ChangeMembersResponse, error) {
	if r.Add == "" {
		return nil, errors.New("no")
	}
	return &controlv1.ChangeMembersResponse{Voters: []string{r.Add}}, nil
}

func TestControl(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil { // a dead node's
		t.Fatal(err)
	}
	control, err := management.Listen(path, source{})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v; want 0600", info.Mode(), err)
	}
	conn, err := management.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	client := controlv1.NewControlServiceClient(conn)
	if s, err := client.Status(t.Context(), &controlv1.StatusRequest{}); err != nil || s.NodeId != "a" {
		t.Errorf("status: %v, %v", s, err)
	}
	if r, err := client.Handover(t.Context(), &controlv1.HandoverRequest{To: "b", TimeoutNanos: 7}); err != nil || r.To != "b" || r.DrainNanos != 7 {
		t.Errorf("handover: %v, %v", r, err)
	}
	_, err = client.Handover(t.Context(), &controlv1.HandoverRequest{})
	if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "nobody\nb: cannot lead" {
		t.Errorf("a refusal: %v", err)
	}
	if r, err := client.Pause(t.Context(), &controlv1.PauseRequest{On: true}); err != nil || !r.Paused {
		t.Errorf("pause: %v, %v", r, err)
	}
	if r, err := client.ChangeMembers(t.Context(), &controlv1.ChangeMembersRequest{Add: "d"}); err != nil || len(r.Voters) != 1 {
		t.Errorf("members: %v, %v", r, err)
	}
	if _, err := client.ChangeMembers(t.Context(), &controlv1.ChangeMembersRequest{}); status.Convert(err).Message() != "no" {
		t.Errorf("an error: %v", err)
	}
	if err := errors.Join(conn.Close(), control.Close()); err != nil {
		t.Error(err)
	}
	if _, err := management.Dial(path); err == nil || !strings.Contains(err.Error(), "no node answers") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestControlPathTooLong(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("x", 110))
	if _, err := management.Listen(path, source{}); err == nil || !strings.Contains(err.Error(), "shorter data.dir") {
		t.Errorf("a long path: %v", err)
	}
}
