package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/config"
	"github.com/understudy-ha/understudy/bootstrap/host"
	"github.com/understudy-ha/understudy/bootstrap/loader"
	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/profiler"
)

// mirrorPlugin is the plugin that mirrors messages in flight.
const mirrorPlugin = "cachesync"

// plugins are the plugin processes of a node.
type plugins struct {
	library *loader.Library
	list    []*pluginProcess
}

// pluginProcess is one plugin: what it is to the node, and who watches over it.
type pluginProcess struct {
	name, options string
	// defaults are the properties that nobody has set.
	defaults   []string
	first      *loader.Plugin
	supervisor *loader.Supervisor
	// patience is how long it may take to answer what it is told first.
	patience time.Duration
	// version is of the process that was told last.
	version atomic.Pointer[string]

	// An agent has these; election says that it is the node's gate.
	link     *host.AgentLink
	exporter *profiler.Exporter
	manifest contract.Manifest
	election bool
}

// plan names the plugins to load, agents in the order in which their hooks run.
func (s *setup) plan(inLib []string) []*pluginProcess {
	var list []*pluginProcess
	defaults := s.cfg.Defaults()
	add := func(name, options string) {
		if !slices.ContainsFunc(list, func(p *pluginProcess) bool { return p.name == name }) {
			list = append(list, &pluginProcess{name: name, options: options, defaults: defaults})
		}
	}
	if s.cfg.Witness {
		// Hooks have no adapter to hang on, and there is nothing to mirror.
		for _, name := range s.cfg.Factories {
			if name != mirrorPlugin {
				add(name, "")
			}
		}
		return list
	}
	for _, a := range s.args.Agents {
		add(a.Name, a.Options)
	}
	for _, name := range s.cfg.Factories {
		add(name, "")
	}
	wanted := s.cfg.CacheSyncEnabled
	if wanted == config.ToggleOn || wanted == config.ToggleAuto && len(s.cfg.Factories) > 0 && slices.Contains(inLib, mirrorPlugin) {
		add(mirrorPlugin, "")
	}
	return list
}

// launch starts all plugins in parallel. After an error none is left.
func (s *setup) launch(ctx context.Context, log *slog.Logger) (*plugins, error) {
	if len(s.cfg.Factories)+len(s.args.Agents) == 0 {
		return &plugins{}, nil
	}
	library, err := loader.Open(loader.Options{
		Dir: s.cfg.LibDir, Checksums: loader.Policy(s.cfg.PluginChecksums), StartTimeout: s.cfg.PluginStartTimeout,
		SocketDir: filepath.Join(s.cfg.DataDir, "sockets"), Logger: log,
	})
	if err != nil {
		return nil, err
	}
	inLib, err := library.List()
	if err != nil {
		return nil, errors.Join(err, library.Close())
	}
	set := &plugins{library: library, list: s.plan(inLib)}
	faults := make([]error, len(set.list))
	var wg sync.WaitGroup
	for i, p := range set.list {
		p.patience = s.cfg.PluginStartTimeout
		wg.Go(func() { p.first, faults[i] = library.Launch(ctx, p.name) })
	}
	wg.Wait()
	if err := errors.Join(faults...); err != nil {
		return nil, errors.Join(err, library.Close())
	}
	return set, nil
}

// introduce tells each plugin where it is, and learns what it wants.
func (set *plugins) introduce(ctx context.Context, premain contract.Premain, log *slog.Logger) error {
	for _, p := range set.list {
		if p.name == mirrorPlugin {
			continue // it hears of the node when the node is there to be told what it answers
		}
		agent, err := p.premain(ctx, p.first, premain)
		if err != nil {
			return err
		}
		_, err = p.first.Failover()
		if p.election = err == nil; p.election {
			if other := set.election(p); other != nil {
				return usageError{fmt.Errorf("profiler.plugin.factory: %s and %s both hold an election; name one", other.name, p.name)}
			}
		}
		p.link = host.NewAgentLink(p.name, p.election, log)
		p.link.Up(agent)
		if slices.ContainsFunc(p.manifest.Interests, func(i contract.Interest) bool { return i.Steps }) {
			p.exporter = profiler.NewExporter(profiler.DefaultBuffer)
		}
	}
	return nil
}

func (p *pluginProcess) premain(ctx context.Context, process *loader.Plugin, premain contract.Premain) (contract.Agent, error) {
	agent, err := process.Agent()
	if err != nil {
		return nil, err
	}
	premain.Options = p.options
	if p.manifest, err = answer(ctx, p.patience, func(ctx context.Context) (contract.Manifest, error) {
		return agent.Premain(ctx, premain)
	}); err != nil {
		return nil, err
	}
	version := p.manifest.Version
	p.version.Store(&version)
	return agent, nil
}

