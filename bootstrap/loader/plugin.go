package loader

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/plugins/contract"
)

// Plugin is a running plugin. Its methods may be called concurrently.
type Plugin struct {
	Name, Path string
	// PID is for people: the process may have ended, and the number be another's.
	PID int
	// Protocol is the negotiated version.
	Protocol int
	// Checksum is the SHA-256 of the file in hex if it was verified.
	Checksum string

	process   *process
	agent     *contract.AgentClient
	failover  *contract.FailoverClient
	cacheSync *contract.CacheSyncClient

	// closeClient ends go-plugin's client, once; it returns when the process has ended.
	closeClient func()
	stopping    atomic.Bool
	// released is closed when the process has ended and nothing of it is left in here.
	released chan struct{}
}

// stopGrace is how long a plugin that has answered its Shutdown may take to end by itself.
const stopGrace = 2 * time.Second

// Agent gives the plugin's agent; an error that wraps contract.ErrNotServed if it has none.
func (p *Plugin) Agent() (contract.Agent, error) {
	if p.agent == nil {
		return nil, p.notServed(contract.ServiceAgent)
	}
	return p.agent, nil
}

// Failover gives the plugin's election; an error that wraps contract.ErrNotServed if it has none.
func (p *Plugin) Failover() (contract.Failover, error) {
	if p.failover == nil {
		return nil, p.notServed(contract.ServiceFailover)
	}
	return p.failover, nil
}

// CacheSync gives the plugin's mirror; an error that wraps contract.ErrNotServed if it has none.
func (p *Plugin) CacheSync() (contract.CacheSync, error) {
	if p.cacheSync == nil {
		return nil, p.notServed(contract.ServiceCacheSync)
	}
	return p.cacheSync, nil
}

func (p *Plugin) notServed(service string) error {
	return fmt.Errorf("plugin %s (%s) as %s: %w; it serves %v", p.Name, p.Path, service, contract.ErrNotServed, p.services())
}

// services lists what the plugin serves.
func (p *Plugin) services() []string {
	var out []string
	if p.agent != nil {
		out = append(out, contract.ServiceAgent)
	}
	if p.failover != nil {
		out = append(out, contract.ServiceFailover)
	}
	if p.cacheSync != nil {
		out = append(out, contract.ServiceCacheSync)
	}
	return out
}

// Exited is closed as soon as the process has died, for whatever reason.
func (p *Plugin) Exited() <-chan struct{} { return p.process.exited }

// ExitError is nil while the plugin runs, and if it ended because of Stop. Else it says how the process ended,
// with the last lines that it wrote to standard error, for which it may wait a moment.
func (p *Plugin) ExitError() error {
	select {
	case <-p.process.exited:
	default:
		return nil
	}
	if p.stopping.Load() {
		return nil
	}
	<-p.process.done
	return fmt.Errorf("plugin %s (%s, pid %d) ended by itself: %s%s",
		p.Name, p.Path, p.PID, p.process.ending(), p.process.output.lastLines())
}

// Stop asks the plugin to finish what it has under way, ends it, and returns when the process is gone. When
// ctx ends, or the plugin does not end after its answer, it is killed; the error says that it had to be, or
// that its Shutdown failed. Safe after the plugin has died, and twice.
func (p *Plugin) Stop(ctx context.Context) error {
	p.stopping.Store(true)
	err := p.shutdown(ctx)
	// go-plugin's way is polite, but has no end when a plugin hangs: killing the process is its end.
	late := context.AfterFunc(ctx, p.process.kill)
	defer late()
	grace := time.AfterFunc(stopGrace, p.process.kill)
	defer grace.Stop()
	p.closeClient()
	<-p.released
	return err
}

func (p *Plugin) shutdown(ctx context.Context) error {
	select {
	case <-p.process.exited:
		return nil
	default:
	}
	var faults []error
	if p.cacheSync != nil {
		faults = append(faults, p.cacheSync.Shutdown(ctx))
	}
	if p.agent != nil {
		faults = append(faults, p.agent.Shutdown(ctx))
	}
	return errors.Join(faults...)
}

// release waits for the end of the process and cleans up after it; it is the plugin's own goroutine.
func (p *Plugin) release(forget func()) {
	defer close(p.released)
	<-p.process.exited
	p.closeClient()
	if p.cacheSync != nil {
		p.cacheSync.Close()
	}
	<-p.process.done
	forget()
}

// discard kills the plugin without a word and waits until it is gone.
func (p *Plugin) discard() {
	p.stopping.Store(true)
	p.process.kill()
	<-p.released
}
