package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components"
	"github.com/understudy-ha/understudy/bootstrap/config"
	"github.com/understudy-ha/understudy/bootstrap/host"
	"github.com/understudy-ha/understudy/bootstrap/management"
	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/profiler"
)

// endTimeout bounds the end of the plugins, after the node has stopped its work.
const endTimeout = 5 * time.Second

// run runs a node until ctx ends.
func (p Process) run(ctx context.Context, args Args) (err error) {
	s, err := p.configure(ctx, args)
	if err != nil {
		return err
	}
	if args.ConfigCheck {
		for _, warning := range s.warnings {
			fmt.Fprintln(p.Stdout, "warning:", warning)
		}
		_, err := fmt.Fprintf(p.Stdout, "configuration is sound: adapter %s (%s), cluster %s\n", s.adapter.ID, s.adapter.File, s.cluster())
		return err
	}
	if args.MemoryLimit > 0 {
		debug.SetMemoryLimit(args.MemoryLimit)
	}
	dir, err := openDataDir(s.cfg.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.close()) }()
	nodeID, err := dir.nodeID(s.cfg.NodeID)
	if err != nil {
		return err
	}
	r := &runner{process: p, setup: s, nodeID: nodeID, started: time.Now()}
	r.log = newLogger(p.Stderr, string(s.cfg.LogFormat), s.cfg.LogLevel, r.attrs)
	for _, warning := range s.warnings {
		r.log.Warn(warning)
	}
	return r.run(ctx, dir)
}

// runner is one run of a node: the parts and the order in which they start and end.
type runner struct {
	process Process
	setup   *setup
	nodeID  string
	started time.Time
	log     *slog.Logger
	plugins *plugins
	weaver  *profiler.Weaver
	// node is set when there is one; log lines come before it.
	node atomic.Pointer[host.Node]
}

// attrs are on each log line.
func (r *runner) attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("node", r.nodeID)}
	if node := r.node.Load(); node != nil {
		if role := node.Role(); role.Role != 0 {
			attrs = append(attrs, slog.String("role", role.Role.String()))
			if !role.Term.IsZero() {
				attrs = append(attrs, slog.String("term", role.Term.String()))
			}
		}
	}
	return attrs
}

func (r *runner) run(ctx context.Context, dir *dataDir) (err error) {
	premain := r.premain()
	if r.plugins, err = r.setup.launch(ctx, r.log); err != nil {
		return unlessStopped(ctx, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
		defer cancel()
		err = errors.Join(err, r.plugins.stop(ctx))
	}()
	if err := r.plugins.introduce(ctx, premain, r.log); err != nil {
		return unlessStopped(ctx, err)
	}
	gated := r.plugins.election(nil) != nil
	if gated && !r.setup.weave.HasKind(profiler.KindAdapter) {
		return usageError{fmt.Errorf("%s: the AdapterAspect is not woven, so nothing would hold the start back until this node "+
			"is promoted; add it, or remove profiler.plugin.factory", r.setup.cfg.WeaveFile)}
	}
	if !gated {
		r.warn("no profiler.plugin.factory with an election is set: this node starts at once and alone, without failover")
	}
	if gated && r.plugins.mirror() == nil {
		r.warn("there is no cachesync plugin: messages in flight are not mirrored")
	}
	r.weaver = r.plugins.weaver(r.setup.weave, r.log)
	node := r.newNode(gated)
	r.node.Store(node)
	if err := r.plugins.attach(ctx, node, premain); err != nil {
		return unlessStopped(ctx, err)
	}
	control, err := management.Listen(dir.socket(), r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, control.Close()) }()
	return r.live(ctx, node)
}

// unlessStopped is the error of a start; one that the order to stop has cut short is a clean stop.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// live runs the node; a plugin that was given up ends it.
func (r *runner) live(ctx context.Context, node *host.Node) error {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	wait := r.plugins.watch(watching, r.log, func(err error) { giveUp(pluginLost{err}) })
	err := node.Run(ctx)
	cancel()
	wait()
	var lost pluginLost
	if errors.As(context.Cause(ctx), &lost) {
		err = errors.Join(err, lost.error)
	}
	return err
}

// pluginLost is why a node ended that nobody asked to end.
type pluginLost struct{ error }

func (r *runner) warn(text string) {
	r.setup.warnings = append(r.setup.warnings, text)
	r.log.Warn(text)
}

func (r *runner) premain() contract.Premain {
	properties := r.setup.cfg.Properties()
	properties["node.id"], properties["cluster.name"] = r.nodeID, r.setup.cluster()
	return contract.Premain{
		NodeID: r.nodeID, Cluster: r.setup.cluster(), DataDir: r.setup.cfg.DataDir,
		Properties: properties, AdapterDigest: r.setup.adapter.Digest,
	}
}

func (r *runner) newNode(gated bool) *host.Node {
	cfg := r.setup.cfg
	var liveness *host.LivenessConfig
	if cfg.FailoverEvidence == config.ToggleOn {
		liveness = &host.LivenessConfig{
			Listen: cfg.FailoverLiveness, Interface: cfg.FailoverInterface, Group: cfg.Properties()["failover.group"],
		}
	}
	return host.New(host.Options{
		NodeID: r.nodeID, Cluster: r.setup.cluster(), AdapterID: r.setup.adapter.ID,
		Build:     r.build,
		Lifecycle: r.weaver.Lifecycle(profiler.KindAdapter, r.setup.adapter.ID, "adapter"),
		Failover:  gated, Mirror: gated && r.plugins.mirror() != nil,
		Delay: cfg.FailoverDelay, Patience: time.Duration(cfg.FailoverRetries) * cfg.FailoverDelay, StopTimeout: cfg.StopTimeout,
		Liveness: liveness,
		Log:      r.log, Clock: host.Boottime, Now: time.Now,
	})
}

// build makes the adapter of one mastership, with components of its own.
func (r *runner) build() (host.Workload, error) {
	factory, err := r.setup.factory(r.log)
	if err != nil {
		return nil, err
	}
	a, err := adapter.New(r.setup.adapter, factory, r.weaver, r.log, adapter.Options{})
	if err != nil {
		return nil, errors.Join(err, factory.Close(context.Background()))
	}
	return workload{Adapter: a, factory: factory}, nil
}

// workload is an adapter with the factory that its components live on.
type workload struct {
	*adapter.Adapter
	factory *components.Factory
}

func (w workload) Close(ctx context.Context) error {
	return errors.Join(w.Adapter.Close(ctx), w.factory.Close(ctx))
}
