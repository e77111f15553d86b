package adapter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/profiler"
)

// LevelTrace is the level of the lines that say which component has changed its state.
const LevelTrace = slog.Level(-8)

// State is where a component stands in its life.
type State uint32

// The states. A component goes through them in this order, once; from Initialised it may go to Closed.
const (
	StateClosed State = iota
	StateInitialised
	StateStarted
	StateStopped
	// StateRestarting and StateFailed are those of a workflow that failed, and waits for its next start, or has used
	// up its restarts and waits for an operator. Only a WorkflowStatus has them.
	StateRestarting
	StateFailed
)

// String gives the state in lower case.
func (s State) String() string {
	switch s {
	case StateClosed:
		return "closed"
	case StateInitialised:
		return "initialised"
	case StateStarted:
		return "started"
	case StateStopped:
		return "stopped"
	case StateRestarting:
		return "restarting"
	case StateFailed:
		return "failed"
	}
	return "unknown"
}

// logged is the state's name in log lines.
func (s State) logged() string {
	switch s {
	case StateInitialised:
		return "InitialisedState"
	case StateStarted:
		return "StartedState"
	case StateStopped:
		return "StoppedState"
	}
	return "ClosedState"
}

// node is a component as its life sees it: the adapter, a channel, a workflow, or one of their parts. Only
// its state may be read while a change is under way.
type node struct {
	at profiler.Joinpoint
	// title is its name in log lines.
	title string
	// hook is nil if nobody asked for this component.
	hook profiler.Hook
	log  *slog.Logger
	// children are started before their parent, in order, and stopped after it, backwards.
	children []*node
	// open and release are what the component itself has to do, either may be nil. release ends what open
	// or the construction has begun; it is called once.
	open, release func(ctx context.Context) error
	// grace is added to the deadline of stop and close, so that components have time to close properly.
	grace time.Duration

	disposed bool
	state    atomic.Uint32
}

// State may be called at any time.
func (n *node) State() State { return State(n.state.Load()) }

