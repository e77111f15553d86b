package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// storingAdapter takes files that are JSON; what is none ends in the failed-message store. DIR is the cluster's folder.
const storingAdapter = `adapter:
  id: e2e
  on-error: store
  channels:
    - id: files
      workflows:
        - id: in-to-out
          pool: 2
          consumer: {fs: {directory: DIR/in, poll: 20ms}}
          services:
            - {id: parse, mapping: "root = this.merge({\"name\": meta(\"fs_name\")})"}
          producer: {fs: {directory: DIR/out, name: "${! meta(\"message-id\") }", journal: data/journal.log}}
`

// failedMessage is an entry of bootstrap failed list -o json.
type failedMessage struct {
	MessageID, ErrorStep, Folder string
	Attempts                     int
	Mirrored, Held               bool
}

// failedMessages returns an error if the node does not work.
func failedMessages(tb testing.TB, node *cluster.Node) ([]failedMessage, error) {
	tb.Helper()
	out, err := node.Command(within(tb), "failed", "list", "-o", "json")
	if err != nil {
		tb.Fatal(err)
	}
	var list struct {
		Master   bool
		Messages []failedMessage
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		tb.Fatal(err)
	}
	if !list.Master {
		return nil, errors.New("it is not at work")
	}
	return list.Messages, nil
}

// waiting waits until a node is at work and says that so many messages wait for an operator.
func waiting(tb testing.TB, node *cluster.Node, n int) (list []failedMessage) {
	tb.Helper()
	eventually(tb, fmt.Sprintf("%d messages wait on %s", n, node.ID), func() error {
		var err error
		if list, err = failedMessages(tb, node); err == nil && len(list) != n {
			err = fmt.Errorf("%d do", len(list))
		}
		return err
	})
	return list
}

// A failed message is not lost with the node that it failed on: the next master has it, and can try it again. The node
// that returns learns what has become of it.
func TestFailedMessagesOutliveTheirNode(t *testing.T) {
	dir := t.TempDir()
	c := newCluster(t, cluster.Options{Nodes: 2, Dir: dir, Adapter: strings.ReplaceAll(storingAdapter, "DIR", filepath.ToSlash(dir))})
	first := up(t, c)
	for name, content := range map[string]string{"good": `{"id": 1}`, "bad-1": "no JSON", "bad-2": "neither"} {
		if err := c.Feed(name, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range waiting(t, first, 2) {
		if m.ErrorStep != "parse" || !m.Mirrored || m.Held || m.Folder == "" || m.Attempts != 1 {
			t.Errorf("%+v", m)
		}
	}
	drained(t, c) // they are acknowledged
	first.Kill()
	second := settled(t, c)
	var list []failedMessage
	eventually(t, "the next master has them on its disk, too", func() error {
		list = waiting(t, second, 2)
		for _, m := range list {
			if m.ErrorStep != "parse" || !strings.HasPrefix(m.Folder, second.Dir) {
				return fmt.Errorf("%+v", m)
			}
		}
		return nil
	})
	if _, err := second.Command(within(t), "failed", "retry", list[0].MessageID); err == nil || !strings.Contains(err.Error(), "failed again: parse: ") {
		t.Errorf("retry of what is not mended: %v", err)
	}
	if err := os.WriteFile(filepath.Join(list[0].Folder, "payload.blob"), []byte(`{"id": 2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := second.Command(within(t), "failed", "retry", list[0].MessageID); err != nil || !strings.Contains(out, ": done") {
		t.Errorf("%s, %v", out, err)
	}
	if text, err := os.ReadFile(filepath.Join(c.Out, list[0].MessageID)); err != nil || !strings.Contains(string(text), `"id":2`) {
		t.Errorf("%s, %v", text, err)
	}

	// The first node comes back with both on its disk, and says that it does not lead.
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	settled(t, c)
	if out, err := first.Command(within(t), "failed", "list"); err != nil || !strings.Contains(out, "which does not lead: the list may be out of date, ask "+second.ID) {
		t.Errorf("%s, %v", out, err)
	}
	if _, err := first.Command(within(t), "failed", "drop", list[1].MessageID); err == nil || !strings.Contains(err.Error(), "only the master can do this, and that is "+second.ID) {
		t.Errorf("drop on a standby: %v", err)
	}
	eventually(t, "the role is handed over", func() error { // a node that has just started may not stand yet
		_, err := second.Command(within(t), "handover")
		return err
	})
	if master := settled(t, c); master != first {
		t.Fatalf("%s leads", master.ID)
	}
	// One was done by the other; that one is not tried twice.
	left := waiting(t, first, 1)
	if left[0].MessageID != list[1].MessageID {
		t.Errorf("left: %+v", left)
	}
	if _, err := first.Command(within(t), "failed", "drop", left[0].MessageID); err != nil {
		t.Error(err)
	}
	waiting(t, first, 0)
	stop(t, c)
	if n := len(written(t, c)); n != 2 {
		t.Errorf("%d files were written, want 2", n)
	}
}

// A workflow of the running master is stopped, started and changed, while files flow; nothing is lost, nothing twice.
func TestControlUnderLoad(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 2})
	master := up(t, c)
	want := map[string]string{}
	for i := range 6 {
		for name, sum := range feed(t, c, fmt.Sprint("load-", i), 150) {
			want[name] = sum
		}
		var args []string
		switch i % 3 {
		case 0:
			args = []string{"workflow", "stop", "in-to-out"}
		case 1:
			args = []string{"workflow", "start", "in-to-out"}
		default:
			file := master.ConfigFile("adapter.yaml")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(strings.Replace(string(text), "pool: 4", "pool: 3", 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			args = []string{"reload"}
		}
		if out, err := master.Command(within(t), args...); err != nil {
			t.Errorf("%s %v", out, err)
		}
	}
	if _, err := master.Command(within(t), "workflow", "start", "files/"); err != nil {
		t.Error(err)
	}
	drained(t, c)
	stop(t, c)
	intact(t, c, want)
}

const tickingAdapter = `adapter:
  id: e2e
  channels:
    - id: ticks
      workflows:
        - id: tick
          consumer: {cron: {schedule: "@every 1s", missed: once}}
          producer: {fs: {directory: DIR/out, journal: data/journal.log}}
`

// A schedule goes on with the next master, and no tick is done twice.
func TestTicksOnceInTheCluster(t *testing.T) {
	dir := t.TempDir()
	c := newCluster(t, cluster.Options{Nodes: 2, Dir: dir, Adapter: strings.ReplaceAll(tickingAdapter, "DIR", filepath.ToSlash(dir))})
	first := up(t, c)
	more := func(n int) {
		t.Helper()
		eventually(t, fmt.Sprintf("there are %d ticks", n), func() error {
			if have := len(written(t, c)); have < n {
				return fmt.Errorf("%d so far", have)
			}
			return nil
		})
	}
	for range 3 {
		more(len(written(t, c)) + 2)
		first.Kill()
		next := settled(t, c)
		more(len(written(t, c)) + 2)
		if err := first.Start(); err != nil {
			t.Fatal(err)
		}
		settled(t, c)
		first = next
	}
	stop(t, c)
	seen := map[string]bool{}
	for _, w := range written(t, c) {
		if !strings.HasPrefix(w.MessageID, "e2e/ticks/tick/consumer@20") || seen[w.MessageID] {
			t.Errorf("tick %s was done twice, or is none", w.MessageID)
		}
		seen[w.MessageID] = true
	}
}
