package cli

import (
	"os"
	"strings"
	"testing"
)

func TestConfigCheckOfAWitness(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(lines string) {
		if err := os.WriteFile("bootstrap.properties", []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ask := runMain(t)
	write("cluster.name=orders\nfailover.members=3\n")
	if code, out, errs := ask("-witness", "-configcheck"); code != exitOK || !strings.Contains(out, "a witness without an adapter, cluster orders") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	write("")
	code, _, errs := ask("-witness", "-configcheck")
	if code != exitUsage || !strings.Contains(errs, "cluster.name: a witness has no adapter") || !strings.Contains(errs, "failover.members: without it") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	write("cluster.name=orders\nfailover.members=3\nnode.id=w\nfailover.witness=w\n")
	if code, _, errs := ask("-configcheck"); code != exitUsage || !strings.Contains(errs, "profiler.plugin.factory: a witness takes part") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

// A program that is not there is a fault before anything has been started.
func TestProgramsThatAreMissing(t *testing.T) {
	t.Chdir(t.TempDir())
	lines := "cluster.name=orders\nfailover.members=3\nhooks.on.role=/none/hook up\nfailover.check=no-such-check\n"
	if err := os.WriteFile("bootstrap.properties", []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := runMain(t)("-witness", "-configcheck")
	for _, want := range []string{"bootstrap.properties:3: hooks.on.role: ", "/none/hook", "bootstrap.properties:4: failover.check: ", "no-such-check"} {
		if code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("exit code %d, %q is not in %s", code, want, errs)
		}
	}
}
