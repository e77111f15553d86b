// Package contracttest is a conformance suite for plugins: whoever writes one runs it, in the test's own
// process and as the binary that users get.
package contracttest

import (
	"context"
	"io"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"github.com/understudy-ha/understudy/plugins/contract"
)

// Clients are a plugin's services as the host sees them: over gRPC. What is not served is nil.
type Clients struct {
	Agent     contract.Agent
	Failover  contract.Failover
	CacheSync contract.CacheSync
}

// Pair serves a plugin in this process. The test's cleanup ends it.
func Pair(t testing.TB, p contract.Plugin) Clients {
	t.Helper()
	set, err := p.Set()
	if err != nil {
		t.Fatal(err)
	}
	client, server := plugin.TestPluginGRPCConn(t, false, set[contract.ProtocolVersion])
	t.Cleanup(func() {
		// This asks the server to stop, which must not be asked twice.
		_ = client.Close()
		<-server.DoneCh
	})
	return dispense(t, client, p.Name)
}

// Launch starts the binary of a plugin, as a host does. The test's cleanup kills it.
func Launch(t testing.TB, path string) Clients {
	t.Helper()
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  contract.Handshake(),
		VersionedPlugins: contract.VersionedPlugins(path),
		Cmd:              exec.Command(path),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		StartTimeout:     time.Minute,
		Logger:           hclog.NewNullLogger(),
		Stderr:           &logWriter{t},
	})
	t.Cleanup(client.Kill)
	protocol, err := client.Client()
	if err != nil {
		t.Fatalf("launch %s: %v", path, err)
	}
	rpc, ok := protocol.(*plugin.GRPCClient)
	if !ok {
		t.Fatalf("%s does not speak gRPC", path)
	}
	return dispense(t, rpc, path)
}

// logWriter shows a plugin's log with the test's.
type logWriter struct{ t testing.TB }

var _ io.Writer = (*logWriter)(nil)

func (w *logWriter) Write(line []byte) (int, error) {
	if len(line) > 1 {
		w.t.Logf("plugin: %s", line)
	}
	return len(line), nil
}

func dispense(t testing.TB, client *plugin.GRPCClient, name string) Clients {
	t.Helper()
	served, err := contract.Served(t.Context(), client.Conn, name)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(served)
	var out Clients
	for _, service := range served {
		raw, err := client.Dispense(service)
		if err != nil {
			t.Fatal(err)
		}
		switch c := raw.(type) {
		case *contract.AgentClient:
			out.Agent = c
		case *contract.FailoverClient:
			out.Failover = c
		case *contract.CacheSyncClient:
			t.Cleanup(c.Close)
			out.CacheSync = c
		}
	}
	return out
}

// within bounds what must not take long. It is generous: only a hang comes to it.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
