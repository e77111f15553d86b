package contracttest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/plugins/contract"
)

// Config is what the suite tells a plugin.
type Config struct {
	// Properties are the node's. They must keep it away from the network of others, say failover.interface=lo.
	Properties map[string]string
}

// Run runs the suite on a plugin that is served in this process, over gRPC. newPlugin is called for each test.
func Run(t *testing.T, newPlugin func(t testing.TB) contract.Plugin, config Config) {
	run(t, func(t testing.TB) Clients { return Pair(t, newPlugin(t)) }, config)
}

// RunAgent is Run for a plugin that is only an agent.
func RunAgent(t *testing.T, newAgent func(t testing.TB) contract.Agent) {
	Run(t, func(t testing.TB) contract.Plugin {
		return contract.Plugin{Name: "agent", Version: "test", Agent: newAgent(t)}
	}, Config{})
}

// RunBinary runs the suite on the binary of a plugin; a process is started for each test.
func RunBinary(t *testing.T, path string, config Config) {
	t.Run("by hand", func(t *testing.T) { byHand(t, path) })
	run(t, func(t testing.TB) Clients { return Launch(t, path) }, config)
}

// node is one start of the plugin under test.
type node struct {
	Clients
	config Config
}

func run(t *testing.T, start func(t testing.TB) Clients, config Config) {
	served := start(t)
	if served.Agent != nil {
		t.Run("agent", func(t *testing.T) { runAgent(t, func(t testing.TB) node { return node{start(t), config} }) })
	}
	if served.Failover != nil {
		t.Run("failover", func(t *testing.T) { runFailover(t, func(t testing.TB) node { return node{start(t), config} }) })
	}
	if served.CacheSync != nil {
		t.Run("cachesync", func(t *testing.T) { runCacheSync(t, func(t testing.TB) node { return node{start(t), config} }) })
	}
}

func (n node) premain(t testing.TB) contract.Premain {
	return contract.Premain{
		NodeID: "fake", Cluster: "contracttest", DataDir: t.TempDir(), Options: "a=b",
		Properties: n.config.Properties, AdapterDigest: strings.Repeat("0", 64),
	}
}

// byHand: who starts a plugin from a shell learns what it is.
func byHand(t *testing.T, path string) {
	ctx := within(t)
	command := exec.CommandContext(ctx, path)
	command.Env = []string{"PATH=" + os.Getenv("PATH")}
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("started by hand it ended with %v, want exit status 1", err)
	}
	if stdout.Len() > 0 {
		t.Errorf("started by hand it wrote to standard output: %q", &stdout)
	}
	if !strings.Contains(stderr.String(), "plugin") {
		t.Errorf("started by hand it does not say that it is a plugin: %q", &stderr)
	}
}

// isContextError: the call was given up, which the callee may say in its own words or the context's.
func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
