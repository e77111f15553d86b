package cli

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/understudy-ha/understudy/bootstrap/host"
	"github.com/understudy-ha/understudy/plugins/contract"
	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

// Handover implements management.Source.
func (r *runner) Handover(ctx context.Context, request *controlv1.HandoverRequest) (*controlv1.HandoverResponse, error) {
	if request.TimeoutNanos < 0 {
		return nil, status.Error(codes.InvalidArgument, "the timeout is negative")
	}
	r.log.Info("a handover was asked for on the control socket", "to", request.To)
	done, err := r.node.Load().Handover(ctx, host.HandoverRequest{
		To: request.To, Timeout: time.Duration(request.TimeoutNanos), Reason: "asked for with bootstrap handover",
	})
	if err != nil {
		return nil, asStatus(err)
	}
	return &controlv1.HandoverResponse{
		Term: done.Term.Proto(), To: done.To, NewTerm: done.NewTerm.Proto(), DrainNanos: int64(done.Drain),
		TakeoverNanos: int64(done.Takeover), DeadlineMissed: done.Missed, Unfinished: done.Unfinished, Fate: done.Fate,
	}, nil
}

// Pause implements management.Source. The whole cluster hears of it from the plugin; this node's log says who asked.
func (r *runner) Pause(ctx context.Context, request *controlv1.PauseRequest) (*controlv1.PauseResponse, error) {
	failover, err := r.failover()
	if err != nil {
		return nil, err
	}
	if err := failover.Pause(ctx, request.On); err != nil {
		return nil, asStatus(err)
	}
	if request.On {
		r.log.Warn("THE CLUSTER IS PAUSED: nobody is promoted, whatever happens, until bootstrap resume", "by", r.nodeID)
	} else {
		r.log.Warn("the pause of the cluster has ended: who can lead may be promoted", "by", r.nodeID)
	}
	answer := &controlv1.PauseResponse{Paused: request.On, PausedBy: r.nodeID}
	if s, err := failover.Status(ctx); err == nil && s.Paused == request.On {
		answer.PausedBy = s.PausedBy
	}
	if !answer.Paused {
		answer.PausedBy = ""
	}
	return answer, nil
}

// ChangeMembers implements management.Source.
func (r *runner) ChangeMembers(ctx context.Context, request *controlv1.ChangeMembersRequest) (*controlv1.ChangeMembersResponse, error) {
	if request.Add == "" && request.Remove == "" {
		return nil, status.Error(codes.InvalidArgument, "name a node to add or to remove")
	}
	failover, err := r.failover()
	if err != nil {
		return nil, err
	}
	switch role := r.node.Load().Role(); {
	case role.Role == contract.RoleMaster:
	case role.MasterID == "":
		return nil, status.Error(codes.FailedPrecondition, "only a master can change the voters, and nobody is known to lead")
	default:
		return nil, status.Errorf(codes.FailedPrecondition, "only the master can change the voters, and that is %s; ask there", role.MasterID)
	}
	voters, err := failover.ChangeMembers(ctx, contract.MembersChange{Remove: request.Remove, Add: request.Add})
	if err != nil {
		return nil, asStatus(err)
	}
	r.log.Warn("the voters have been changed", "removed", request.Remove, "added", request.Add, "voters", strings.Join(voters, " "))
	return &controlv1.ChangeMembersResponse{Voters: voters}, nil
}

// failover returns the election's plugin.
func (r *runner) failover() (contract.Failover, error) {
	if !r.gated {
		return nil, status.Error(codes.FailedPrecondition, "this node runs without failover")
	}
	failover, up := r.node.Load().Failover()
	if !up {
		return nil, status.Error(codes.Unavailable, "the failover plugin is down; try again when it has been restarted")
	}
	return failover, nil
}

// asStatus gives an error of the node the form in which it travels.
func asStatus(err error) error {
	if text, ok := strings.CutPrefix(err.Error(), host.ErrRefused.Error()+": "); ok && errors.Is(err, host.ErrRefused) {
		return status.Error(codes.FailedPrecondition, text)
	}
	return status.Error(codes.Unknown, err.Error())
}

// pluginPatience is how long a status waits for a plugin's part of it.
const pluginPatience = time.Second

// Status implements management.Source: what the host knows, and what the plugins answer in time.
func (r *runner) Status(ctx context.Context) *controlv1.StatusResponse {
	node := r.node.Load()
	s := node.Status()
	out := &controlv1.StatusResponse{
		NodeId: s.NodeID, Cluster: s.Cluster, Version: r.process.Version, Pid: int32(os.Getpid()),
		UptimeNanos: int64(time.Since(r.started)), Phase: string(s.Phase),
		Role: s.Role.Role.Proto(), Term: s.Role.Term.Proto(), MasterId: s.Role.MasterID, Reason: s.Role.Reason,
		RoleSinceNanos: int64(s.RoleSince), GateOpen: s.GateOpen, GateValidNanos: int64(s.GateValid),
		GateLapsed: s.GateLapsed, Stalls: s.Stalls, CanLead: s.CanLead, CannotLead: s.CannotLead,
		DelayNanos:    int64(r.setup.cfg.FailoverDelay),
		PatienceNanos: int64(r.setup.cfg.FailoverPatience()),
		Alone:         !r.gated, StopTimeoutNanos: int64(r.setup.cfg.StopTimeout),
		AdapterId: s.AdapterID, AdapterState: "Closed", Warnings: slices.Clone(r.setup.warnings),
	}
	if s.Fault != "" {
		out.Reason = s.Fault
	}
	if s.Adapter != nil {
		out.AdapterState = s.Adapter.State.String()
		for _, w := range s.Adapter.Workflows {
			out.Workflows = append(out.Workflows, workflowProto(w))
		}
	}
	r.programStatus(out)
	r.pluginStatus(out)
	r.askPlugins(ctx, node, out)
	return out
}

func (r *runner) askPlugins(ctx context.Context, node *host.Node, out *controlv1.StatusResponse) {
	ctx, cancel := context.WithTimeout(ctx, pluginPatience)
	defer cancel()
	if failover, up := node.Failover(); up {
		status, err := failover.Status(ctx)
		if err == nil {
			out.Election = status.Proto()
		} else {
			out.Warnings = append(out.Warnings, "the failover plugin did not answer: "+err.Error())
		}
	}
	if mirror, up := node.MirrorPlugin(); up {
		status, err := mirror.Status(ctx)
		if err == nil {
			out.Mirror = status.Proto()
		} else {
			out.Warnings = append(out.Warnings, "the cachesync plugin did not answer: "+err.Error())
		}
	}
}

func (r *runner) pluginStatus(out *controlv1.StatusResponse) {
	for _, p := range r.plugins.list {
		s := p.supervisor.State()
		ps := &controlv1.PluginStatus{Name: p.name, State: "running", Restarts: uint32(s.Restarts)}
		if version := p.version.Load(); version != nil {
			ps.Version = *version
		}
		switch {
		case s.GivenUp:
			ps.State = "given up"
		case s.Running == nil:
			ps.State = "restarting"
		default:
			ps.Pid, ps.Protocol, ps.Checksum = int32(s.Running.PID), uint32(s.Running.Protocol), s.Running.Checksum
		}
		if s.LastError != nil {
			ps.LastError = s.LastError.Error()
		}
		out.Plugins = append(out.Plugins, ps)
		if p.exporter != nil {
			stats := p.exporter.Stats()
			out.StepEvents += stats.Exported
			out.StepEventsDropped += stats.Dropped
		}
	}
}
