package host

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/profiler"
)

// hookTimeout bounds a lifecycle hook that is not the gate: an agent that hangs must not stop a node.
const hookTimeout = 10 * time.Second

// AgentLink is one agent as the weaver sees it: a hook and a target for step events that stay the same while
// the plugin's process comes and goes.
type AgentLink struct {
	name string
	// gate: this agent holds the start back until the node is promoted.
	gate bool
	log  *slog.Logger
	link *link[contract.Agent]
}

// NewAgentLink returns the link to an agent that is not up yet. gate says that it is the one that holds the
// adapter's start back until the node is promoted.
func NewAgentLink(name string, gate bool, log *slog.Logger) *AgentLink {
	return &AgentLink{name: name, gate: gate, log: log, link: newLink[contract.Agent]()}
}

var _ profiler.Hook = (*AgentLink)(nil)

// Up is called when the plugin's process is there and has answered Premain.
func (a *AgentLink) Up(agent contract.Agent) { a.link.set(agent) }

// Down is called when the process has died.
func (a *AgentLink) Down(err error) { a.link.clear(err) }

// isGate reports whether the change waits for promotion.
func isGate(at profiler.Joinpoint) bool {
	return at.Kind == profiler.KindAdapter && at.Transition == profiler.TransitionStart
}

// Before implements profiler.Hook. The gate waits as long as it takes, also for a plugin that is being restarted;
// everywhere else a missing or late agent is passed by.
func (a *AgentLink) Before(ctx context.Context, at profiler.Joinpoint) error {
	if a.gate && isGate(at) {
		return a.beforeStart(ctx, at)
	}
	agent, up, _ := a.link.get()
	if !up {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	err := agent.Before(ctx, at)
	var veto *contract.VetoError
	if errors.As(err, &veto) {
		return err
	}
	if err != nil {
		a.log.Warn("an agent did not answer; going on without it", "plugin", a.name, "before", at.Transition.String(),
			"component", at.Path, "error", err)
	}
	return nil
}

func (a *AgentLink) beforeStart(ctx context.Context, at profiler.Joinpoint) error {
	for {
		agent, replaced, err := a.link.wait(ctx)
		if err != nil {
			return err
		}
		err = agent.Before(ctx, at)
		var veto *contract.VetoError
		if err == nil || errors.As(err, &veto) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		a.log.Warn("the call that holds the start back ended without an answer; asking again", "plugin", a.name, "error", err)
		select {
		case <-replaced:
		case <-time.After(time.Second):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// After implements profiler.Hook.
func (a *AgentLink) After(ctx context.Context, at profiler.Joinpoint, failure error) {
	agent, up, _ := a.link.get()
	if !up {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	if err := agent.After(ctx, at, failure); err != nil {
		a.log.Warn("an agent did not answer; going on without it", "plugin", a.name, "after", at.Transition.String(),
			"component", at.Path, "error", err)
	}
}

// Export sends a batch of steps; the exporter counts what fails.
func (a *AgentLink) Export(ctx context.Context, events []profiler.StepEvent, dropped uint64) error {
	agent, up, _ := a.link.get()
	if !up {
		return errors.New("plugin " + a.name + " is down")
	}
	return agent.Steps(ctx, events, dropped)
}
