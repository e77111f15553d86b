//go:build unix

package e2e_test

import (
	"syscall"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// TestFrozenIsNotGone: the kernel of a process that stands still accepts connections for it. That is no evidence, so
// its silence counts, and when it wakes up it stands down.
func TestFrozenIsNotGone(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 3})
	master := up(t, c)
	steady(t, c, master)
	from := lengths(c)
	if err := master.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	next := successor(t, c, master)
	promotedBecause(t, next, from[next], "the master is silent")
	if err := master.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if leads := settled(t, c); leads != next {
		t.Errorf("%s leads after the old master woke up, want %s", leads.ID, next.ID)
	}
	stop(t, c)
}
