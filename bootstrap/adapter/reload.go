package adapter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Change is what differs between the adapter that was built and another file, by the ids of workflows.
type Change struct {
	Unchanged, Changed, Added, Removed []string
}

// None says whether no workflow differs.
func (c Change) None() bool { return len(c.Changed)+len(c.Added)+len(c.Removed) == 0 }

// SameResources says whether two files have the same of what the Factory is made from, so that one can serve both.
func SameResources(a, b *Config) bool {
	return canonical(a.Resources) == canonical(b.Resources) && canonical(a.HTTP) == canonical(b.HTTP)
}

// Compare says what Reload would do.
func (a *Adapter) Compare(cfg *Config) Change {
	a.lock()
	defer a.unlock()
	change, _ := a.compare(cfg)
	return change
}

// compare returns, too, which workflows and channels can stay, by their ids.
func (a *Adapter) compare(cfg *Config) (change Change, stay map[string]*unit) {
	stay = map[string]*unit{}
	all := !SameResources(a.cfg, cfg) || !sameHandler(a.cfg.OnError, cfg.OnError)
	old := map[string]*unit{}
	for _, u := range a.units() {
		old[u.cfg.ID] = u
	}
	for i := range cfg.Channels {
		c := &cfg.Channels[i]
		for k := range c.Workflows {
			w := &c.Workflows[k]
			u := old[w.ID]
			delete(old, w.ID)
			switch {
			case u == nil:
				change.Added = append(change.Added, w.ID)
			case !all && u.channel.id == c.ID && sameHandler(u.channel.cfg.OnError, c.OnError) && fingerprint(u.cfg) == fingerprint(w):
				change.Unchanged = append(change.Unchanged, w.ID)
				stay[w.ID] = u
			default:
				change.Changed = append(change.Changed, w.ID)
			}
		}
	}
	for _, u := range a.units() {
		if old[u.cfg.ID] != nil {
			change.Removed = append(change.Removed, u.cfg.ID)
		}
	}
	return change, stay
}

// fingerprint is the same for workflows that do the same. Where they stand in the file does not count.
func fingerprint(w *WorkflowConfig) string {
	var out strings.Builder
	fmt.Fprintln(&out, w.ID, w.Pool, w.OnTakeover, w.AcknowledgeEarly, w.Throttle, w.Metrics, w.Retry, w.Restart)
	spec := func(s Spec) { fmt.Fprintln(&out, s.ID, s.Type, canonical(s.Node)) }
	spec(w.Consumer)
	for _, s := range w.Services {
		spec(s.Spec)
		fmt.Fprintln(&out, s.Checkpoint)
	}
	spec(w.Producer)
	out.WriteString(handlerText(w.OnError))
	return out.String()
}

func sameHandler(a, b *ErrorHandler) bool { return handlerText(a) == handlerText(b) }

func handlerText(h *ErrorHandler) string {
	switch {
	case h == nil:
		return "none"
	case h.Store:
		return wordStore
	}
	return h.Spec.ID + " " + canonical(h.Spec.Node)
}

// canonical is a node without lines, styles and comments.
func canonical(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	var out strings.Builder
	writeCanonical(&out, n)
	return out.String()
}

func writeCanonical(out *strings.Builder, n *yaml.Node) {
	fmt.Fprintf(out, "%d %q %q [", n.Kind, n.ShortTag(), n.Value)
	for _, c := range n.Content {
		writeCanonical(out, c)
	}
	out.WriteByte(']')
}

// Reload changes what differs between the adapter and cfg, which has been checked. With factory nil the components are
// made by the one that the adapter has, which must not be if SameResources says no; else the new one makes all, and the
// old one can be closed when Reload has returned without an error.
//
// Everything new is built before anything is touched; if that fails nothing has changed. In a running adapter the
// workflows that differ are then stopped, each within Options.RestartDrain and all until ctx ends, and the new ones
// started; those that stay go on all the while. A workflow that does not start is tried again, as one that has failed;
// the faults say which.
func (a *Adapter) Reload(ctx context.Context, cfg *Config, factory Factory) (change Change, faults []error, err error) {
	if err := a.lockUntil(ctx); err != nil {
		return change, nil, err
	}
	defer a.unlock()
	switch {
	case cfg.ID != a.id:
		return change, nil, fmt.Errorf("adapter.id is %q, and was %q: it is the name that the cluster knows the adapter by; restart to change it", cfg.ID, a.id)
	case a.stuck != nil:
		return change, nil, a.stuck
	case a.root.State() == StateStopped || a.root.disposed:
		return change, nil, errors.New("the adapter is stopping")
	case factory == nil && !SameResources(a.cfg, cfg):
		return change, nil, errors.New("resources differ, and need a factory of their own")
	}
	n, err := a.plan(ctx, cfg, factory)
	if err != nil {
		return change, nil, err
	}
	for _, fault := range a.apply(ctx, n) {
		if fault != nil {
			faults = append(faults, fault)
		}
	}
	return n.change, faults, nil
}

