package e2e_test

import (
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// TestCrashIsEvident: at the default delay and retries the crash of a master's process is no matter of seconds. The
// next master says that it leads because the process was gone, not because it was silent.
func TestCrashIsEvident(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 3})
	master := up(t, c)
	want := feed(t, c, "before", 200)
	writer(t, c.Journals(), "", time.Time{})
	steady(t, c, master)
	from := lengths(c)
	killed := time.Now()
	master.Kill()
	next := settled(t, c)
	at := promotedBecause(t, next, from[next], "the master's process is gone")
	// The bound is that of silence, not what is expected.
	if took := at.Sub(killed); took > 5*time.Second {
		t.Errorf("%s was promoted after %v", next.ID, took)
	}
	for name, digest := range feed(t, c, "after", 50) {
		want[name] = digest
	}
	drained(t, c)
	stop(t, c)
	if result := intact(t, c, want); result.Takeovers() != 1 {
		t.Errorf("%d takeovers, want 1; the terms that wrote: %v", result.Takeovers(), result.Terms)
	}
}

// TestNoEvidence: with failover.evidence=false there is no liveness socket, and a crash is noticed by silence.
func TestNoEvidence(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 2, Properties: map[string]string{"failover.evidence": "false"}})
	master := up(t, c)
	for _, node := range c.Nodes {
		status, err := node.Status(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if w := status.GetElection().GetWatched(); w != nil {
			t.Errorf("%s watches %v", node.ID, w)
		}
	}
	from := lengths(c)
	master.Kill()
	next := settled(t, c)
	promotedBecause(t, next, from[next], "the master is silent")
	stop(t, c)
}

// promotedBecause checks the cause that a node gives for its promotion, and returns when that was.
func promotedBecause(t *testing.T, node *cluster.Node, from int, cause string) time.Time {
	t.Helper()
	line, err := node.Log.Await(within(t), from, promotion)
	if err != nil {
		t.Fatal(err)
	}
	if line.Attrs["cause"] != cause {
		t.Errorf("%s was promoted because %q, want %q", node.ID, line.Attrs["cause"], cause)
	}
	return line.Time
}
