package netns_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// works waits until the program works on one of the nodes, and returns which.
func works(t *testing.T, s *stage, e *cluster.Exclusive, on []*cluster.Node) *cluster.Node {
	t.Helper()
	var node *cluster.Node
	s.eventually("the program works", func() error {
		lines, err := e.Next()
		for _, w := range lines {
			for _, n := range on {
				if w.What == "beat" && w.Node == n.ID {
					node = n
				}
			}
		}
		if err == nil && node == nil {
			err = errors.New("it does not")
		}
		return err
	})
	return node
}

// TestProgramPartition: a master with a quorum is cut off, and cut off again after the network has healed. Its shim ends
// the program, which hears no SIGTERM and has a child that has run away, before the majority starts it, though the host
// lives and works. Never do two of them work at one time, on a folder that both can reach.
func TestProgramPartition(t *testing.T) {
	needNetwork(t)
	e, err := cluster.NewExclusive(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	properties := map[string]string{
		"failover.members": "3", "workload.command": e.Command("-deaf"), "workload.stop.timeout": "500ms", "stop.timeout": "1s",
		"failover.delay": "300", "failover.retries": "6",
	}
	s := layOut(t, 3, properties)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	master := works(t, s, e, s.Nodes)
	for range 2 {
		pid := master.PID()
		others := s.others(master)
		cut := time.Now()
		s.net.cut(master.ID)
		next := works(t, s, e, others)
		t.Logf("%s is cut off: at work on %s after %s", master.ID, next.ID, time.Since(cut).Round(time.Millisecond))
		if status, err := master.Status(t.Context()); err != nil {
			t.Error(err)
		} else if p := status.GetProgram(); p.GetPid() != 0 || status.GetGateOpen() {
			t.Errorf("%s is cut off, and its program is %v", master.ID, p)
		}
		s.net.mend(master.ID)
		s.eventually("the old master follows", func() error {
			status, err := master.Status(t.Context())
			if err == nil && status.GetMasterId() != next.ID {
				err = fmt.Errorf("it follows %q", status.GetMasterId())
			}
			return err
		})
		if master.PID() != pid || !master.Running() {
			t.Errorf("%s has not stayed in its process", master.ID)
		}
		master = next
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	faults, err := e.Overlaps()
	if err != nil {
		t.Error(err)
	}
	for _, fault := range faults {
		t.Error(fault)
	}
}
