package adapter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// channel is a channel of the file.
type channel struct {
	id   string
	cfg  *ChannelConfig
	node *node
	// errorNodes are those of the channel's own on-error.
	errorNodes []*node
	// onError are those of the channel and the adapter, the nearest first.
	onError []*errorHandler
	units   []*unit // guarded by Adapter.mu
}

// attach makes the channel's parts its node's children, in the order of starting.
func (c *channel) attach() {
	c.node.children = slices.Clone(c.errorNodes)
	for _, u := range c.units {
		c.node.children = append(c.node.children, u.workflow.node)
	}
}

// attach makes the adapter's parts its node's children.
func (a *Adapter) attach() {
	if a.errorNodes == nil {
		a.errorNodes = append([]*node{}, a.root.children...)
	}
	a.root.children = slices.Clone(a.errorNodes)
	for _, c := range a.channels {
		a.root.children = append(a.root.children, c.node)
	}
}

// unit is a workflow of the file, through all its restarts in one adapter. Its fields are guarded by the adapter's
// lifecycle lock.
type unit struct {
	channel  *channel
	cfg      *WorkflowConfig
	counters *counters
	// workflow is what was built last; after a stop it is closed.
	workflow *workflow
	// loop is at work, nil if the unit is stopped.
	loop *loop
	// state is what a stopped unit shows, of StateStopped, StateRestarting, StateFailed; StateClosed while it works,
	// or has not begun.
	state atomic.Uint32
	// shown is workflow, for Status.
	shown atomic.Pointer[workflow]
	// budget is that of its restarts.
	budget budget
	// limiter is nil without a throttle.
	limiter *rate.Limiter
}

func newUnit(c *channel, cfg *WorkflowConfig, counts *counters) *unit {
	u := &unit{channel: c, cfg: cfg, counters: counts}
	if t := cfg.Throttle; t.Count > 0 {
		u.limiter = rate.NewLimiter(rate.Limit(float64(t.Count)/t.Per.Seconds()), t.Burst)
	}
	counts.times.configure(cfg.Metrics)
	return u
}

func (u *unit) set(w *workflow) {
	u.workflow = w
	u.shown.Store(w)
}

// units returns all workflows, in the order of the file. It may be called at any time.
func (a *Adapter) units() []*unit {
	a.mu.RLock()
	defer a.mu.RUnlock()
	var units []*unit
	for _, c := range a.channels {
		units = append(units, c.units...)
	}
	return units
}

// unit returns the workflow with this id, or nil.
func (a *Adapter) unit(id string) *unit {
	for _, u := range a.units() {
		if u.cfg.ID == id {
			return u
		}
	}
	return nil
}

// errWorkflowStopping is what a source is told about a message that was not finished because its workflow is stopped
// while the adapter goes on.
var errWorkflowStopping = errors.New("the workflow is stopping")

// stopUnit ends a workflow at work: no new messages, then what is under way is finished until ctx ends, then it is
// cancelled and given back. Everything of it is closed. The error of components that do not give up leaves the unit as
// it is; it cannot be started again.
func (a *Adapter) stopUnit(ctx context.Context, u *unit) error {
	l := u.loop
	if l == nil {
		return nil
	}
	l.stopReceiving()
	select {
	case <-l.finished:
	case <-ctx.Done():
	case <-l.run.receiving.Done():
		return ErrStopping // all stop, with a time of their own
	}
	l.cancel(errWorkflowStopping)
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.options.Grace)
	defer cancel()
	select {
	case <-l.finished:
	case <-patience.Done():
		return stuck(a.options.Grace, []string{u.cfg.ID})
	}
	ctx, release := extended(ctx, a.options.Grace)
	defer release()
	l.run.settleParked(ctx, u.cfg.ID, errWorkflowStopping)
	l.run.withdraw(l)
	u.loop = nil
	return errors.Join(u.workflow.node.stop(ctx), u.workflow.node.close(ctx))
}

// startUnit builds a stopped workflow anew, opens it and lets it work.
func (a *Adapter) startUnit(ctx context.Context, r *run, u *unit) error {
	w, err := a.rebuild(ctx, u.channel, u.cfg, u.counters)
	if err != nil {
		return err
	}
	a.replace(u, w)
	return a.startBuilt(ctx, r, u)
}

// startBuilt opens a workflow that has just been built, and lets it work.
func (a *Adapter) startBuilt(ctx context.Context, r *run, u *unit) error {
	w := u.workflow
	err := w.node.init(ctx)
	if err == nil {
		err = w.node.start(ctx)
	}
	if err != nil {
		return a.abandon(ctx, w, err)
	}
	u.loop = r.prepare(u)
	u.state.Store(uint32(StateClosed))
	r.launch(u.loop)
	return nil
}

// abandon closes a workflow that could not be started.
func (a *Adapter) abandon(ctx context.Context, w *workflow, failure error) error {
	ctx, cancel := extended(ctx, a.options.Grace)
	defer cancel()
	return errors.Join(failure, w.node.close(ctx))
}

// rebuild makes the components of a workflow. Its node has no place in the tree yet.
func (a *Adapter) rebuild(ctx context.Context, c *channel, cfg *WorkflowConfig, counters *counters) (*workflow, error) {
	b := a.builder.fresh()
	w := b.workflow(c.node, cfg, c.onError)
	w.channel, w.counters = c.id, counters
	if len(b.errs) > 0 {
		ctx, cancel := extended(ctx, a.options.Grace)
		defer cancel()
		return nil, fmt.Errorf("build workflow %s: %w", cfg.ID, errors.Join(append(b.errs, w.node.close(ctx))...))
	}
	return w, nil
}

// replace gives a workflow the place of the unit's old one.
func (a *Adapter) replace(u *unit, w *workflow) {
	u.set(w)
	u.channel.attach()
}
