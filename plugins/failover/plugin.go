package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/profiler"
)

// plugin makes a node of an election an agent: it starts with Premain and ends with Shutdown.
type plugin struct {
	log   *slog.Logger
	open  opener
	clock failover.Clock
	// die ends the process of a plugin that can do nothing any more, so that the host starts another; nil in tests.
	die func()

	mu      sync.Mutex // guards the fields up to the blank line
	node    electionNode
	cfg     failover.Config
	words   string
	end     func() error       // stops the node and waits
	release context.CancelFunc // ends the session that is open
	session int                // counts sessions

	steps, dropped atomic.Uint64
}

var (
	_ contract.Agent    = (*plugin)(nil)
	_ contract.Failover = (*plugin)(nil)
)

func newPlugin(log *slog.Logger, open opener, clock failover.Clock) *plugin {
	return &plugin{log: log, open: open, clock: clock}
}

var errNotStarted = errors.New("the failover plugin has not been started: premain comes first")

// Premain starts the node, which takes part in the election from then on; it cannot lead before the host says
// in a session that it can.
func (p *plugin) Premain(ctx context.Context, premain contract.Premain) (contract.Manifest, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.node != nil {
		return contract.Manifest{}, errors.New("the failover plugin has been started already")
	}
	if err := p.startLocked(ctx, premain); err != nil {
		return contract.Manifest{}, err
	}
	return contract.Manifest{Name: name, Version: version, Interests: interests()}, nil
}

// interests are the adapter's life, which is where the gate stands, and that of the components that Interlok's
// failover was woven into.
func interests() []contract.Interest {
	return []contract.Interest{
		{Kind: profiler.KindAdapter, Lifecycle: true},
		{Kind: profiler.KindWorkflow, Lifecycle: true, Steps: true},
		{Kind: profiler.KindService, Lifecycle: true, Steps: true},
		{Kind: profiler.KindProducer, Lifecycle: true, Steps: true},
	}
}

func (p *plugin) startLocked(ctx context.Context, premain contract.Premain) error {
	properties := make(map[string]string, len(premain.Properties)+2)
	for key, value := range premain.Properties {
		properties[key] = value
	}
	properties["node.id"], properties["cluster.name"] = premain.NodeID, premain.Cluster
	store, err := failover.OpenFileStore(filepath.Join(premain.DataDir, "failover"))
	if err != nil {
		return err
	}
	m, err := p.prepare(properties, premain, store)
	if err != nil {
		return err
	}
	p.log.Info("Datagrams go this way", "transport", m.words)
	// The node outlives the call that starts it.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() {
		err := m.node.Run(life)
		if err != nil {
			p.log.Error("the election has ended on this node: this plugin ends, to be started anew", "error", err)
		}
		ended <- errors.Join(err, m.transport.Close())
		if err != nil && p.die != nil {
			p.die()
		}
	}()
	p.node, p.words, p.cfg = m.node, m.words, m.cfg
	p.end = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	return nil
}

// running returns the node once Premain has started it.
func (p *plugin) running() (electionNode, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.node == nil {
		return nil, errNotStarted
	}
	return p.node, nil
}

// Before holds the adapter's start until this node is the master. That call is the gate.
func (p *plugin) Before(ctx context.Context, at profiler.Joinpoint) error {
	if at.Kind != profiler.KindAdapter || at.Transition != profiler.TransitionStart {
		return nil
	}
	node, err := p.running()
	if err != nil {
		return err
	}
	return node.AwaitMaster(ctx)
}

// After has nothing to do.
func (p *plugin) After(context.Context, profiler.Joinpoint, error) error { return nil }

// Steps counts what the adapter does, for the status.
func (p *plugin) Steps(_ context.Context, events []profiler.StepEvent, dropped uint64) error {
	p.steps.Add(uint64(len(events)))
	p.dropped.Store(dropped)
	return nil
}

// Shutdown ends the node. A master that has not resigned is missed by the others after delay × retries.
func (p *plugin) Shutdown(context.Context) error {
	p.mu.Lock()
	end, release := p.end, p.release
	p.mu.Unlock()
	if release != nil {
		release()
	}
	if end == nil {
		return nil
	}
	return end()
}