// next is the adapter as it will be.
type next struct {
	change     Change
	cfg        *Config
	builder    *builder
	onError    []*errorHandler
	errorNodes []*node
	channels   []*channel
	// built are the units that are new; gone the old ones that are not needed any more, and goneNodes the on-errors.
	built, gone []*unit
	goneNodes   []*node
	// newNodes are on-errors and channels that are new.
	newNodes []*node
}

// plan builds what is new.
func (a *Adapter) plan(ctx context.Context, cfg *Config, factory Factory) (*next, error) {
	change, stay := a.compare(cfg)
	n := &next{change: change, cfg: cfg, builder: a.builder.fresh(), onError: a.onError, errorNodes: a.errorNodes}
	if factory != nil {
		n.builder.factory = factory
	}
	b := n.builder
	if factory != nil || !sameHandler(a.cfg.OnError, cfg.OnError) {
		holder := &node{at: a.root.at}
		n.onError = b.onError(holder, cfg.OnError)
		n.errorNodes = append([]*node{}, holder.children...)
		n.newNodes = append(n.newNodes, holder.children...)
		n.goneNodes = append(n.goneNodes, a.errorNodes...)
	}
	old := map[string]*channel{}
	counts := map[string]*counters{}
	for _, c := range a.channels {
		old[c.id] = c
		for _, u := range c.units {
			counts[u.cfg.ID] = u.counters
			if stay[u.cfg.ID] == nil {
				n.gone = append(n.gone, u)
			}
		}
	}
	for i := range cfg.Channels {
		c := &cfg.Channels[i]
		n.channel(a, c, old[c.ID], stay, counts, factory != nil)
		delete(old, c.ID)
	}
	for _, c := range a.channels {
		if old[c.id] != nil {
			n.goneNodes = append(n.goneNodes, c.errorNodes...)
		}
	}
	if len(b.errs) == 0 {
		return n, nil
	}
	ctx, cancel := extended(ctx, a.options.Grace)
	defer cancel()
	errs := b.errs
	for _, u := range n.built {
		errs = append(errs, u.workflow.node.close(ctx))
	}
	for _, node := range n.newNodes {
		errs = append(errs, node.close(ctx))
	}
	return nil, fmt.Errorf("nothing was changed: %w", errors.Join(errs...))
}

// channel makes a channel anew, with what can stay of the old one.
func (n *next) channel(a *Adapter, cfg *ChannelConfig, old *channel, stay map[string]*unit, counts map[string]*counters, all bool) {
	var c *channel
	if old != nil && !all && sameHandler(old.cfg.OnError, cfg.OnError) && sameHandler(a.cfg.OnError, n.cfg.OnError) {
		// The node stays, and with it what is open.
		c = &channel{id: old.id, cfg: cfg, node: old.node, errorNodes: old.errorNodes, onError: old.onError}
	} else {
		c = n.builder.channel(a.root, cfg, n.onError)
		n.newNodes = append(n.newNodes, c.node)
		if old != nil {
			n.goneNodes = append(n.goneNodes, old.errorNodes...)
		}
	}
	for k := range cfg.Workflows {
		w := &cfg.Workflows[k]
		if u := stay[w.ID]; u != nil {
			c.units = append(c.units, u)
			continue
		}
		count := counts[w.ID]
		if count == nil {
			count = &counters{}
		}
		u := n.builder.unit(c, w, count)
		n.built = append(n.built, u)
	}
	n.channels = append(n.channels, c)
}