func (n *node) init(ctx context.Context) error {
	return n.change(ctx, profiler.TransitionInit, StateInitialised, func(ctx context.Context) error {
		for _, c := range n.children {
			if err := c.init(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// start starts the children, then the component. If one fails, those before it are stopped again.
func (n *node) start(ctx context.Context) error {
	return n.change(ctx, profiler.TransitionStart, StateStarted, func(ctx context.Context) error {
		for i, c := range n.children {
			if err := c.start(ctx); err != nil {
				return errors.Join(err, stopAll(ctx, n.children[:i]))
			}
		}
		if n.open == nil {
			return nil
		}
		if err := n.open(ctx); err != nil {
			return fmt.Errorf("%s: %w", n.at.Path, err)
		}
		return nil
	})
}

// stop stops what is started. Errors are gathered, and end nothing.
func (n *node) stop(ctx context.Context) error {
	if n.State() != StateStarted {
		return nil
	}
	return n.change(ctx, profiler.TransitionStop, StateStopped, func(ctx context.Context) error {
		// Services stay as they are until the close: opening them was their construction.
		var err error
		if n.open != nil {
			err = n.dispose(ctx)
		}
		return errors.Join(err, stopAll(ctx, n.children))
	})
}

func stopAll(ctx context.Context, nodes []*node) error {
	var errs []error
	for i := len(nodes) - 1; i >= 0; i-- {
		errs = append(errs, nodes[i].stop(ctx))
	}
	return errors.Join(errs...)
}

// close closes what has been constructed, whatever its state is.
func (n *node) close(ctx context.Context) error {
	dispose := func(ctx context.Context) error {
		errs := []error{n.dispose(ctx)}
		for i := len(n.children) - 1; i >= 0; i-- {
			errs = append(errs, n.children[i].close(ctx))
		}
		return errors.Join(errs...)
	}
	if n.State() == StateClosed {
		return dispose(ctx)
	}
	return n.change(ctx, profiler.TransitionClose, StateClosed, dispose)
}

func (n *node) dispose(ctx context.Context) error {
	if n.disposed {
		return nil
	}
	n.disposed = true
	if n.release == nil {
		return nil
	}
	ctx, cancel := extended(ctx, n.grace)
	defer cancel()
	if err := n.release(ctx); err != nil {
		return fmt.Errorf("%s: %w", n.at.Path, err)
	}
	return nil
}

// extended gives ctx more time, so that what must not be left half done can be brought to an end after the
// deadline, too.
func extended(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok && ctx.Err() == nil {
		return context.WithCancel(ctx)
	}
	if now := time.Now(); ctx.Err() != nil || deadline.Before(now) {
		deadline = now
	}
	return context.WithDeadline(context.WithoutCancel(ctx), deadline.Add(grace))
}

// change runs the hooks around do, sets the state and logs it.
func (n *node) change(ctx context.Context, t profiler.Transition, to State, do func(context.Context) error) error {
	at := n.at
	at.Transition = t
	if n.hook != nil && !n.hostCalls(t) {
		if err := n.before(ctx, at); err != nil {
			return err
		}
	}
	err := do(ctx)
	from := n.State()
	if err == nil || to == StateStopped || to == StateClosed {
		n.state.Store(uint32(to))
		n.logChange(ctx, from, to)
	}
	if n.hook != nil && !n.hostCalls(t) {
		n.after(ctx, at, err)
	}
	return err
}

// hostCalls is true for the gate.
func (n *node) hostCalls(t profiler.Transition) bool {
	return n.at.Kind == profiler.KindAdapter && t == profiler.TransitionStart
}

// before asks the hook. A panic is no veto, and a stop or a close cannot be vetoed.
func (n *node) before(ctx context.Context, at profiler.Joinpoint) error {
	veto, panicked := n.callBefore(ctx, at)
	switch {
	case panicked != nil:
		n.log.Error("a lifecycle hook failed", "component", at.Path, "transition", at.Transition.String(), "error", panicked)
	case veto == nil:
	case at.Transition == profiler.TransitionInit || at.Transition == profiler.TransitionStart:
		return fmt.Errorf("%s of %s was refused by a hook: %w", at.Transition, at.Path, veto)
	default:
		n.log.Warn("a hook refused, and was not heard, because this cannot be refused",
			"component", at.Path, "transition", at.Transition.String(), "error", veto)
	}
	return nil
}

func (n *node) callBefore(ctx context.Context, at profiler.Joinpoint) (veto, panicked error) {
	defer recovered("hook before "+at.Transition.String(), &panicked)
	return n.hook.Before(ctx, at), nil
}

func (n *node) after(ctx context.Context, at profiler.Joinpoint, failure error) {
	var panicked error
	func() {
		defer recovered("hook after "+at.Transition.String(), &panicked)
		n.hook.After(ctx, at, failure)
	}()
	if panicked != nil {
		n.log.Error("a lifecycle hook failed", "component", at.Path, "transition", at.Transition.String(), "error", panicked)
	}
}

// logChange writes Interlok's lines, which people search their logs for: the state that is left, then what
// happened. Interlok starts an adapter from the closed state in one go, so that line says ClosedState.
func (n *node) logChange(ctx context.Context, from, to State) {
	level, verb := LevelTrace, "Initialised"
	if n.at.Kind == profiler.KindAdapter && (to == StateStarted || to == StateStopped) {
		level = slog.LevelInfo
	}
	switch to {
	case StateStarted:
		verb = "Started"
		if n.at.Kind == profiler.KindAdapter {
			from = StateClosed
		}
	case StateStopped:
		verb = "Stopped"
	case StateClosed:
		verb = "Closed"
	}
	n.log.Log(ctx, level, "["+from.logged()+"] "+verb+" ["+n.title+"]")
}
