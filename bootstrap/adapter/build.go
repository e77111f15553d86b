package adapter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/understudy-ha/understudy/profiler"
)

// New builds all components of cfg. Hooks and sinks are asked for here, once per component; whoever gets none
// stays bare. weaver and logger may be nil. After an error everything that was built has been closed again.
func New(cfg *Config, factory Factory, weaver Weaver, logger *slog.Logger, options Options) (*Adapter, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	b := &builder{factory: factory, weaver: weaver, log: logger, options: options.withDefaults()}
	a := &Adapter{
		id: cfg.ID, cfg: cfg, codec: factory.Codec(), options: b.options, log: logger, builder: b, done: make(chan struct{}),
		failed: make(chan error, 1), lifecycle: make(chan struct{}, 1),
	}
	a.root = b.node(profiler.KindAdapter, cfg.ID, cfg.ID, "Adapter("+cfg.ID+")", "adapter")
	a.onError = b.onError(a.root, cfg.OnError)
	for i := range cfg.Channels {
		c := &cfg.Channels[i]
		ch := b.channel(a.root, c, a.onError)
		for k := range c.Workflows {
			b.unit(ch, &c.Workflows[k], &counters{})
		}
		ch.attach()
		a.channels = append(a.channels, ch)
	}
	a.attach()
	if len(b.errs) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), b.options.Grace)
		defer cancel()
		return nil, fmt.Errorf("build adapter %s: %w", cfg.ID, errors.Join(append(b.errs, a.root.close(ctx))...))
	}
	return a, nil
}

// builder makes components and their nodes, and gathers what fails.
type builder struct {
	factory Factory
	weaver  Weaver
	log     *slog.Logger
	options Options
	errs    []error
}

// channel makes a channel that belongs below the adapter, whose child it is not yet.
func (b *builder) channel(root *node, cfg *ChannelConfig, outer []*errorHandler) *channel {
	c := &channel{
		id: cfg.ID, cfg: cfg, node: b.node(profiler.KindChannel, cfg.ID, root.at.Path+"/"+cfg.ID, "Channel("+cfg.ID+")", "channel"),
	}
	c.onError = b.onError(c.node, cfg.OnError)
	c.errorNodes = c.node.children
	c.onError = append(c.onError, outer...)
	return c
}

// unit makes a workflow of a channel.
func (b *builder) unit(c *channel, cfg *WorkflowConfig, counts *counters) *unit {
	u := newUnit(c, cfg, counts)
	w := b.workflow(c.node, cfg, c.onError)
	w.channel, w.counters = c.id, counts
	u.set(w)
	c.units = append(c.units, u)
	return u
}

// fresh is a builder that has gathered nothing.
func (b *builder) fresh() *builder {
	return &builder{factory: b.factory, weaver: b.weaver, log: b.log, options: b.options}
}

func (b *builder) node(kind profiler.Kind, id, path, title, typ string) *node {
	n := &node{at: profiler.Joinpoint{Kind: kind, ID: id, Path: path}, title: title, log: b.log, grace: b.options.Grace}
	if b.weaver != nil {
		n.hook = b.weaver.Lifecycle(kind, id, typ)
	}
	return n
}

func (b *builder) child(parent *node, kind profiler.Kind, id, title, typ string) *node {
	n := b.node(kind, id, parent.at.Path+"/"+id, title, typ)
	parent.children = append(parent.children, n)
	return n
}

func (b *builder) joinpoint(kind profiler.Kind, id, typ, name string) joinpoint {
	var j joinpoint
	if b.weaver != nil {
		j.sink = b.weaver.Steps(kind, id, typ)
	}
	j.event = profiler.StepEvent{StepName: name, StepInstanceID: id, StepType: kind}
	return j
}