// apply changes over. What it returns, but for nils, has not gone as it should.
func (a *Adapter) apply(ctx context.Context, n *next) (faults []error) {
	stopped := map[string]bool{}
	stuck := map[string]*unit{}
	for _, u := range slices.Backward(n.gone) {
		stopped[u.cfg.ID] = State(u.state.Load()) == StateStopped
		if err := a.retire(ctx, u); err != nil {
			faults = append(faults, fmt.Errorf("workflow %s: %w", u.cfg.ID, err))
			if u.loop != nil {
				stuck[u.cfg.ID] = u
			}
		}
	}
	a.swap(n, stuck)
	if a.root.State() == StateClosed {
		return append(faults, a.dispose(ctx, n.goneNodes)...)
	}
	for _, node := range n.newNodes {
		faults = append(faults, a.bringUp(ctx, node))
	}
	for _, u := range n.built {
		switch {
		case stuck[u.cfg.ID] != nil:
			faults = append(faults, u.workflow.node.close(ctx))
		case a.run == nil:
			faults = append(faults, u.workflow.node.init(ctx))
		case stopped[u.cfg.ID]:
			u.state.Store(uint32(StateStopped))
		default:
			faults = append(faults, a.startNew(ctx, u))
		}
	}
	a.holdLeftovers(ctx, n.change.Removed)
	faults = append(faults, a.dispose(ctx, n.goneNodes)...)
	if a.run != nil {
		a.run.checkEnd()
	}
	return faults
}

// retire ends a unit that is not needed any more.
func (a *Adapter) retire(ctx context.Context, u *unit) error {
	u.state.Store(uint32(StateStopped)) // nobody restarts it
	if u.loop == nil {
		return u.workflow.node.close(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, a.options.RestartDrain)
	defer cancel()
	return a.stopUnit(ctx, u)
}

// swap puts the new channels and workflows in the places of the old ones. Those that cannot be stopped keep theirs.
func (a *Adapter) swap(n *next, stuck map[string]*unit) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range n.channels {
		for i, u := range c.units {
			if old := stuck[u.cfg.ID]; old != nil {
				c.units[i] = old
				continue
			}
			u.channel = c
		}
	}
	a.channels = n.channels
	a.cfg, a.builder, a.onError, a.errorNodes = n.cfg, n.builder, n.onError, n.errorNodes
	for _, c := range a.channels {
		c.attach()
	}
	a.attach()
}

// bringUp brings a new on-error, or a new channel without its workflows, to where the adapter is.
func (a *Adapter) bringUp(ctx context.Context, n *node) error {
	children := n.children
	if n.open == nil { // a channel
		for _, c := range a.channels {
			if c.node == n {
				n.children = c.errorNodes
			}
		}
		defer func() { n.children = children }()
	}
	if err := n.init(ctx); err != nil {
		return err
	}
	if a.run == nil {
		return nil
	}
	return n.start(ctx)
}

// startNew starts a workflow; one that does not start is tried again.
func (a *Adapter) startNew(ctx context.Context, u *unit) error {
	r := a.run
	err := a.startBuilt(ctx, r, u)
	if err == nil {
		return nil
	}
	u.counters.failure(err)
	u.state.Store(uint32(StateRestarting))
	r.restarting.Go(func() { a.bringBack(r, u, err) })
	return fmt.Errorf("workflow %s does not start, and is tried again: %w", u.cfg.ID, err)
}

// holdLeftovers keeps, for an operator, the messages that removed workflows have left unfinished.
func (a *Adapter) holdLeftovers(ctx context.Context, removed []string) {
	r := a.run
	if r == nil {
		return
	}
	for _, id := range removed {
		r.mu.Lock()
		left := r.leftovers[id]
		delete(r.leftovers, id)
		r.mu.Unlock()
		for _, e := range left {
			e.Reason = fmt.Sprintf("the workflow %q was removed", id)
			a.strays.Add(1)
			r.takeover.add(e, held)
			err := r.write(ctx, a.log, e.MessageID, "held", func(ctx context.Context) error {
				return r.mirror.Hold(ctx, e.MessageID, e.Reason)
			})
			a.log.Warn("a message is held for an operator", "message-id", e.MessageID, "reason", e.Reason, "error", err)
		}
	}
}

// dispose closes on-errors that nobody uses any more.
func (a *Adapter) dispose(ctx context.Context, nodes []*node) (faults []error) {
	ctx, cancel := extended(ctx, a.options.Grace)
	defer cancel()
	for _, n := range slices.Backward(nodes) {
		faults = append(faults, n.stop(ctx), n.close(ctx))
	}
	return faults
}
