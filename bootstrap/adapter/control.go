package adapter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/understudy-ha/understudy/profiler"
)

// ErrNoSuchWorkflow is returned if there is neither a workflow nor a channel with an id.
var ErrNoSuchWorkflow = errors.New("no such workflow or channel")

// StopWorkflows stops a workflow, or all of a channel, while the others go on: nothing new is received, what is under
// way is finished until ctx ends, the rest is given back to its source. It stays stopped until StartWorkflows, or the end
// of this mastership. One that is stopped already is no error. The status is that of the workflows that were meant.
func (a *Adapter) StopWorkflows(ctx context.Context, id string) ([]WorkflowStatus, error) {
	return a.control(ctx, id, func(_ *run, c *channel, units []*unit) error {
		var errs []error
		for _, u := range slices.Backward(units) {
			if err := a.stopUnit(ctx, u); err != nil {
				errs = append(errs, fmt.Errorf("stop workflow %s: %w", u.cfg.ID, err))
				if u.loop != nil {
					continue // it does not stop
				}
			}
			u.state.Store(uint32(StateStopped))
			a.log.Info("the workflow is stopped, as somebody has asked for", "workflow", u.cfg.ID)
		}
		if c != nil && len(errs) == 0 && c.node.State() == StateStarted {
			errs = append(errs, c.node.change(ctx, profiler.TransitionStop, StateStopped, nothing))
		}
		return errors.Join(errs...)
	})
}

// StartWorkflows starts what was stopped, or has failed too often. One that works already is no error.
func (a *Adapter) StartWorkflows(ctx context.Context, id string) ([]WorkflowStatus, error) {
	return a.control(ctx, id, func(r *run, c *channel, units []*unit) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		//nolint:contextcheck // the opening hangs on two contexts: the caller's, and the run's
		defer context.AfterFunc(r.receiving, cancel)()
		if c != nil && c.node.State() == StateStopped {
			if err := c.node.change(ctx, profiler.TransitionStart, StateStarted, nothing); err != nil {
				return err
			}
		}
		var errs []error
		for _, u := range units {
			if u.loop != nil {
				continue
			}
			u.budget = budget{}
			if err := a.startUnit(ctx, r, u); err != nil {
				u.counters.failure(err)
				u.state.Store(uint32(StateStopped))
				errs = append(errs, fmt.Errorf("start workflow %s: %w", u.cfg.ID, err))
				continue
			}
			a.log.Info("the workflow is started, as somebody has asked for", "workflow", u.cfg.ID)
		}
		return errors.Join(errs...)
	})
}

// nothing is what a channel has to do itself.
func nothing(context.Context) error { return nil }

// control finds what is meant by an id, and changes it. A workflow is meant before a channel; CHANNEL/ is the channel.
func (a *Adapter) control(
	ctx context.Context, id string, change func(*run, *channel, []*unit) error,
) ([]WorkflowStatus, error) {
	if err := a.lockUntil(ctx); err != nil {
		return nil, err
	}
	defer a.unlock()
	r := a.run
	if r == nil || r.receiving.Err() != nil {
		return nil, ErrNotRunning
	}
	c, units := a.find(id)
	if len(units) == 0 {
		return nil, fmt.Errorf("%w: %q; there are %s", ErrNoSuchWorkflow, id, strings.Join(a.names(), ", "))
	}
	err := change(r, c, units)
	status := make([]WorkflowStatus, len(units))
	for i, u := range units {
		status[i] = u.status()
	}
	return status, err
}

func (a *Adapter) find(id string) (*channel, []*unit) {
	if u := a.unit(id); u != nil {
		return nil, []*unit{u}
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, c := range a.channels {
		if c.id == strings.TrimSuffix(id, "/") {
			return c, slices.Clone(c.units)
		}
	}
	return nil, nil
}

// names are what can be meant.
func (a *Adapter) names() []string {
	a.mu.RLock()
	defer a.mu.RUnlock()
	var names []string
	for _, c := range a.channels {
		names = append(names, c.id+"/")
		for _, u := range c.units {
			names = append(names, u.cfg.ID)
		}
	}
	return names
}
