package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// newExclusive builds the program that must run once, and makes a folder for it.
func newExclusive(t *testing.T) *cluster.Exclusive {
	t.Helper()
	binaries(t) // or skip
	e, err := cluster.NewExclusive(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// worker waits until the program works on another node than not, and returns which.
func worker(t *testing.T, e *cluster.Exclusive, not string) string {
	t.Helper()
	var node string
	eventually(t, "the program works", func() error {
		lines, err := e.Next()
		for _, w := range lines {
			if w.What == "beat" && w.Node != not {
				node = w.Node
			}
		}
		if err == nil && node == "" {
			err = errors.New("it does not")
		}
		return err
	})
	return node
}

// alone checks that never two have worked at one time.
func alone(t *testing.T, e *cluster.Exclusive) {
	t.Helper()
	faults, err := e.Overlaps()
	if err != nil {
		t.Error(err)
	}
	for _, fault := range faults {
		t.Error(fault)
	}
}

func programCluster(t *testing.T, e *cluster.Exclusive, flags string, properties map[string]string) *cluster.Cluster {
	t.Helper()
	// Those that hear no signal would have the whole of stop.timeout in the end.
	all := map[string]string{"workload.command": e.Command(flags), "stop.timeout": "1s"}
	for key, value := range properties {
		all[key] = value
	}
	c := newCluster(t, cluster.Options{Nodes: 2, Properties: all})
	for _, node := range c.Nodes {
		if err := os.Remove(node.ConfigFile("adapter.yaml")); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	leader(t, c)
	return c
}

// leader waits until one leads and the other one stands by.
func leader(t *testing.T, c *cluster.Cluster) *cluster.Node {
	t.Helper()
	master, err := c.Master(within(t))
	if err != nil {
		t.Fatal(err)
	}
	return master
}

// TestProgramHostKilled: the host of a program that hears no SIGTERM, and has a child that has run away, is killed
// again and again. The other node has it within the stop's deadline, because the closed socket says that nothing is
// left, and never do two of them work at one time.
func TestProgramHostKilled(t *testing.T) {
	e := newExclusive(t)
	c := programCluster(t, e, "-deaf", map[string]string{"workload.stop.timeout": "200ms"})
	for range 3 {
		master := leader(t, c)
		if at := worker(t, e, ""); at != master.ID {
			t.Fatalf("the program works on %s, and %s leads", at, master.ID)
		}
		steady(t, c, master)
		from := lengths(c)
		killed := time.Now()
		master.Kill()
		next := c.Node(worker(t, e, master.ID))
		t.Logf("%s -> %s, at work after %s", master.ID, next.ID, time.Since(killed).Round(time.Millisecond))
		promotedBecause(t, next, from[next], "the master's process is gone")
		if err := master.Start(); err != nil {
			t.Fatal(err)
		}
	}
	leader(t, c)
	stop(t, c)
	alone(t, e)
}

// TestProgramHostFrozen: a host that stands still loses its program before another node may begin, and does not start it
// again when it wakes up.
func TestProgramHostFrozen(t *testing.T) {
	e := newExclusive(t)
	c := programCluster(t, e, "-deaf", nil)
	master := leader(t, c)
	worker(t, e, "")
	from := lengths(c)
	if err := master.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	next := c.Node(worker(t, e, master.ID))
	promotedBecause(t, next, from[next], "the master is silent")
	if err := master.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if now := leader(t, c); now != next {
		t.Errorf("%s leads after the old master woke up", now.ID)
	}
	stop(t, c)
	alone(t, e)
}

// TestProgramStatus: a clean stop lets the program say goodbye, the status names it, and the standby has not started it.
func TestProgramStatus(t *testing.T) {
	e := newExclusive(t)
	c := programCluster(t, e, "", nil)
	master := leader(t, c)
	worker(t, e, "")
	for _, node := range c.Nodes {
		status, err := node.Status(within(t))
		if err != nil {
			t.Fatal(err)
		}
		p := status.GetProgram()
		if runs := p.GetState() == "running"; runs != (node == master) || runs != (p.GetPid() != 0) || p.GetShimPid() == 0 {
			t.Errorf("%s: %v", node.ID, p)
		}
		if text, err := node.Command(within(t), "status"); err != nil || !strings.Contains(text, e.Binary) || !strings.Contains(text, "0 restarts") {
			t.Errorf("%s: %v\n%s", node.ID, err, text)
		}
	}
	stop(t, c)
	if _, err := master.Log.Await(within(t), 0, "goodbye"); err != nil {
		t.Error(err)
	}
	for _, node := range c.Nodes {
		if node == master {
			continue
		}
		for _, line := range node.Log.Lines(0) {
			if strings.HasPrefix(line.Msg, "at work") {
				t.Errorf("the standby has started it: %s", line.Raw)
			}
		}
	}
	alone(t, e)
}

// TestProgramFails: a node on which the program does not stay up gives the role to another, and does not take it back
// at once.
func TestProgramFails(t *testing.T) {
	e := newExclusive(t)
	c := programCluster(t, e, "-fail-on node-1", map[string]string{"workload.restart.max": "1", "workload.cooldown": "1h"})
	if at := worker(t, e, ""); at != "node-2" {
		t.Fatalf("it works on %s", at)
	}
	eventually(t, "node-1 stands by", func() error {
		if master := leader(t, c); master.ID != "node-2" {
			return fmt.Errorf("%s leads", master.ID)
		}
		return nil
	})
	stop(t, c)
	alone(t, e)
}

// TestProgramConfiguration: what cannot be is refused before anything starts, with the numbers.
func TestProgramConfiguration(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 1})
	node := c.Nodes[0]
	for _, test := range []struct {
		want string
		args []string
	}{
		{"workload.stop.timeout=10s does not fit into the lease: failover.delay 1s x failover.retries 5 = 5s",
			[]string{"-Dworkload.stop.timeout=10s", "bootstrap.properties", "--", "/bin/true"}},
		{"cluster.name: a program has no id", []string{"-Dcluster.name=", "bootstrap.properties", "--", "/bin/true"}},
		{"-- needs a program", []string{"bootstrap.properties", "--"}},
		{"a node has one workload", []string{"-Dadapter.config=adapter.yaml", "bootstrap.properties", "--", "/bin/true"}},
		{`workload.stop.signal: "SIGNONE" is no signal`, []string{"-Dworkload.stop.signal=SIGNONE", "bootstrap.properties", "--", "/bin/true"}},
	} {
		from := node.Log.Len()
		if err := node.StartArgs(test.args...); err != nil {
			t.Fatal(err)
		}
		code, err := node.Wait(within(t))
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		for _, line := range node.Log.Lines(from) {
			said.WriteString(line.Raw + "\n")
		}
		if code != 2 || !strings.Contains(said.String(), test.want) {
			t.Errorf("%q: exit code %d, %s", test.args, code, said.String())
		}
	}
	out, err := node.Command(within(t), "-configcheck", "bootstrap.properties", "--", "/bin/echo", "a b")
	if err != nil || !strings.Contains(out, `configuration is sound: program ["/bin/echo" "a b"], cluster `+c.Name) {
		t.Errorf("%v: %s", err, out)
	}
	// Without an election it runs at once; when its work is done for good the node goes on, and ends as it is told.
	from := node.Log.Len()
	if err := os.Remove(node.ConfigFile("profiler.properties")); err != nil {
		t.Fatal(err)
	}
	if err := node.StartArgs("-Dworkload.restart=on-failure", "bootstrap.properties", "--", "/bin/sh", "-c", "echo alone: $UNDERSTUDY_TERM"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"alone: 0", "the program's work is done"} {
		if _, err := node.Log.Await(within(t), from, want); err != nil {
			t.Fatal(err)
		}
	}
	stop(t, c)
	// One that cannot be kept running ends such a node.
	if err := node.StartArgs("-Dworkload.restart=never", "bootstrap.properties", "--", "/bin/false"); err != nil {
		t.Fatal(err)
	}
	if code, err := node.Wait(within(t)); err != nil || code != 1 {
		t.Errorf("exit code %d, %v", code, err)
	}
}
