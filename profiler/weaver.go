package profiler

import (
	"context"
	"fmt"
	"runtime/debug"
)

// Interest is a kind of component that an agent wants to see.
type Interest struct {
	Kind Kind
	// Lifecycle asks for Before and After, Steps for the finished steps of messages.
	Lifecycle, Steps bool
}

// WovenAgent is an agent as the weaver needs it.
type WovenAgent struct {
	Name      string
	Interests []Interest
	// Hook and Sink may be nil if no interest needs them.
	Hook Hook
	Sink Sink
	// Gate makes a panic in Hook.Before a veto. Without it a panic is as good as a yes: an agent that only
	// watches must not stop the work.
	Gate bool
	// OnPanic is told of every panic in Hook and Sink, with its stack. It may be called from several
	// goroutines; nil tells nobody.
	OnPanic func(err error)
}

func (a *WovenAgent) wants(kind Kind) (want Interest) {
	for _, i := range a.Interests {
		if i.Kind == kind {
			want.Lifecycle = want.Lifecycle || i.Lifecycle
			want.Steps = want.Steps || i.Steps
		}
	}
	want.Lifecycle = want.Lifecycle && a.Hook != nil
	want.Steps = want.Steps && a.Sink != nil
	return want
}

// Weaver decides at construction which hooks a component gets, so that one that nobody asked for stays bare and
// costs nothing. Its methods may be called from any goroutine.
type Weaver struct {
	weave  Weave
	agents []WovenAgent
	hooks  []Hook
	sinks  []Sink
}

// NewWeaver returns a weaver for agents in the order in which their hooks run.
func NewWeaver(weave Weave, agents []WovenAgent) *Weaver {
	w := &Weaver{weave: weave, agents: make([]WovenAgent, len(agents))}
	copy(w.agents, agents)
	for i := range w.agents {
		agent := &w.agents[i]
		w.hooks = append(w.hooks, &guardedHook{agent})
		if own, ours := agent.Sink.(*Exporter); ours {
			// Ours does not panic, and this is the hot path.
			w.sinks = append(w.sinks, own)
		} else {
			w.sinks = append(w.sinks, &guardedSink{agent})
		}
	}
	return w
}

// Lifecycle returns the hook around the lifecycle of a component, nil if there is none. With several agents
// Before runs in their order and After in reverse, and what each of them hears is told at hookChain.
func (w *Weaver) Lifecycle(kind Kind, id, typ string) Hook {
	if !w.weave.Has(kind, id, typ) {
		return nil
	}
	var chain hookChain
	for i := range w.agents {
		if w.agents[i].wants(kind).Lifecycle {
			chain = append(chain, w.hooks[i])
		}
	}
	switch len(chain) {
	case 0:
		return nil
	case 1:
		return chain[0]
	}
	return chain
}

// Steps returns where the finished steps of a component go, nil if nobody wants them.
func (w *Weaver) Steps(kind Kind, id, typ string) Sink {
	if !w.weave.Has(kind, id, typ) {
		return nil
	}
	var chain sinkChain
	for i := range w.agents {
		if w.agents[i].wants(kind).Steps {
			chain = append(chain, w.sinks[i])
		}
	}
	switch len(chain) {
	case 0:
		return nil
	case 1:
		return chain[0]
	}
	return chain
}

// Woven is what the weaver does for one kind of component.
type Woven struct {
	Kind Kind
	// Aspect: the weave file has the kind. Without it nobody sees it, whoever asks.
	Aspect bool
	// Lifecycle and Steps are the names of the agents that ask, in order.
	Lifecycle, Steps []string
}

// Describe tells for every kind, from the outside in, who asks for its joinpoints.
func (w *Weaver) Describe() []Woven {
	var all []Woven
	for _, kind := range allKinds() {
		woven := Woven{Kind: kind, Aspect: w.weave.HasKind(kind)}
		for i := range w.agents {
			want := w.agents[i].wants(kind)
			if want.Lifecycle {
				woven.Lifecycle = append(woven.Lifecycle, w.agents[i].Name)
			}
			if want.Steps {
				woven.Steps = append(woven.Steps, w.agents[i].Name)
			}
		}
		all = append(all, woven)
	}
	return all
}

// guardedHook keeps an agent's panics away from the adapter.
type guardedHook struct{ agent *WovenAgent }

func (g *guardedHook) Before(ctx context.Context, at Joinpoint) (err error) {
	defer g.agent.recoverAs("Before", &err)
	return g.agent.Hook.Before(ctx, at)
}

func (g *guardedHook) After(ctx context.Context, at Joinpoint, failure error) {
	defer g.agent.recoverAs("After", nil)
	g.agent.Hook.After(ctx, at, failure)
}

// guardedSink does the same for steps.
type guardedSink struct{ agent *WovenAgent }

func (g *guardedSink) Record(event StepEvent) {
	defer g.agent.recoverAs("Record", nil)
	g.agent.Sink.Record(event)
}

// recoverAs is deferred around a call into the agent. A panic is reported, and is the call's error if the agent
// is a gate and the call has one.
func (a *WovenAgent) recoverAs(call string, result *error) {
	reason := recover()
	if reason == nil {
		return
	}
	err := fmt.Errorf("agent %s: panic in %s: %v", a.Name, call, reason)
	if a.Gate && result != nil {
		*result = err
	}
	if a.OnPanic != nil {
		a.OnPanic(fmt.Errorf("%w\n%s", err, debug.Stack()))
	}
}
