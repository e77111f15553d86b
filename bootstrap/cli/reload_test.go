//go:build unix

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReload(t *testing.T) {
	n := startLone(t, twoWorkflows)
	change := func(old, new string) {
		t.Helper()
		path := filepath.Join(n.dir, "adapter.yaml")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(text), old, new, 1)
		if changed == string(text) {
			t.Fatalf("no %q", old)
		}
		n.write("adapter.yaml", changed)
	}
	n.expect(exitOK, []string{"reload"}, "no workflow differs; nothing was changed")

	change("{id: one, ", `{id: one, services: [{mapping: "root = content().uppercase()"}], `)
	n.expect(exitOK, []string{"reload", "--dry-run"}, "would be changed: one", "as it was: two")
	n.write("in1/a", "a")
	n.eventually("a is produced", func() bool { return n.exists("out1/a") })
	if got, err := os.ReadFile(filepath.Join(n.dir, "out1/a")); err != nil || string(got) != "a" {
		t.Errorf("%s, %v: a dry run has changed something", got, err)
	}
	n.expect(exitOK, []string{"reload", "-o", "json"}, `"one"`, `"digest"`)
	n.write("in1/b", "b")
	n.eventually("b is produced", func() bool { return n.exists("out1/b") })
	if got, err := os.ReadFile(filepath.Join(n.dir, "out1/b")); err != nil || string(got) != "B" {
		t.Errorf("%s, %v", got, err)
	}

	// Resources come, and with them other components everywhere.
	change("  channels:\n", "  resources: {cache_resources: [{label: seen, memory: {}}]}\n  channels:\n")
	change("{id: two, ", `{id: two, services: [{dedupe: {cache: seen, key: "${! content() }"}}], `)
	n.expect(exitOK, []string{"reload"}, "changed: one, two")
	n.write("in2/c", "c")
	n.eventually("c is produced", func() bool { return n.exists("out2/c") })

	// Faults: all of them, and nothing is changed.
	change("mapping: \"root", "maping: \"root")
	change("cache: seen", "cache: sen")
	n.expect(exitError, []string{"reload"}, "nothing was changed:", `unknown type "maping"; did you mean "mapping"?`, `there is no cache resource "sen"; did you mean "seen"?`)
	n.write("in1/d", "d")
	n.eventually("d is produced", func() bool { return n.exists("out1/d") })
	change("id: orders", "id: other")
	change("maping: \"root", "mapping: \"root")
	change("cache: sen", "cache: seen")
	n.expect(exitError, []string{"reload"}, `adapter.id is "other", and was "orders"`, "restart to change it")

	// By signal, as a daemon is told.
	change("id: other", "id: orders")
	change("- {id: two, ", "- {id: three, ")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	n.eventually("the reload", func() bool {
		_, out, _ := n.ask("workflow", "list")
		return strings.Contains(out, "files/three") && !strings.Contains(out, "files/two")
	})
	n.write("in2/e", "e")
	n.eventually("e is produced", func() bool { return n.exists("out2/e") })
}
