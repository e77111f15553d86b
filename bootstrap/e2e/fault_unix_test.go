//go:build unix

package e2e_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// TestMasterFrozen: a master that stands still loses its place. When it goes on it writes nothing more, and stays as
// a standby.
func TestMasterFrozen(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 3})
	master := up(t, c)
	journals := c.Journals()
	want := feed(t, c, "before", 200)
	first := writer(t, journals, "", time.Time{})
	if first != master.ID {
		t.Fatalf("%s writes, %s leads", first, master.ID)
	}
	if err := master.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// Whoever takes over must be seen before the old master wakes up.
	writer(t, journals, master.ID, time.Time{})
	if err := master.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for file, digest := range feed(t, c, "after", 200) {
		want[file] = digest
	}
	drained(t, c)
	if now := settled(t, c); now == master {
		t.Error("the frozen master leads again")
	}
	stop(t, c)
	intact(t, c, want)
}