// workflow makes a workflow that belongs below a channel, whose child it is not yet. Its children are in the order of
// starting: where messages go first, where they come from last.
func (b *builder) workflow(channel *node, cfg *WorkflowConfig, handlers []*errorHandler) *workflow {
	name := "StandardWorkflow"
	if cfg.Pool > 1 {
		name = "PoolingWorkflow"
	}
	w := &workflow{cfg: cfg}
	w.node = b.node(profiler.KindWorkflow, cfg.ID, channel.at.Path+"/"+cfg.ID, name+"("+cfg.ID+")", name)
	w.joinpoint = b.joinpoint(profiler.KindWorkflow, cfg.ID, name, name)
	w.log = b.log.With("workflow", cfg.ID)
	w.onError = append(b.onError(w.node, cfg.OnError), handlers...)
	w.producer = b.producer(w.node, cfg.Producer)
	w.stepIndex = make(map[string]int, len(cfg.Services))
	for i := range cfg.Services {
		w.services = append(w.services, b.service(w.node, &cfg.Services[i]))
		w.stepIndex[cfg.Services[i].ID] = i
	}
	if w.consumer = b.consumer(w.node, cfg.Consumer); w.consumer != nil {
		w.awaitsSource = w.consumer.Redelivers() && !cfg.AcknowledgeEarly
	}
	return w
}

func (b *builder) consumer(parent *node, spec Spec) Consumer {
	n := b.child(parent, spec.Kind, spec.ID, title(spec), spec.Type)
	c, err := build(spec, b.factory.Consumer)
	if err != nil {
		b.errs = append(b.errs, err)
		return nil
	}
	n.open, n.release = caught(spec, "open", c.Open), caught(spec, "close", c.Close)
	return c
}

func (b *builder) service(parent *node, cfg *ServiceConfig) serviceStep {
	spec := cfg.Spec
	n := b.child(parent, spec.Kind, spec.ID, title(spec), spec.Type)
	s, err := build(spec, b.factory.Service)
	if err != nil {
		b.errs = append(b.errs, err)
		return serviceStep{}
	}
	n.release = caught(spec, "close", s.Close)
	return serviceStep{
		Service: s, id: spec.ID, checkpoint: cfg.Checkpoint,
		joinpoint: b.joinpoint(spec.Kind, spec.ID, spec.Type, spec.Type),
	}
}

func (b *builder) producer(parent *node, spec Spec) *producerStep {
	n := b.child(parent, spec.Kind, spec.ID, title(spec), spec.Type)
	p, err := build(spec, b.factory.Producer)
	if err != nil {
		b.errs = append(b.errs, err)
		return nil
	}
	n.open, n.release = caught(spec, "open", p.Open), caught(spec, "close", p.Close)
	return &producerStep{
		Producer: p, id: spec.ID, idempotent: p.Idempotent(),
		joinpoint: b.joinpoint(spec.Kind, spec.ID, spec.Type, spec.Type),
	}
}

// onError builds who takes the failed messages of one level, if it has one.
func (b *builder) onError(parent *node, cfg *ErrorHandler) []*errorHandler {
	switch {
	case cfg == nil:
		return nil
	case cfg.Store && b.options.Failed == nil:
		b.errs = append(b.errs, fmt.Errorf("%s: on-error: store: this node keeps no failed messages", parent.at.Path))
		return nil
	case cfg.Store:
		return []*errorHandler{{}}
	}
	return []*errorHandler{{producer: b.producer(parent, cfg.Spec), at: cfg.Spec.Path}}
}

// build calls the factory, and makes an error of a panic.
func build[T any](spec Spec, make func(Spec) (T, error)) (component T, err error) {
	defer recovered("build of "+spec.Path, &err)
	component, err = make(spec)
	if err == nil && any(component) == nil {
		err = errors.New("the factory returned no component and no error")
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", spec.Path, err)
	}
	return component, err
}

// caught is call, with a panic made an error.
func caught(spec Spec, what string, call func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) (err error) {
		defer recovered(what+" of "+spec.Path, &err)
		return call(ctx)
	}
}
