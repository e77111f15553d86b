package e2e_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// library makes a lib folder with copies of the real plugins, changes it, and writes the checksums of what came of
// it. Without the change's consent (checksums false) they are those from before.
func library(t *testing.T, checksums bool, change func(lib string) error) cluster.Binaries {
	t.Helper()
	binaries := binaries(t)
	lib := filepath.Join(t.TempDir(), "lib")
	if err := os.CopyFS(lib, os.DirFS(binaries.Lib)); err != nil {
		t.Fatal(err)
	}
	if err := change(lib); err != nil {
		t.Fatal(err)
	}
	if checksums {
		if err := cluster.WriteChecksums(lib); err != nil {
			t.Fatal(err)
		}
	}
	binaries.Lib = lib
	return binaries
}

// script puts a shell script in the place of a plugin.
func script(name, text string) func(lib string) error {
	return func(lib string) error {
		return os.WriteFile(filepath.Join(lib, name), []byte("#!/bin/sh\n"+text), 0o755)
	}
}

// TestBadPlugin: a plugin that is not what it should be is one clear error, and nothing is left running.
func TestBadPlugin(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the bad plugins are shell scripts")
	}
	tests := []struct {
		name   string
		change func(lib string) error
		// stale leaves SHA256SUMS as it was.
		stale bool
		says  []string
	}{
		{
			name:   "missing",
			change: func(lib string) error { return os.Remove(filepath.Join(lib, "failover")) },
			says:   []string{"failover", "cachesync"},
		},
		{
			name:   "not executable",
			change: func(lib string) error { return os.Chmod(filepath.Join(lib, "failover"), 0o644) },
			says:   []string{"failover", "execut"},
		},
		{
			name: "wrong checksum", stale: true,
			change: func(lib string) error {
				file, err := os.OpenFile(filepath.Join(lib, "cachesync"), os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					return err
				}
				_, err = file.WriteString("one more byte")
				return errors.Join(err, file.Close())
			},
			says: []string{"cachesync", "SHA256SUMS"},
		},
		{
			name: "no checksum", stale: true,
			change: func(lib string) error { return os.WriteFile(filepath.Join(lib, "SHA256SUMS"), nil, 0o644) },
			says:   []string{"SHA256SUMS"},
		},
		{name: "exits at once", change: script("failover", "exit 3\n"), says: []string{"failover"}},
		{
			name: "exits at once, with a reason", change: script("cachesync", "echo no such thing >&2\nexit 3\n"),
			says: []string{"cachesync", "no such thing"},
		},
		{name: "prints to stdout", change: script("failover", "echo hello there\nexec sleep 600\n"), says: []string{"failover", "hello there"}},
		{name: "hangs", change: script("failover", "exec sleep 600\n"), says: []string{"failover", "plugin.start.timeout"}},
		{name: "hangs, and has a child", change: script("cachesync", "sleep 600\n"), says: []string{"cachesync"}},
		{
			name:   "speaks another version",
			change: script("failover", "echo '1|99|unix|/nowhere/at/all.sock|grpc|'\nexec sleep 600\n"),
			says:   []string{"failover", "99"},
		},
		{
			name: "is not a plugin",
			change: func(lib string) error {
				return os.WriteFile(filepath.Join(lib, "failover"), []byte("just text"), 0o755)
			},
			says: []string{"failover"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t, cluster.Options{
				Nodes:      1,
				Binaries:   library(t, !test.stale, test.change),
				Properties: map[string]string{"plugin.start.timeout": "2s"},
			})
			node := c.Nodes[0]
			refused(t, node, []int{1, 2}, test.says, "bootstrap.properties")
			if strings.Contains(node.Log.String(), "Promoted to Master node") {
				t.Error("it was promoted")
			}
		})
	}
}

// TestUnloadableFactory: a cluster without its gate would be worse than none.
func TestUnloadableFactory(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 1})
	refused(t, c.Nodes[0], []int{1, 2}, []string{"failoever", "failover", "cachesync"}, "-Dprofiler.plugin.factory=failoever", "bootstrap.properties")
}

// TestJavaFactory: the property files of an Interlok installation mean the same as ever.
func TestJavaFactory(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 1})
	node := c.Nodes[0]
	if err := os.Remove(node.ConfigFile("profiler.properties")); err != nil {
		t.Fatal(err)
	}
	text := "com.adaptris.profiler.plugin.factory=com.adaptris.failover.plugin.FailoverInterlokPluginFactory\n"
	if err := os.WriteFile(node.ConfigFile("interlok-profiler.properties"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	up(t, c)
	stop(t, c)
}

// TestNoFactory: without a factory the adapter starts at once, alone, and says so.
func TestNoFactory(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 1})
	node := c.Nodes[0]
	if err := os.Remove(node.ConfigFile("profiler.properties")); err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	want := feed(t, c, "alone", 20)
	drained(t, c)
	var warned bool
	for _, line := range node.Log.Lines(0) {
		warned = warned || line.Level == "WARN" && strings.Contains(line.Raw, "profiler.plugin.factory")
	}
	if !warned {
		t.Error("no warning that names profiler.plugin.factory")
	}
	stop(t, c)
	intact(t, c, want)
}
