package contract

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/understudy-ha/understudy/profiler"
	profilerv1 "github.com/understudy-ha/understudy/proto/gen/understudy/profiler/v1"
)

// agentPlugin ties AgentService to go-plugin: impl is set in the plugin, name in the host.
type agentPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	name string
	impl Agent
}

func (p *agentPlugin) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	profilerv1.RegisterAgentServiceServer(server, &agentServer{impl: p.impl})
	return nil
}

func (p *agentPlugin) GRPCClient(ctx context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return NewAgentClient(ctx, conn, p.name), nil
}

// agentServer serves an Agent.
type agentServer struct {
	profilerv1.UnimplementedAgentServiceServer
	impl Agent
}

func (s *agentServer) Premain(ctx context.Context, r *profilerv1.PremainRequest) (*profilerv1.PremainResponse, error) {
	manifest, err := s.impl.Premain(ctx, fromPremain(r))
	if err != nil {
		return nil, toStatus(err)
	}
	return toManifest(manifest), nil
}

func (s *agentServer) Before(ctx context.Context, r *profilerv1.BeforeRequest) (*profilerv1.BeforeResponse, error) {
	err := s.impl.Before(ctx, fromJoinpoint(r.GetJoinpoint()))
	switch {
	case err == nil:
		return &profilerv1.BeforeResponse{}, nil
	case ctx.Err() != nil:
		// Nobody waits for a veto any more.
		return nil, toStatus(ctx.Err())
	}
	reason := err.Error()
	if veto, ok := errors.AsType[*VetoError](err); ok {
		// The client makes a VetoError of it again.
		reason = veto.Reason
	}
	if reason == "" {
		reason = "no reason was given"
	}
	return &profilerv1.BeforeResponse{Veto: strings.ToValidUTF8(reason, "\uFFFD")}, nil
}

func (s *agentServer) After(ctx context.Context, r *profilerv1.AfterRequest) (*profilerv1.AfterResponse, error) {
	var failure error
	if text := r.GetError(); text != "" {
		failure = errors.New(text)
	}
	if err := s.impl.After(ctx, fromJoinpoint(r.GetJoinpoint()), failure); err != nil {
		return nil, toStatus(err)
	}
	return &profilerv1.AfterResponse{}, nil
}

func (s *agentServer) Steps(stream profilerv1.AgentService_StepsServer) error {
	var received uint64
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&profilerv1.StepsResponse{Received: received})
		}
		if err != nil {
			return err
		}
		if err := s.impl.Steps(stream.Context(), fromSteps(r.GetEvents()), r.GetDropped()); err != nil {
			return toStatus(err)
		}
		received += uint64(len(r.GetEvents()))
	}
}

func (s *agentServer) Shutdown(ctx context.Context, _ *profilerv1.ShutdownRequest) (*profilerv1.ShutdownResponse, error) {
	if err := s.impl.Shutdown(ctx); err != nil {
		return nil, toStatus(err)
	}
	return &profilerv1.ShutdownResponse{}, nil
}

// AgentClient is the Agent that runs in a plugin's process. Before returns a *VetoError if the agent said
// no, any other error means that it could not be asked.
type AgentClient struct {
	// life ends with the plugin; the stream of steps hangs on it.
	life   context.Context
	plugin string
	rpc    profilerv1.AgentServiceClient
	steps  stepStream
}

var _ Agent = (*AgentClient)(nil)

// NewAgentClient talks to the plugin at the other end of conn, until ctx ends.
func NewAgentClient(ctx context.Context, conn grpc.ClientConnInterface, plugin string) *AgentClient {
	return &AgentClient{life: ctx, plugin: plugin, rpc: profilerv1.NewAgentServiceClient(conn)}
}

// Premain implements Agent.
func (c *AgentClient) Premain(ctx context.Context, premain Premain) (Manifest, error) {
	r, err := c.rpc.Premain(ctx, toPremain(premain))
	if err != nil {
		return Manifest{}, fromStatus(ctx, c.plugin, "premain", err)
	}
	return fromManifest(r), nil
}

