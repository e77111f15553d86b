package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// memoryLimit is what a node may use at most, whatever lies in its in folder. It is far above what it needs and far
// below the file that the test feeds.
const memoryLimit = 512 << 20

// TestOddFiles: an empty, an unreadable and a huge file do not stop the next one, and memory stays bounded.
func TestOddFiles(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 1})
	odd := map[string]func(path string) error{
		"empty": func(path string) error { return os.WriteFile(path, nil, 0o644) },
		// Sparse: it takes no room on the disk, and a gigabyte to whoever reads it.
		"huge": func(path string) error {
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				return err
			}
			return os.Truncate(path, 1<<30)
		},
		"folder": func(path string) error { return os.Mkdir(path, 0o755) },
		"dangling": func(path string) error {
			return os.Symlink(filepath.Join(c.Dir, "nowhere"), path)
		},
	}
	if os.Geteuid() != 0 && runtime.GOOS != "windows" {
		odd["unreadable"] = func(path string) error { return os.WriteFile(path, []byte("secret"), 0) }
	}
	for name, make := range odd {
		if err := make(filepath.Join(c.In, name)); err != nil {
			t.Fatal(err)
		}
	}
	node := up(t, c)
	want := feed(t, c, "usual", 50)
	eventually(t, "the usual files have come out", func() error {
		result, err := c.Verify(want)
		if err == nil && result.Lost > 0 {
			err = fmt.Errorf("%d are missing", result.Lost)
		}
		return err
	})
	eventually(t, "the huge file is in the bad folder, or reported", func() error {
		if entries, err := os.ReadDir(c.Bad); err == nil {
			for _, entry := range entries {
				if info, err := entry.Info(); err == nil && info.Size() == 1<<30 {
					return nil
				}
			}
		}
		for _, line := range node.Log.Lines(0) {
			if (line.Level == "WARN" || line.Level == "ERROR") && strings.Contains(line.Raw, "huge") {
				return nil
			}
		}
		return fmt.Errorf("neither")
	})
	if !node.Running() {
		t.Error("the node has ended")
	} else if peak, known := peakMemory(node.PID()); known && peak > memoryLimit {
		t.Errorf("the node has used %d MiB of memory, want at most %d", peak>>20, memoryLimit>>20)
	}
	stop(t, c)
	if result, err := c.Verify(want); err != nil || result.Duplicated > 0 || result.Lost > 0 {
		t.Errorf("lost=%d duplicated=%d %v", result.Lost, result.Duplicated, err)
	}
}

// peakMemory is the largest resident size that a process has had, in bytes; Linux only.
func peakMemory(pid int) (bytes int64, known bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	for _, line := range strings.Split(string(status), "\n") {
		if value, found := strings.CutPrefix(line, "VmHWM:"); found {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
			return kib << 10, err == nil
		}
	}
	return 0, false
}