// answer bounds a call in which a plugin learns where it is: one that hangs must not hang the node.
func answer[T any](ctx context.Context, patience time.Duration, call func(context.Context) (T, error)) (T, error) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	result, err := call(bounded)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w; it did not answer within plugin.start.timeout=%s", err, patience)
	}
	return result, err
}

// election returns the plugin other than except that holds the gate, if there is one.
func (set *plugins) election(except *pluginProcess) *pluginProcess {
	for _, p := range set.list {
		if p.election && p != except {
			return p
		}
	}
	return nil
}

func (set *plugins) mirror() *pluginProcess {
	for _, p := range set.list {
		if p.name == mirrorPlugin {
			return p
		}
	}
	return nil
}

// weaver hangs the agents onto the adapter.
func (set *plugins) weaver(weave profiler.Weave, log *slog.Logger) *profiler.Weaver {
	var woven []profiler.WovenAgent
	for _, p := range set.list {
		if p.link == nil {
			continue
		}
		agent := profiler.WovenAgent{
			Name: p.name, Hook: p.link, Gate: p.election,
			OnPanic: func(err error) { log.Error("a hook panicked", "plugin", p.name, "error", err) },
		}
		if p.exporter != nil {
			agent.Sink = p.exporter
		}
		for _, i := range p.manifest.Interests {
			agent.Interests = append(agent.Interests, profiler.Interest(i))
		}
		woven = append(woven, agent)
	}
	return profiler.NewWeaver(weave, woven)
}

// attach gives the plugins to the node, and makes the supervisors that give it their successors.
func (set *plugins) attach(ctx context.Context, node *host.Node, premain contract.Premain) error {
	for _, p := range set.list {
		up := func(ctx context.Context, process *loader.Plugin) error { return p.attach(ctx, process, node, premain) }
		down := func(err error) { p.detach(err, node) }
		if err := p.meet(ctx, p.first, node, premain); err != nil {
			return err
		}
		p.supervisor = set.library.Supervise(p.first, loader.DefaultRestart(), loader.Hooks{Up: up, Down: down})
	}
	return nil
}

// attach introduces a process that was started in place of a dead one.
func (p *pluginProcess) attach(ctx context.Context, process *loader.Plugin, node *host.Node, premain contract.Premain) error {
	if p.link != nil {
		agent, err := p.premain(ctx, process, premain)
		if err != nil {
			return err
		}
		p.link.Up(agent)
	}
	return p.meet(ctx, process, node, premain)
}

// meet gives the node what the process serves beside its hooks.
func (p *pluginProcess) meet(ctx context.Context, process *loader.Plugin, node *host.Node, premain contract.Premain) error {
	if p.election {
		failover, err := process.Failover()
		if err != nil {
			return err
		}
		node.FailoverUp(failover)
	}
	if p.name != mirrorPlugin {
		return nil
	}
	mirror, err := process.CacheSync()
	if err != nil {
		return err
	}
	info, err := answer(ctx, p.patience, func(ctx context.Context) (contract.MirrorInfo, error) {
		return mirror.Configure(ctx, contract.MirrorConfig{
			NodeID: premain.NodeID, Cluster: premain.Cluster, DataDir: premain.DataDir, Properties: premain.Properties,
			Defaults: p.defaults,
		})
	})
	if err != nil {
		return err
	}
	p.version.Store(&info.Version)
	node.MirrorUp(mirror)
	return nil
}

func (p *pluginProcess) detach(err error, node *host.Node) {
	if p.election {
		node.FailoverDown(err)
	}
	if p.name == mirrorPlugin {
		node.MirrorDown(err)
	}
	if p.link != nil {
		p.link.Down(err)
	}
}

// watch runs the supervisors and the exporters until ctx ends. failed is told of a plugin that was given up and that
// the node cannot do without: an agent that only watches is missed, no more.
func (set *plugins) watch(ctx context.Context, log *slog.Logger, failed func(error)) (wait func()) {
	var wg sync.WaitGroup
	for _, p := range set.list {
		wg.Go(func() {
			err := p.supervisor.Run(ctx)
			switch {
			case err == nil:
			case p.election || p.name == mirrorPlugin:
				failed(err)
			default:
				log.Error("an agent is gone, the node goes on without it", "error", err)
			}
		})
		if p.exporter != nil {
			wg.Go(func() { p.exporter.Run(ctx, p.link.Export) })
		}
	}
	return wg.Wait
}

// stop ends the processes in an orderly way, the last one started first.
func (set *plugins) stop(ctx context.Context) error {
	if set.library == nil {
		return nil
	}
	var faults []error
	for _, p := range slices.Backward(set.list) {
		running := p.first
		if p.supervisor != nil {
			running = p.supervisor.State().Running
		}
		if running != nil {
			faults = append(faults, running.Stop(ctx))
		}
	}
	return errors.Join(append(faults, set.library.Close())...)
}
