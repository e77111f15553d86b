package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/config"
	"github.com/understudy-ha/understudy/bootstrap/host"
	"github.com/understudy-ha/understudy/bootstrap/management"
	"github.com/understudy-ha/understudy/failover"
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
		what := "a witness without an adapter"
		if program, ok := s.programConfig(); ok {
			what = fmt.Sprintf("program %q", program.Command)
		} else if s.adapter != nil {
			what = fmt.Sprintf("adapter %s (%s)", s.adapter.ID, s.adapter.File)
		}
		_, err := fmt.Fprintf(p.Stdout, "configuration is sound: %s, cluster %s\n", what, s.cluster())
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
	// gated: there is an election.
	gated bool
	// program is the workload of now, if that is one.
	program atomic.Pointer[program]
	// node is set when there is one; log lines come before it.
	node atomic.Pointer[host.Node]
	// engine is the adapter of now and its store of failed messages.
	engine engine
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
	r.gated = r.plugins.election(nil) != nil
	if err := r.checkGate(); err != nil {
		return err
	}
	r.warnAboutLacks()
	r.weaver = r.plugins.weaver(r.setup.weave, r.log)
	node := r.newNode(takeovers{filepath.Join(dir.path, takeoversFolder)})
	r.node.Store(node)
	if err := r.plugins.attach(ctx, node, premain); err != nil {
		return unlessStopped(ctx, err)
	}
	control, err := management.Listen(dir.socket(), r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, control.Close()) }()
	defer r.watchHangup(ctx)()
	return r.live(ctx, node)
}

// checkGate refuses to start a node that would not wait for its promotion.
func (r *runner) checkGate() error {
	switch {
	case r.setup.cfg.Witness && !r.gated:
		return usageError{errors.New("profiler.plugin.factory: none of the plugins holds an election, so there is nothing for a witness to vote in")}
	case r.gated && !r.setup.cfg.Witness && !r.setup.weave.HasKind(profiler.KindAdapter):
		return usageError{fmt.Errorf("%s: the AdapterAspect is not woven, so nothing would hold the start back until this node "+
			"is promoted; add it, or remove profiler.plugin.factory", r.setup.cfg.WeaveFile)}
	}
	return nil
}

// warnAboutLacks says loudly what this node has to do without.
func (r *runner) warnAboutLacks() {
	cfg := r.setup.cfg
	if !r.gated {
		r.warn("no profiler.plugin.factory with an election is set: this node starts at once and alone, without failover")
		return
	}
	if r.plugins.mirror() == nil && !cfg.Witness && !cfg.Workload.Enabled() {
		r.warn("there is no cachesync plugin: messages in flight are not mirrored")
	}
	if cfg.FailoverKeyFile == "" && cfg.Interlok == nil { // Else there is no cure for the pings, and the plugin says so.
		r.warn("failover.key.file is not set: NOTHING IS AUTHENTICATED, whoever can send to this node's network can take part in the " +
			"election; bootstrap keygen makes a key")
	}
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
	if r.setup.cfg.Witness {
		properties["failover.witness"] = r.nodeID
	}
	premain := contract.Premain{
		NodeID: r.nodeID, Cluster: r.setup.cluster(), DataDir: r.setup.cfg.DataDir, Properties: properties,
	}
	if r.setup.adapter != nil {
		premain.AdapterDigest = r.setup.adapter.Digest
	}
	if program, ok := r.setup.programConfig(); ok {
		premain.AdapterDigest = programDigest(program)
	}
	return premain
}

func (r *runner) newNode(reports takeovers) *host.Node {
	cfg := r.setup.cfg
	opt := host.Options{
		NodeID: r.nodeID, Cluster: r.setup.cluster(), Witness: cfg.Witness,
		Build:    r.build,
		Failover: r.gated, Mirror: r.gated && r.plugins.mirror() != nil,
		Delay: cfg.FailoverDelay, Patience: cfg.FailoverPatience(), Beat: cfg.FailoverBeat(), Unnamed: cfg.Interlok != nil,
		StopTimeout: cfg.StopTimeout, Check: r.check(), Hook: r.hook(),
		Changed: func(c host.Change) {
			if err := reports.keep(c); err != nil {
				r.log.Warn("a takeover report could not be written", "error", err)
			}
		},
		Log: r.log, Clock: host.Boottime, Now: time.Now,
	}
	if r.setup.adapter != nil {
		opt.AdapterID = r.setup.adapter.ID
		opt.Lifecycle = r.weaver.Lifecycle(profiler.KindAdapter, r.setup.adapter.ID, "adapter")
	}
	if program, ok := r.setup.programConfig(); ok {
		opt.AdapterID = programID(program)
		opt.Lifecycle = r.weaver.Lifecycle(profiler.KindAdapter, opt.AdapterID, "adapter")
	}
	// Nobody waits for the death of a witness.
	if cfg.FailoverEvidence == config.ToggleOn && !cfg.Witness {
		opt.Liveness = &host.LivenessConfig{
			Listen: cfg.FailoverLiveness, Interface: cfg.FailoverInterface, Toward: cfg.Towards(), Host: cfg.Properties()["failover.tcp.host"],
			Choose: chooseAddress,
		}
	}
	return host.New(opt)
}

// chooseAddress reads failover.interface as the election does.
func chooseAddress(spec string) (netip.Addr, error) {
	nic, err := failover.ChooseNIC(spec, false)
	return nic.Address, err
}

// check is failover.check.
func (r *runner) check() *host.CheckConfig {
	c := r.setup.cfg.Check
	if !c.Enabled() || r.setup.cfg.Witness {
		return nil
	}
	check := &host.CheckConfig{
		Interval: c.Interval, Timeout: c.Timeout, Rise: c.Rise, Fall: c.Fall, Cooldown: c.Cooldown, OnlyMaster: c.On == config.CheckMaster,
	}
	if c.URL != "" {
		check.Probe = host.URLProbe(c.URL)
		return check
	}
	env := []string{"UNDERSTUDY_NODE_ID=" + r.nodeID, "UNDERSTUDY_CLUSTER=" + r.setup.cluster()}
	check.Probe = host.CommandProbe(c.Command, env, r.log)
	return check
}

// hook is hooks.on.role.
func (r *runner) hook() *host.HookConfig {
	words := r.setup.cfg.RoleHook
	if len(words) == 0 {
		return nil
	}
	return &host.HookConfig{
		Run: host.CommandHook(words, r.nodeID, r.setup.cluster(), r.log), Timeout: r.setup.cfg.HookTimeout,
	}
}

// build makes the workload of one mastership: a program, or the adapter with components of its own.
func (r *runner) build() (host.Workload, error) {
	if program, ok := r.setup.programConfig(); ok {
		return r.buildProgram(program)
	}
	return r.buildAdapter()
}
