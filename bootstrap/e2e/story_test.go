package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// theater builds the demo beside the binaries and returns the command that plays it with so many messages in a
// folder of its own.
func theater(t *testing.T, messages int) (cmd *exec.Cmd, work string) {
	t.Helper()
	binaries(t)
	dist, err := distDir()
	if err != nil {
		t.Fatal(err)
	}
	demo := filepath.Join(dist, "e2e", "demo")
	if err := cluster.BuildCommand(t.Context(), demo, "bootstrap/e2e/demo"); err != nil {
		t.Fatal(err)
	}
	work = filepath.Join(t.TempDir(), "demo")
	cmd = exec.Command(demo, "-dist", dist, "-dir", work, "-messages", fmt.Sprint(messages))
	return cmd, work
}

var finale = regexp.MustCompile(`^demo: messages=(\d+) lost=0 duplicated=0 takeovers=2 crash_takeover_ms=\d+ handover_ms=\d+$`)

// checkFinale wants the good last line, once.
func checkFinale(t *testing.T, output string, messages int) {
	t.Helper()
	lines := strings.Split(strings.TrimRight(output, "\n"), "\n")
	last := finale.FindStringSubmatch(lines[len(lines)-1])
	if last == nil || last[1] != fmt.Sprint(messages) {
		t.Errorf("the demo's last line is wrong; its output:\n%s", output)
	}
	if n := strings.Count(output, "demo: messages="); n != 1 {
		t.Errorf("%d lines of result, want 1; output:\n%s", n, output)
	}
}

// nothingIn wants the folder of the demo to be gone, or empty.
func nothingIn(t *testing.T, work string) {
	t.Helper()
	entries, err := os.ReadDir(work)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Errorf("the demo has left %s behind", entry.Name())
	}
}

// TestStory is the main job: three nodes, one killed and one stopped while files flow, nothing lost, nothing twice.
func TestStory(t *testing.T) {
	cmd, work := theater(t, 600)
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("demo: %v", err)
	}
	checkFinale(t, string(output), 600)
	if !t.Failed() {
		nothingIn(t, work)
	}
}

// TestStoryTwiceAtOnce: demos do not disturb each other.
func TestStoryTwiceAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for range 2 {
		cmd, _ := theater(t, 300)
		wg.Go(func() {
			output, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("demo: %v", err)
			}
			checkFinale(t, string(output), 300)
		})
	}
}

// TestStoryInterrupted: after Ctrl-C nothing runs and nothing lies around.
func TestStoryInterrupted(t *testing.T) {
	cmd, work := theater(t, 2000)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	guard := context.AfterFunc(within(t), func() { _ = cmd.Process.Kill() })
	defer guard()
	var output strings.Builder
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		output.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "KILLED") {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d after Ctrl-C, want 130; output:\n%s", code, &output)
	}
	nothingIn(t, work)
	dist, err := distDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range runningFrom(dist) {
		t.Errorf("left running: %s", process)
	}
}

// TestExample: the configuration that make dist copies works as it is, as make run starts it.
func TestExample(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 1, Properties: map[string]string{}})
	node := c.Nodes[0]
	// Only the ports and the name differ, so that a node somebody plays with is not disturbed.
	own, err := os.ReadFile(node.ConfigFile("bootstrap.properties"))
	if err != nil {
		t.Fatal(err)
	}
	var flags []string
	for _, line := range strings.Split(string(own), "\n") {
		key, _, _ := strings.Cut(line, "=")
		switch key {
		case "cluster.name", "failover.port", "cachesync.port", "lib.dir", "log.format":
			flags = append(flags, "-D"+line)
		}
	}
	if err := os.RemoveAll(filepath.Join(node.Dir, "config")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(node.Dir, "config"), os.DirFS("../example")); err != nil {
		t.Fatal(err)
	}
	if err := node.Start(flags...); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the in folder is there", func() error {
		return os.WriteFile(filepath.Join(node.Dir, "in", "hello.txt"), []byte("hello"), 0o644)
	})
	eventually(t, "there is an output", func() error {
		// A node that has refused its configuration will never write one.
		if !node.Running() {
			t.Fatal("the example node has ended")
		}
		entries, err := os.ReadDir(filepath.Join(node.Dir, "out"))
		if err == nil && len(entries) == 0 {
			err = fmt.Errorf("out is empty")
		}
		return err
	})
	for _, line := range node.Log.Lines(0) {
		if line.Level == "WARN" && strings.Contains(line.Msg, "key") && !strings.HasPrefix(line.Msg, "failover.key.file is not set") {
			t.Errorf("warning about the example's properties: %s", line.Raw)
		}
	}
	stop(t, c)
}
