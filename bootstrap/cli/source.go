package cli

import (
	"context"
	"os"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/host"
	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

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
		AdapterId: s.AdapterID, AdapterState: "Closed", Warnings: r.setup.warnings,
	}
	if s.Fault != "" {
		out.Reason = s.Fault
	}
	if s.Adapter != nil {
		out.AdapterState = s.Adapter.State.String()
		for _, w := range s.Adapter.Workflows {
			out.Workflows = append(out.Workflows, &controlv1.WorkflowStatus{
				Id: w.ID, Channel: w.Channel, State: w.State.String(), Received: w.Received, Produced: w.Produced,
				Failed: w.Failed, Duplicates: w.Duplicates, InFlight: w.InFlight, Held: w.Held, LastError: w.LastError,
			})
		}
	}
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
