package e2e_test

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// ehcacheXML is the file of Interlok's documentation, with another group and port.
const ehcacheXML = `<?xml version="1.0" encoding="UTF-8"?>
<ehcache updateCheck="true" monitoring="autodetect">
  <cacheManagerPeerProviderFactory class="net.sf.ehcache.distribution.RMICacheManagerPeerProviderFactory"
    properties="peerDiscovery=automatic, multicastGroupAddress=230.0.0.9, multicastGroupPort=%d" propertySeparator=","/>
  <cacheManagerPeerListenerFactory class="net.sf.ehcache.distribution.RMICacheManagerPeerListenerFactory"
    properties="socketTimeoutMillis=200"/>
  <cache name="FAILOVER_CACHE" maxEntriesLocalHeap="10" eternal="true" timeToIdleSeconds="0" timeToLiveSeconds="0">
    <cacheEventListenerFactory class="net.sf.ehcache.distribution.RMICacheReplicatorFactory"
      properties="replicateAsynchronously=false, replicatePuts=true, replicateUpdates=true, replicateRemovals=true"/>
  </cache>
</ehcache>
`

// freePort is a UDP port that nobody uses.
func freePort(t *testing.T) int {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).Port
}

// TestEhcache: an ehcache.xml in the config folder, as every Interlok node with failover has one, says where the mirrors
// meet. It wins over the defaults, and a property that somebody has set wins over it, even with a default's value.
func TestEhcache(t *testing.T) {
	port := freePort(t)
	c := newCluster(t, cluster.Options{Nodes: 2, Properties: map[string]string{"cachesync.port": ""}})
	for _, node := range c.Nodes {
		if err := os.WriteFile(node.ConfigFile("ehcache.xml"), fmt.Appendf(nil, ehcacheXML, port), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(node *cluster.Node, group string) {
		t.Helper()
		status, err := node.Status(within(t))
		if err != nil {
			t.Fatal(err)
		}
		file, err := filepath.EvalSymlinks(node.ConfigFile("ehcache.xml"))
		if err != nil {
			t.Fatal(err)
		}
		said, err := filepath.EvalSymlinks(status.GetMirror().GetEhcache())
		if err != nil || said != file || status.GetMirror().GetGroup() != group {
			t.Errorf("%s: group %s of %s, want %s of %s (%v)", node.ID, status.GetMirror().GetGroup(), said, group, file, err)
		}
		text, err := node.Command(within(t), "status")
		if err != nil || !strings.Contains(text, "peers are found by "+group) || !strings.Contains(text, "ehcache.xml") {
			t.Errorf("%s: %v: status says:\n%s", node.ID, err, text)
		}
	}
	group := "230.0.0.9:" + strconv.Itoa(port)
	master := up(t, c) // in sync, so they have met there
	for _, node := range c.Nodes {
		check(node, group)
		line, err := node.Log.Await(within(t), 0, "the defaults are those of ehcache.xml")
		if err != nil || line.Attrs["group"] != group {
			t.Errorf("%s: %v, %v", node.ID, line.Raw, err)
		}
	}
	want := feed(t, c, "file", 100)
	drained(t, c)

	standby := c.Nodes[0]
	if standby == master {
		standby = c.Nodes[1]
	}
	if err := standby.Terminate(); err != nil {
		t.Fatal(err)
	}
	if _, err := standby.Wait(within(t)); err != nil {
		t.Fatal(err)
	}
	other := freePort(t)
	if err := standby.Start("-Dcachesync.group=230.0.0.1", "-Dcachesync.port="+strconv.Itoa(other)); err != nil {
		t.Fatal(err)
	}
	eventually(t, standby.ID+" answers", func() error {
		_, err := standby.Status(t.Context())
		return err
	})
	check(standby, "230.0.0.1:"+strconv.Itoa(other))
	stop(t, c)
	intact(t, c, want)
}

// TestInterface: failover.interface means the same to the election, the mirror and the liveness socket, also where it is
// an address or a network.
func TestInterface(t *testing.T) {
	for _, spec := range []string{"127.0.0.1", "127.0.0.0/8"} {
		t.Run(strings.ReplaceAll(spec, "/", "-"), func(t *testing.T) {
			c := newCluster(t, cluster.Options{Nodes: 2, Interface: spec})
			master := up(t, c)
			for _, node := range c.Nodes {
				if node == master {
					continue
				}
				eventually(t, node.ID+" watches the master's process", func() error {
					status, err := node.Status(t.Context())
					w := status.GetElection().GetWatched()
					if err == nil && (!w.GetConnected() || !strings.HasPrefix(w.GetAddress(), "127.0.0.1:")) {
						err = fmt.Errorf("it watches %v", w)
					}
					return err
				})
			}
			stop(t, c)
		})
	}
}

// heldAdapter holds messages with names that begin with held in a service, and acknowledges the source as soon as the
// mirror has a message, so that the mirror is the only place where it is.
func heldAdapter(dir string) string {
	text := cluster.Adapter(dir, cluster.AdapterOptions{Pool: 32})
	text = strings.Replace(text, "          consumer:\n", "          acknowledge: early\n          consumer:\n", 1)
	hold := fmt.Sprintf(`            - id: hold
              switch:
                - check: this.name.has_prefix("held") && file(path:%q, no_cache:true).string().catch("") == "hold"
                  processors: [{sleep: {duration: 1h}}]
          producer:
`, filepath.ToSlash(filepath.Join(dir, "hold")))
	return strings.Replace(text, "          producer:\n", hold, 1)
}

// killAll is SIGKILL for every process of every node, plugins first, without a pause between two.
func killAll(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	var pids []int
	for _, node := range c.Nodes {
		status, err := node.Status(within(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, plugin := range status.GetPlugins() {
			pids = append(pids, int(plugin.GetPid()))
		}
	}
	for _, node := range c.Nodes {
		pids = append(pids, node.PID())
	}
	for _, pid := range pids {
		process, err := os.FindProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Kill(); err != nil {
			t.Errorf("kill process %d: %v", pid, err)
		}
	}
	for _, node := range c.Nodes {
		if _, err := node.Wait(within(t)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiskSurvivesTheCluster: with cachesync.store=disk the loss of all nodes at once costs nothing. Some messages are
// in flight in a service, others wherever the kill meets them, and no source has any of them still.
func TestDiskSurvivesTheCluster(t *testing.T) {
	const held = 12
	dir := t.TempDir()
	c := newCluster(t, cluster.Options{
		Nodes: 3, Dir: dir, Adapter: heldAdapter(dir), Properties: map[string]string{"cachesync.store": "disk"},
	})
	hold := filepath.Join(dir, "hold")
	if err := os.WriteFile(hold, []byte("hold"), 0o600); err != nil {
		t.Fatal(err)
	}
	master := up(t, c)
	want := feed(t, c, "held", held)
	drained(t, c)
	eventually(t, "they are in flight", func() error {
		status, err := master.Status(t.Context())
		if n := status.GetMirror().GetEntries(); err == nil && n != held {
			err = fmt.Errorf("%d are", n)
		}
		return err
	})
	maps.Copy(want, feed(t, c, "flow", 3000))
	journals := c.Journals()
	eventually(t, "files come out", func() error {
		writes, err := journals.Next()
		if err == nil && len(writes) == 0 {
			err = errors.New("none so far")
		}
		return err
	})
	killAll(t, c)
	writes, err := c.Journals().Next()
	if err != nil {
		t.Fatal(err)
	}
	if len(writes) >= 3000 {
		t.Error("everything had come out before the kill")
	}
	if err := os.Remove(hold); err != nil {
		t.Fatal(err)
	}

	from := map[string]int{}
	for _, node := range c.Nodes {
		from[node.ID] = node.Log.Len()
	}
	master = up(t, c)
	for _, node := range c.Nodes {
		line, err := node.Log.Await(within(t), from[node.ID], "mirror: recovered from disk")
		if err != nil {
			t.Fatal(err)
		}
		found, _ := line.Attrs["messages"].(float64)
		t.Logf("%s found %v messages on its disk", node.ID, line.Attrs["messages"])
		if found < held {
			t.Errorf("%s has found %v messages, %d were held: %s", node.ID, line.Attrs["messages"], held, line.Raw)
		}
	}
	line, err := master.Log.Await(within(t), from[master.ID], "the mirror has been taken over")
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := line.Attrs["in_flight"].(float64); n < held {
		t.Errorf("%s has taken %v messages over, want at least %d", master.ID, line.Attrs["in_flight"], held)
	}
	drained(t, c)
	eventually(t, "nothing is in flight", func() error {
		status, err := master.Status(t.Context())
		if n := status.GetMirror().GetEntries(); err == nil && n != 0 {
			err = fmt.Errorf("%d messages are", n)
		}
		return err
	})
	stop(t, c)
	result := intact(t, c, want)
	t.Logf("%d of %d had come out before the kill; terms %v", len(writes), result.Messages, result.Terms)
}