// Before implements Agent.
func (c *AgentClient) Before(ctx context.Context, at profiler.Joinpoint) error {
	r, err := c.rpc.Before(ctx, &profilerv1.BeforeRequest{Joinpoint: toJoinpoint(at)})
	if err != nil {
		return fromStatus(ctx, c.plugin, "before "+at.Transition.String()+" of "+at.Path, err)
	}
	if veto := r.GetVeto(); veto != "" {
		return &VetoError{Reason: veto}
	}
	return nil
}

// After implements Agent.
func (c *AgentClient) After(ctx context.Context, at profiler.Joinpoint, failure error) error {
	r := &profilerv1.AfterRequest{Joinpoint: toJoinpoint(at)}
	if failure != nil {
		r.Error = strings.ToValidUTF8(failure.Error(), "\uFFFD")
	}
	_, err := c.rpc.After(ctx, r)
	return fromStatus(ctx, c.plugin, "after "+at.Transition.String()+" of "+at.Path, err)
}

// Steps implements Agent over one stream for all calls. An error means that the plugin may not have got the
// batch; the next call opens a new stream. A nil error means that it is on its way: Shutdown waits until the
// plugin has taken it.
func (c *AgentClient) Steps(ctx context.Context, events []profiler.StepEvent, dropped uint64) error {
	c.steps.mu.Lock()
	defer c.steps.mu.Unlock()
	reused := c.steps.open != nil
	err := c.sendStepsLocked(ctx, events, dropped)
	if err != nil && reused && ctx.Err() == nil {
		// The stream broke at some time since the last batch, which says nothing about this one.
		err = c.sendStepsLocked(ctx, events, dropped)
	}
	return fromStatus(ctx, c.plugin, "steps", err)
}

// Shutdown implements Agent: it first waits until the plugin has taken every step that was sent.
func (c *AgentClient) Shutdown(ctx context.Context) error {
	c.steps.mu.Lock()
	flushed := c.closeStepsLocked(ctx)
	c.steps.mu.Unlock()
	_, err := c.rpc.Shutdown(ctx, &profilerv1.ShutdownRequest{})
	return errors.Join(fromStatus(ctx, c.plugin, "last steps", flushed), fromStatus(ctx, c.plugin, "shutdown", err))
}

// stepStream is the open stream of steps, if any.
type stepStream struct {
	mu     sync.Mutex // guards all fields, and the order on the stream
	open   profilerv1.AgentService_StepsClient
	cancel context.CancelFunc
	// batch and slots are filled anew for each send: gRPC has encoded them when Send returns.
	batch profilerv1.StepsRequest
	slots []profilerv1.StepEvent
}

func (c *AgentClient) sendStepsLocked(ctx context.Context, events []profiler.StepEvent, dropped uint64) error {
	s := &c.steps
	if s.open == nil {
		life, cancel := context.WithCancel(c.life)
		stream, err := c.rpc.Steps(life) //nolint:contextcheck // the stream outlives the call
		if err != nil {
			cancel()
			return err
		}
		s.open, s.cancel = stream, cancel
	}
	s.fillLocked(events, dropped)
	// A plugin that does not read holds Send up; giving up means giving up the stream.
	stop := context.AfterFunc(ctx, s.cancel)
	err := s.open.Send(&s.batch)
	if stop() && err == nil {
		return nil
	}
	if err == nil {
		err = ctx.Err()
	}
	if errors.Is(err, io.EOF) {
		// The reason is on the receiving side.
		_, err = s.open.CloseAndRecv()
	}
	s.dropLocked()
	return err
}

func (s *stepStream) fillLocked(events []profiler.StepEvent, dropped uint64) {
	if len(events) > len(s.slots) {
		s.slots = make([]profilerv1.StepEvent, len(events))
		s.batch.Events = make([]*profilerv1.StepEvent, len(events))
	}
	s.batch.Events = s.batch.Events[:len(events)]
	s.batch.Dropped = dropped
	for i := range events {
		toStep(&s.slots[i], &events[i])
		s.batch.Events[i] = &s.slots[i]
	}
}

func (s *stepStream) dropLocked() {
	s.cancel()
	s.open, s.cancel = nil, nil
}

func (c *AgentClient) closeStepsLocked(ctx context.Context) error {
	if c.steps.open == nil {
		return nil
	}
	defer c.steps.dropLocked()
	defer context.AfterFunc(ctx, c.steps.cancel)()
	_, err := c.steps.open.CloseAndRecv()
	return err
}
