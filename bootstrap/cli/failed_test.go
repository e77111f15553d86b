package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// lone is a node without an election that runs in this process.
type lone struct {
	t   *testing.T
	dir string
	log lockedBuffer
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// startLone starts a node with an adapter file, in which DIR is a folder of the test.
func startLone(t *testing.T, adapterFile string) *lone {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("unix sockets in long paths")
	}
	dir, err := os.MkdirTemp("", "lone") //nolint:usetesting // short, for the control socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n := &lone{t: t, dir: dir}
	n.write("bootstrap.properties", "data.dir="+dir+"/data\nstop.timeout=5s\n")
	n.write("adapter.yaml", strings.ReplaceAll(adapterFile, "DIR", dir))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		var out bytes.Buffer
		ended <- Main(ctx, Process{
			Args: []string{"-cp", dir, "bootstrap.properties"}, Env: noEnv, Stdout: &out, Stderr: &n.log,
		})
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != exitOK {
			t.Errorf("the node ended with %d", code)
		}
		if t.Failed() {
			t.Log(n.log.String())
		}
	})
	n.eventually("the node works", func() bool {
		var list struct{ Master bool }
		_, out, _ := n.ask("failed", "list", "-o", "json")
		return json.Unmarshal([]byte(out), &list) == nil && list.Master
	})
	return n
}

func noEnv(string) (string, bool) { return "", false }

func (n *lone) write(name, content string) {
	n.t.Helper()
	path := filepath.Join(n.dir, name)
	part := filepath.Join(n.dir, "part") // Not in the folder that is watched.
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(part, []byte(content), 0o644), os.Rename(part, path)); err != nil {
		n.t.Fatal(err)
	}
}

// eventually waits for what another goroutine does.
func (n *lone) eventually(what string, holds func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("not in time: %s\n%s", what, n.log.String())
		}
	}
}

func (n *lone) exists(name string) bool {
	_, err := os.Stat(filepath.Join(n.dir, name))
	return err == nil
}

// ask runs a subcommand.
func (n *lone) ask(args ...string) (code int, out, log string) {
	n.t.Helper()
	var stdout, stderr bytes.Buffer
	code = Main(n.t.Context(), Process{Args: append([]string{"-cp", n.dir}, args...), Env: noEnv, Stdout: &stdout, Stderr: &stderr})
	return code, stdout.String(), stderr.String()
}

// expect runs a subcommand and looks for texts in what it prints.
func (n *lone) expect(code int, args []string, want ...string) string {
	n.t.Helper()
	got, out, log := n.ask(args...)
	if got != code {
		n.t.Errorf("%v: exit code %d, want %d\n%s%s", args, got, code, out, log)
	}
	for _, w := range want {
		if !strings.Contains(out+log, w) {
			n.t.Errorf("%v: no %q in\n%s%s", args, w, out, log)
		}
	}
	return out
}

const failingAdapter = `
adapter:
  id: orders
  on-error: store
  failed: {max-messages: 3}
  channels:
  - id: files
    workflows:
    - id: w
      consumer: {fs: {directory: DIR/in, create: true, poll: 5ms}}
      services: [{id: parse, mapping: "root = this.merge({\"seen\": true})"}]
      producer: {fs: {directory: DIR/out, create: true, name: "${! meta(\"message-id\") }"}}
`

func TestFailedCommands(t *testing.T) {
	n := startLone(t, failingAdapter)
	n.expect(exitOK, []string{"failed", "list"}, "which leads", "no message waits")
	for _, name := range []string{"a", "b", "c"} {
		n.write("in/"+name, "no JSON: "+name)
	}
	type message struct {
		MessageID, Workflow, ErrorStep, Error, Folder string
		Mirrored, Held                                bool
	}
	var list struct {
		Master   bool
		Messages []message
	}
	n.eventually("three are stored", func() bool {
		_, out, _ := n.ask("failed", "list", "-o", "json")
		list.Messages = nil
		return json.Unmarshal([]byte(out), &list) == nil && len(list.Messages) == 3
	})
	first := list.Messages[0]
	if !list.Master || first.Workflow != "w" || first.ErrorStep != "parse" || first.Mirrored || first.Held || !strings.Contains(first.Error, "parse as json") {
		t.Errorf("%+v", list)
	}
	n.expect(exitOK, []string{"failed", "list"}, "MESSAGE", first.MessageID, "node only", "parse: ")
	n.expect(exitOK, []string{"failed", "show", first.MessageID}, "no JSON: ", "fs_name = ", "a retry begins:", "from the start", first.Folder)

	// The store is full: the next one is not acknowledged, and its file stays.
	n.write("in/d", "no JSON: d")
	n.eventually("the fourth is refused", func() bool { return strings.Contains(n.log.String(), "failed.max-messages is 3") })
	if !n.exists("in/d") && !n.exists("in/d.wip") {
		t.Error("a message that could not be stored was acknowledged")
	}
	n.expect(exitError, []string{"failed", "retry", first.MessageID}, "failed again: parse: ")
	// Mended by hand.
	if err := os.WriteFile(filepath.Join(first.Folder, "payload.blob"), []byte(`{"id": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	n.expect(exitOK, []string{"failed", "retry", first.MessageID}, "message "+first.MessageID+": done")
	if got, err := os.ReadFile(filepath.Join(n.dir, "out", first.MessageID)); err != nil || string(got) != `{"id":1,"seen":true}` {
		t.Errorf("%s, %v", got, err)
	}
	n.expect(exitOK, []string{"failed", "drop", list.Messages[1].MessageID}, "dropped")
	n.expect(exitError, []string{"failed", "drop", list.Messages[1].MessageID, "nonsense"},
		list.Messages[1].MessageID, `no failed message has this id: "nonsense"`, "bootstrap failed list shows")
	n.eventually("the fourth is stored, as there is room", func() bool { return !n.exists("in/d") && !n.exists("in/d.wip") })
	n.expect(exitOK, []string{"failed", "drop", "--all"}, "dropped")
	n.expect(exitOK, []string{"failed", "list"}, "no message waits")

	n.expect(exitUsage, []string{"failed"}, "usage: bootstrap failed list | show ID | retry ID... | drop ID...")
	n.expect(exitUsage, []string{"failed", "retry"}, "which message?")
	n.expect(exitUsage, []string{"failed", "drop", "--all", "x"}, "want one of both")
	n.expect(exitUsage, []string{"failed", "list", "-o", "xml"}, "want text or json")
	n.expect(exitError, []string{"failed", "show", "nonsense"}, "no failed message has this id")
}

func TestFailedWithoutNode(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bootstrap.properties"), []byte("data.dir="+dir), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, log bytes.Buffer
	code := Main(t.Context(), Process{Args: []string{"-cp", dir, "failed", "list"}, Env: noEnv, Stdout: &out, Stderr: &log})
	if code != exitError || !strings.Contains(log.String(), "no node answers on "+dir+"/control.sock") {
		t.Errorf("%d %s%s", code, out.String(), log.String())
	}
}
