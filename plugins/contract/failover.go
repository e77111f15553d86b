package contract

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

// failoverPlugin ties FailoverService to go-plugin: impl is set in the plugin, name in the host.
type failoverPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	name string
	impl Failover
}

func (p *failoverPlugin) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	failoverv1.RegisterFailoverServiceServer(server, &failoverServer{impl: p.impl})
	return nil
}

func (p *failoverPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return NewFailoverClient(conn, p.name), nil
}

// failoverServer serves a Failover.
type failoverServer struct {
	failoverv1.UnimplementedFailoverServiceServer
	impl Failover
}

func (s *failoverServer) Session(stream failoverv1.FailoverService_SessionServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	reports := make(chan HostReport)
	// This goroutine outlives the call by a moment: only the return of this method ends its Recv.
	go func() {
		defer close(reports)
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case reports <- fromHostReport(r):
			case <-ctx.Done():
				return
			}
		}
	}()
	return toStatus(s.impl.Session(ctx, reports, func(r RoleReport) error {
		return stream.Send(toRoleReport(r))
	}))
}

func (s *failoverServer) Resign(ctx context.Context, r *failoverv1.ResignRequest) (*failoverv1.ResignResponse, error) {
	if err := s.impl.Resign(ctx, fromTerm(r.GetTerm()), r.GetSuccessor()); err != nil {
		return nil, toStatus(err)
	}
	return &failoverv1.ResignResponse{}, nil
}

func (s *failoverServer) Status(ctx context.Context, _ *failoverv1.StatusRequest) (*failoverv1.StatusResponse, error) {
	status, err := s.impl.Status(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	return toElectionStatus(status), nil
}

func (s *failoverServer) Pause(ctx context.Context, r *failoverv1.PauseRequest) (*failoverv1.PauseResponse, error) {
	if err := s.impl.Pause(ctx, r.GetOn()); err != nil {
		return nil, toStatus(err)
	}
	return &failoverv1.PauseResponse{}, nil
}

func (s *failoverServer) ChangeMembers(ctx context.Context, r *failoverv1.ChangeMembersRequest) (*failoverv1.ChangeMembersResponse, error) {
	voters, err := s.impl.ChangeMembers(ctx, MembersChange{Remove: r.GetRemove(), Add: r.GetAdd()})
	if err != nil {
		return nil, toStatus(err)
	}
	return &failoverv1.ChangeMembersResponse{Voters: voters}, nil
}

// FailoverClient is the Failover that runs in a plugin's process.
type FailoverClient struct {
	plugin string
	rpc    failoverv1.FailoverServiceClient
}

var _ Failover = (*FailoverClient)(nil)

// NewFailoverClient talks to the plugin at the other end of conn.
func NewFailoverClient(conn grpc.ClientConnInterface, plugin string) *FailoverClient {
	return &FailoverClient{plugin: plugin, rpc: failoverv1.NewFailoverServiceClient(conn)}
}

// Session implements Failover. It returns nil when reports was closed and the plugin has ended the session,
// the context's error when ctx ended, send's error when that failed, and else what became of the plugin.
func (c *FailoverClient) Session(ctx context.Context, reports <-chan HostReport, send func(RoleReport) error) error {
	life, cancel := context.WithCancel(ctx)
	stream, err := c.rpc.Session(life)
	if err != nil {
		cancel()
		return fromStatus(ctx, c.plugin, "session", err)
	}
	var reporting sync.WaitGroup
	reporting.Go(func() { report(life, reports, stream) })
	defer reporting.Wait()
	defer cancel()
	for {
		r, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fromStatus(ctx, c.plugin, "session", err)
		}
		if err := send(fromRoleReport(r)); err != nil {
			return err
		}
	}
}

// report passes reports on until ctx ends or they do. A failed Send is the receiver's to tell of.
func report(ctx context.Context, reports <-chan HostReport, stream failoverv1.FailoverService_SessionClient) {
	for {
		select {
		case <-ctx.Done():
			return
		case r, ok := <-reports:
			if !ok {
				_ = stream.CloseSend()
				return
			}
			if stream.Send(toHostReport(r)) != nil {
				return
			}
		}
	}
}

// Resign implements Failover.
func (c *FailoverClient) Resign(ctx context.Context, term Term, successor string) error {
	_, err := c.rpc.Resign(ctx, &failoverv1.ResignRequest{Term: toTerm(term), Successor: successor})
	return fromStatus(ctx, c.plugin, "resign term "+term.String(), err)
}

// Status implements Failover.
func (c *FailoverClient) Status(ctx context.Context) (ElectionStatus, error) {
	r, err := c.rpc.Status(ctx, &failoverv1.StatusRequest{})
	if err != nil {
		return ElectionStatus{}, fromStatus(ctx, c.plugin, "status", err)
	}
	return fromElectionStatus(r), nil
}

// Pause implements Failover.
func (c *FailoverClient) Pause(ctx context.Context, on bool) error {
	_, err := c.rpc.Pause(ctx, &failoverv1.PauseRequest{On: on})
	return fromStatus(ctx, c.plugin, "pause", err)
}

// ChangeMembers implements Failover.
func (c *FailoverClient) ChangeMembers(ctx context.Context, change MembersChange) ([]string, error) {
	r, err := c.rpc.ChangeMembers(ctx, &failoverv1.ChangeMembersRequest{Remove: change.Remove, Add: change.Add})
	if err != nil {
		return nil, fromStatus(ctx, c.plugin, "change members", err)
	}
	return r.GetVoters(), nil
}
