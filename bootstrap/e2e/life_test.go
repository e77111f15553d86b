package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

// TestCleanStop: SIGTERM ends the master with exit code 0 after what is under way, another goes on, and nothing is
// lost or doubled. The old master comes back as a standby.
func TestCleanStop(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 2})
	master := up(t, c)
	want := feed(t, c, "before", 200)
	journals := c.Journals()
	writer(t, journals, "", time.Time{})
	if err := master.Terminate(); err != nil {
		t.Fatal(err)
	}
	code, err := master.Wait(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	for name, digest := range feed(t, c, "after", 50) {
		want[name] = digest
	}
	drained(t, c)
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	if next := settled(t, c); next == master {
		t.Error("the old master has taken its place back: mastership should be sticky")
	}
	stop(t, c)
	if result := intact(t, c, want); result.Takeovers() != 1 {
		t.Errorf("%d takeovers, want 1; the terms that wrote: %v", result.Takeovers(), result.Terms)
	}
}

// TestSecondSignal: whoever does not want to wait for a clean stop says so once more.
func TestSecondSignal(t *testing.T) {
	dir := t.TempDir()
	c := newCluster(t, cluster.Options{
		Nodes: 1, Dir: dir,
		Properties: map[string]string{"stop.timeout": "10m"},
		Adapter: strings.Replace(cluster.Adapter(dir, cluster.AdapterOptions{}), "          services:\n",
			"          services:\n            - id: slow\n              sleep:\n                duration: 1h\n", 1),
	})
	node := up(t, c)
	feed(t, c, "stuck", 1)
	eventually(t, "the message is in the slow service", func() error {
		status, err := node.Status(t.Context())
		if err != nil {
			return err
		}
		for _, workflow := range status.GetWorkflows() {
			if workflow.GetInFlight() == 1 {
				return nil
			}
		}
		return fmt.Errorf("none in flight: %v", status.GetWorkflows())
	})
	if err := node.Terminate(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it stops", func() error {
		status, err := node.Status(t.Context())
		if err == nil && !strings.Contains(status.GetPhase(), "stopping") {
			err = fmt.Errorf("phase %q", status.GetPhase())
		}
		return err
	})
	if err := node.Terminate(); err != nil {
		t.Fatal(err)
	}
	code, err := node.Wait(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if code == 0 {
		t.Error("exit code 0 though a message was cut off")
	}
}

// TestSeedLines: the log says what Interlok's says, when it says it; and a standby says nothing more until it is
// promoted.
func TestSeedLines(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 2, Properties: map[string]string{"log.level": "info"}})
	master := up(t, c)
	standby := c.Nodes[0]
	if standby == master {
		standby = c.Nodes[1]
	}
	common := []string{
		"Creating listener...", "Creating broadcaster...", "Started listener", "Started broadcaster",
		"Failover Manager has started",
	}
	promoted := []string{"Promoted to Master node", "Failover Manager has been promoted"}
	inOrder(t, master, 0, append(common, promoted...))
	inOrder(t, standby, 0, common)

	said := standby.Log.Len()
	want := feed(t, c, "quiet", 200)
	drained(t, c)
	for _, line := range standby.Log.Lines(said) {
		t.Errorf("a standby should be silent, it said: %s", line.Raw)
	}
	for _, line := range standby.Log.Lines(0) {
		if strings.Contains(line.Msg, "romoted") {
			t.Errorf("the standby was not promoted, and says: %s", line.Raw)
		}
	}

	said = standby.Log.Len()
	master.Kill()
	ctx := within(t)
	if _, err := standby.Log.Await(ctx, said, promoted[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := standby.Log.Await(ctx, said, "[ClosedState] Started [Adapter(e2e)]"); err != nil {
		t.Error(err)
	}
	inOrder(t, standby, said, promoted)
	stop(t, c)
	intact(t, c, want)
}

// inOrder wants the texts among the messages of a log, one after the other, each as the beginning of a line.
func inOrder(t *testing.T, node *cluster.Node, from int, texts []string) {
	t.Helper()
	lines := node.Log.Lines(from)
	for _, text := range texts {
		found := false
		for i, line := range lines {
			if strings.HasPrefix(line.Msg, text) {
				lines, found = lines[i+1:], true
				if line.Attrs["node"] != node.ID {
					t.Errorf("%s: the line %q has node=%v", node.ID, line.Msg, line.Attrs["node"])
				}
				break
			}
		}
		if !found {
			t.Errorf("%s: no line %q, or not in its place", node.ID, text)
		}
	}
}

// TestStatus: every node answers who leads and how things are, people and programs.
func TestStatus(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 2})
	master := up(t, c)
	want := feed(t, c, "counted", 30)
	drained(t, c)
	for _, node := range c.Nodes {
		status, err := node.Status(within(t))
		if err != nil {
			t.Fatal(err)
		}
		role := failoverv1.Role_ROLE_STANDBY
		if node == master {
			role = failoverv1.Role_ROLE_MASTER
		}
		if status.GetNodeId() != node.ID || status.GetCluster() != c.Name || status.GetMasterId() != master.ID ||
			status.GetRole() != role || status.GetGateOpen() != (node == master) || int(status.GetPid()) != node.PID() {
			t.Errorf("%s: status is wrong: %v", node.ID, status)
		}
		if n := len(status.GetElection().GetPeers()); n != 1 {
			t.Errorf("%s: the election sees %d peers, want 1", node.ID, n)
		}
		names := map[string]bool{}
		for _, plugin := range status.GetPlugins() {
			names[plugin.GetName()] = plugin.GetPid() > 0
		}
		if !names["failover"] || !names["cachesync"] {
			t.Errorf("%s: plugins: %v", node.ID, status.GetPlugins())
		}
		if node != master {
			continue
		}
		if len(status.GetWorkflows()) != 1 || status.GetWorkflows()[0].GetProduced() != 30 {
			t.Errorf("%s: workflows: %v, want one that has produced 30", node.ID, status.GetWorkflows())
		}
		if status.GetStepEvents() == 0 {
			t.Errorf("%s: no step events though all aspects are woven", node.ID)
		}
	}
	text, err := master.Command(within(t), "status")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{master.ID, "master", c.Name} {
		if !strings.Contains(text, word) {
			t.Errorf("bootstrap status does not say %q:\n%s", word, text)
		}
	}
	stop(t, c)
	intact(t, c, want)
}
