package loader

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"

	"github.com/understudy-ha/understudy/plugins/contract"
)

// errStartTimeout is the cause of a launch's context when the plugin took too long.
var errStartTimeout = errors.New("start timeout")

// Launch verifies and starts a plugin and shakes hands with it. ctx bounds the start only. An error says which
// plugin, what was seen and what to do about it, and leaves no process behind. Several may be launched at the
// same time.
func (l *Library) Launch(ctx context.Context, name string) (*Plugin, error) {
	path, err := l.find(name)
	if err != nil {
		return nil, err
	}
	// The sum is computed while go-plugin makes its key, which takes as long; the process waits for both.
	sum := l.checking(name, path)
	process := newProcess(name, path, l.logger(name), func() error {
		_, err := sum()
		return err
	})
	client := plugin.NewClient(l.clientConfig(process)) //nolint:contextcheck // slog asks for a context to tell its level

	ctx, cancel := context.WithTimeoutCause(ctx, l.options.StartTimeout, errStartTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, process.kill)
	p, err := shake(ctx, client, process)
	// A context that ended a moment after the handshake has killed the plugin all the same.
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	checksum, sumErr := sum()
	if err == nil && !l.keep(p) {
		err = errors.New("the library is closed")
	}
	if err != nil {
		process.kill()
		client.Kill()
		if sumErr != nil {
			return nil, sumErr
		}
		return nil, l.explain(ctx, process, err)
	}
	p.Checksum = checksum
	go p.release(func() { l.forget(p) })
	process.logger.Debug("plugin started", "pid", p.PID, "protocol", p.Protocol, "services", p.services(), "sha256", checksum)
	return p, nil
}

// checking begins to compare checksums; the function waits for the outcome.
func (l *Library) checking(name, path string) func() (string, error) {
	var (
		work sync.WaitGroup
		sum  string
		err  error
	)
	work.Go(func() { sum, err = l.check(name, path, l.logger(name)) })
	return func() (string, error) {
		work.Wait()
		return sum, err
	}
}

func (l *Library) clientConfig(process *process) *plugin.ClientConfig {
	return &plugin.ClientConfig{
		HandshakeConfig:  contract.Handshake(),
		VersionedPlugins: contract.VersionedPlugins(process.name),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: l.sockets.path},
		// Ours ends first, and for more than the handshake.
		StartTimeout: l.options.StartTimeout + time.Minute,
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
			process.prepare(cmd.Env, l.level())
			return process, nil
		},
		// What is worth saying the loader says itself.
		Logger:     hclog.NewNullLogger(),
		SyncStdout: &lineLog{logger: process.logger, stream: "stdout"},
		SyncStderr: &lineLog{logger: process.logger, stream: "stderr"},
	}
}

// shake starts the process and talks to it until it is known what it serves.
func shake(ctx context.Context, client *plugin.Client, process *process) (*Plugin, error) {
	protocol, err := client.Client()
	if err != nil {
		return nil, err
	}
	rpc, ok := protocol.(*plugin.GRPCClient)
	if !ok {
		return nil, fmt.Errorf("go-plugin gave a %T for gRPC", protocol)
	}
	served, err := contract.Served(ctx, rpc.Conn, process.name)
	if err != nil {
		return nil, err
	}
	p := &Plugin{
		Name: process.name, Path: process.path, PID: process.pid(), Protocol: client.NegotiatedVersion(),
		process: process, released: make(chan struct{}),
		closeClient: sync.OnceFunc(client.Kill),
	}
	for _, service := range served {
		raw, err := rpc.Dispense(service)
		if err != nil {
			return nil, err
		}
		switch service := raw.(type) {
		case *contract.AgentClient:
			p.agent = service
		case *contract.FailoverClient:
			p.failover = service
		case *contract.CacheSyncClient:
			p.cacheSync = service
		}
	}
	return p, nil
}
