package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProgramInAnInterlokCluster: a program has to end within the lease that Interlok's times leave, not within
// failover.delay x failover.retries.
func TestProgramInAnInterlokCluster(t *testing.T) {
	t.Chdir(t.TempDir())
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	check := func(lines ...string) (int, string) {
		lines = append(lines, "cluster.name=orders", "profiler.plugin.factory=failover", "workload.command="+filepath.ToSlash(self), "failover.wire=interlok")
		if err := os.WriteFile("bootstrap.properties", []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errs := runMain(t)("-configcheck")
		return code, out + errs
	}
	if code, text := check("workload.stop.timeout=2700"); code != exitOK {
		t.Errorf("exit code %d: %s", code, text)
	}
	const want = "bootstrap.properties:1: workload.stop.timeout=2.8s does not fit into the lease of 9s that failover.ping.interval.seconds"
	if code, text := check("workload.stop.timeout=2800"); code != exitUsage || !strings.Contains(text, want) {
		t.Errorf("exit code %d, want a fault that says %q: %s", code, want, text)
	}
	if code, text := check("workload.stop.timeout=2700", "failover.retries=3", "failover.delay=100"); code != exitOK ||
		!strings.Contains(text, "warning: bootstrap.properties:2: failover.retries: means nothing with failover.wire=interlok") {
		t.Errorf("exit code %d, want a warning about failover.retries: %s", code, text)
	}
}
