// Package management is how a running node is asked: gRPC on a unix socket in the node's data folder, for the
// subcommands of bootstrap. There is no second control endpoint.
package management

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

// maxSocketPath is what fits into sockaddr_un on every system.
const maxSocketPath = 103

// maxAnswer is for the list of a failed-message store that is full.
const maxAnswer = 256 << 20

// Source answers the questions. All methods may be called at any time, from several goroutines. Their errors reach the
// caller as they are: a Source that wants a code gives them one (google.golang.org/grpc/status).
type Source interface {
	// Status returns soon even if a plugin hangs.
	Status(ctx context.Context) *controlv1.StatusResponse
	// Handover takes as long as finishing what is under way does. ctx ends when the caller has gone.
	Handover(ctx context.Context, request *controlv1.HandoverRequest) (*controlv1.HandoverResponse, error)
	Pause(ctx context.Context, request *controlv1.PauseRequest) (*controlv1.PauseResponse, error)
	ChangeMembers(ctx context.Context, request *controlv1.ChangeMembersRequest) (*controlv1.ChangeMembersResponse, error)
	Engine
}

// Engine answers the questions about an adapter. A node that has none refuses them.
type Engine interface {
	ListFailed(ctx context.Context, request *controlv1.ListFailedRequest) (*controlv1.ListFailedResponse, error)
	ShowFailed(ctx context.Context, request *controlv1.ShowFailedRequest) (*controlv1.ShowFailedResponse, error)
	// RetryFailed waits for the end of the message, as long as the request says.
	RetryFailed(ctx context.Context, request *controlv1.RetryFailedRequest) (*controlv1.RetryFailedResponse, error)
	DropFailed(ctx context.Context, request *controlv1.DropFailedRequest) (*controlv1.DropFailedResponse, error)
	// ControlWorkflows and Reload take as long as finishing what is under way does, and go on when the caller has gone.
	ControlWorkflows(ctx context.Context, request *controlv1.ControlWorkflowsRequest) (*controlv1.ControlWorkflowsResponse, error)
	Reload(ctx context.Context, request *controlv1.ReloadRequest) (*controlv1.ReloadResponse, error)
}

// Control is a control socket that is being served.
type Control struct {
	server *grpc.Server
	path   string
	served chan error
}

// Listen opens the socket and serves it. The caller holds the lock of the data folder, so that a socket that
// is there already is a dead node's and may be replaced. Only the node's user may connect (mode 0600).
func Listen(path string, source Source) (*Control, error) {
	if abs, err := filepath.Abs(path); err == nil && len(abs) > maxSocketPath {
		return nil, fmt.Errorf("control socket %s: the path is longer than %d bytes; choose a shorter data.dir", abs, maxSocketPath)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), listener.Close())
	}
	c := &Control{server: grpc.NewServer(), path: path, served: make(chan error, 1)}
	controlv1.RegisterControlServiceServer(c.server, service{Source: source})
	go func() { c.served <- c.server.Serve(listener) }()
	return c, nil
}

// Close ends the service and removes the socket.
func (c *Control) Close() error {
	c.server.Stop()
	if err := <-c.served; !errors.Is(err, grpc.ErrServerStopped) { // it was stopped before it had begun
		return err
	}
	return nil
}

// service is a Source as the generated code wants it. A question that Source does not know does not compile.
type service struct {
	controlv1.UnsafeControlServiceServer
	Source
}

func (s service) Status(ctx context.Context, _ *controlv1.StatusRequest) (*controlv1.StatusResponse, error) {
	return s.Source.Status(ctx), nil
}

// Dial returns a client of the node whose control socket is at path. It fails if no node is there.
func Dial(path string) (*grpc.ClientConn, error) {
	probe, err := net.Dial("unix", path)
	if err != nil {
		return nil, fmt.Errorf("no node answers on %s: %w; is it running, and is data.dir right?", path, err)
	}
	_ = probe.Close()
	return grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
}
