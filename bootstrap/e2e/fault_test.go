package e2e_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// killPlugin is SIGKILL for a plugin of the node.
func killPlugin(t *testing.T, node *cluster.Node, name string) {
	t.Helper()
	status, err := node.Status(within(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, plugin := range status.GetPlugins() {
		if plugin.GetName() != name {
			continue
		}
		process, err := os.FindProcess(int(plugin.GetPid()))
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Kill(); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("%s has no plugin %s: %v", node.ID, name, status.GetPlugins())
}

// restarted waits until the node has started the plugin anew.
func restarted(t *testing.T, node *cluster.Node, name string) {
	t.Helper()
	eventually(t, name+" of "+node.ID+" is back", func() error {
		status, err := node.Status(t.Context())
		if err != nil {
			return err
		}
		for _, plugin := range status.GetPlugins() {
			if plugin.GetName() == name && plugin.GetRestarts() > 0 && plugin.GetPid() > 0 {
				return nil
			}
		}
		return fmt.Errorf("%v", status.GetPlugins())
	})
}

// TestPluginKilled: a plugin that dies at the master while files flow costs nothing; it is started anew, and there
// is one master in the end. The host stays.
func TestPluginKilled(t *testing.T) {
	for _, name := range []string{"failover", "cachesync"} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, cluster.Options{Nodes: 3})
			master := up(t, c)
			pid := master.PID()
			want := feed(t, c, "before", 200)
			killPlugin(t, master, name)
			for file, digest := range feed(t, c, "after", 200) {
				want[file] = digest
			}
			restarted(t, master, name)
			drained(t, c)
			settled(t, c)
			if !master.Running() || master.PID() != pid {
				t.Error("the host should have stayed")
			}
			stop(t, c)
			intact(t, c, want)
		})
	}
}

// TestStandbyPluginKilled: at a standby it is not even noticed.
func TestStandbyPluginKilled(t *testing.T) {
	for _, name := range []string{"failover", "cachesync"} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, cluster.Options{Nodes: 2})
			master := up(t, c)
			standby := c.Nodes[0]
			if standby == master {
				standby = c.Nodes[1]
			}
			want := feed(t, c, "file", 200)
			killPlugin(t, standby, name)
			restarted(t, standby, name)
			drained(t, c)
			if now := settled(t, c); now != master {
				t.Errorf("%s leads now, %s did before", now.ID, master.ID)
			}
			stop(t, c)
			intact(t, c, want)
		})
	}
}
