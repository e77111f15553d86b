package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/failover/memnet"
	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/plugins/contract/contracttest"
)

// TestContractOfBinaryInterlok is TestContractOfBinary as a member of an Interlok cluster.
func TestContractOfBinaryInterlok(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the plugin")
	}
	if runtime.GOOS != "linux" {
		t.Skip("the loopback interface is named lo only on Linux")
	}
	binary := filepath.Join(t.TempDir(), name)
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		t.Fatal(err)
	}
	contracttest.RunBinary(t, binary, contracttest.Config{Properties: map[string]string{
		"failover.wire": "interlok", "failover.interface": "lo", "failover.group": "239.255.77.9", "failover.port": "27109", "failover.ttl": "0",
		"failover.ping.interval.seconds": "1", "failover.instance.timeout.seconds": "3",
	}})
}

// TestWire: the property decides which node is made, and a word that nobody knows makes none.
func TestWire(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the loopback interface is named lo only on Linux")
	}
	properties := map[string]string{
		"failover.wire": "interlok", "failover.interface": "lo", "failover.group": "239.255.77.9", "failover.port": "27119", "failover.ttl": "0",
		"failover.secondary.position": "2",
	}
	p := newPlugin(quietly(), overMemnet(memnet.New(1)), nil)
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	if _, err := p.Premain(t.Context(), contract.Premain{NodeID: "a", Cluster: "orders", DataDir: t.TempDir(), Properties: properties}); err != nil {
		t.Fatal(err)
	}
	status, err := p.Status(t.Context())
	if err != nil || !strings.HasPrefix(status.Transport, "interlok, ") || status.Priority != -2 {
		t.Errorf("status %+v, %v; want a member of an Interlok cluster in position 2", status, err)
	}
	if err := p.Pause(t.Context(), true); err == nil || !strings.Contains(err.Error(), "interlok") {
		t.Errorf("a pause says %v, want that this wire has no word for it", err)
	}

	for wire, fault := range map[string]string{"jgroups": "failover.wire", "interlok": "failover.members"} {
		p := newPlugin(quietly(), overMemnet(memnet.New(1)), nil)
		_, err := p.Premain(t.Context(), contract.Premain{
			NodeID: "a", Cluster: "orders", DataDir: t.TempDir(), Properties: map[string]string{"failover.wire": wire, "failover.members": "3"},
		})
		if err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("failover.wire=%s with voters: %v, want a fault of %s", wire, err, fault)
		}
	}
}
