package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/ipv4"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// shout sends datagrams to a cluster's group and port on loopback.
func shout(t *testing.T, port string, datagrams [][]byte) {
	t.Helper()
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skipf("no interface lo: %v", err)
	}
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	sender := ipv4.NewPacketConn(socket)
	if err := sender.SetMulticastInterface(loopback); err != nil {
		t.Fatal(err)
	}
	if err := sender.SetMulticastLoopback(true); err != nil {
		t.Fatal(err)
	}
	group, err := net.ResolveUDPAddr("udp4", "230.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	for _, datagram := range datagrams {
		if _, err := sender.WriteTo(datagram, nil, group); err != nil {
			t.Fatal(err)
		}
	}
}

// property reads a value from the node's bootstrap.properties.
func property(t *testing.T, node *cluster.Node, key string) string {
	t.Helper()
	content, err := os.ReadFile(node.ConfigFile("bootstrap.properties"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(content), "\n") {
		if value, found := strings.CutPrefix(line, key+"="); found {
			return value
		}
	}
	t.Fatalf("%s has no %s", node.ConfigFile("bootstrap.properties"), key)
	return ""
}

// garbage is what strangers send: random bytes of all lengths, and Interlok's packets of 24 and 70 bytes.
func garbage(random *rand.Rand) [][]byte {
	var datagrams [][]byte
	for i := range 500 {
		datagram := make([]byte, random.IntN(1400))
		for j := range datagram {
			datagram[j] = byte(random.Uint32())
		}
		datagrams = append(datagrams, datagram)
		if i%50 == 0 {
			datagrams = append(datagrams, nil, make([]byte, 24), make([]byte, 70), make([]byte, 60000))
		}
	}
	return datagrams
}

// TestStrangers: datagrams that are not ours are counted and dropped. Work goes on, and nobody changes the role.
func TestStrangers(t *testing.T) {
	seed := seedFor(t)
	c := newCluster(t, cluster.Options{Nodes: 2})
	master := up(t, c)
	want := feed(t, c, "noise", 300)
	for _, key := range []string{"failover.port", "cachesync.port"} {
		shout(t, property(t, master, key), garbage(rand.New(rand.NewPCG(seed, 1))))
	}
	drained(t, c)
	for _, node := range c.Nodes {
		eventually(t, "the strangers are counted", func() error {
			status, err := node.Status(t.Context())
			if err != nil {
				return err
			}
			if total(status.GetElection().GetDropped()) == 0 || total(status.GetMirror().GetDropped()) == 0 {
				return fmt.Errorf("%s: dropped by the election %v, by the mirror %v", node.ID,
					status.GetElection().GetDropped(), status.GetMirror().GetDropped())
			}
			return nil
		})
	}
	if now := settled(t, c); now != master {
		t.Errorf("%s leads now, %s did before", now.ID, master.ID)
	}
	stop(t, c)
	intact(t, c, want)
}

// TestOtherCluster: two clusters on the same group and ports stay strangers, and both have a master.
func TestOtherCluster(t *testing.T) {
	one := newCluster(t, cluster.Options{Nodes: 2})
	ports := map[string]string{}
	for _, key := range []string{"failover.port", "cachesync.port"} {
		ports[key] = property(t, one.Nodes[0], key)
	}
	two := newCluster(t, cluster.Options{Nodes: 2, Properties: ports})
	up(t, one)
	up(t, two)
	for _, c := range []*cluster.Cluster{one, two} {
		want := feed(t, c, filepath.Base(c.Name), 50)
		drained(t, c)
		stop(t, c)
		intact(t, c, want)
	}
}

func total(counts map[string]uint64) uint64 {
	var sum uint64
	for _, count := range counts {
		sum += count
	}
	return sum
}
