package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
	"github.com/understudy-ha/understudy/failover/interlok/interloktest"
)

// interlokGroup is the default of the group in this mode. On lo and with a time to live of 0 nothing leaves the machine.
const interlokGroup = "224.0.0.4"

// interlokProperties make the nodes members of an Interlok cluster, with short times that a busy machine still
// keeps. The two that no property sets remain: a member listens for 5 s, and looks every 5 s whether it should move up.
func interlokProperties() map[string]string {
	return map[string]string{
		"failover.wire": "interlok", "failover.ttl": "0",
		"failover.ping.interval.seconds": "1", "failover.instance.timeout.seconds": "5",
	}
}

// TestInterlokWire: two nodes of an Interlok cluster. The primary is killed while files wait, and the other one leads.
// Nothing is lost, and nothing comes twice.
func TestInterlokWire(t *testing.T) {
	t.Parallel()
	c := newCluster(t, cluster.Options{Nodes: 2, Properties: interlokProperties()})
	killInterlokPrimary(t, c, func(node *cluster.Node) error { return node.Start() })
}

// TestInterlokTCP is the same over a connection for each ping, as Java has it.
func TestInterlokTCP(t *testing.T) {
	t.Parallel()
	ports := freeTCPPorts(t, 2)
	properties := interlokProperties()
	properties["failover.socket.mode"], properties["failover.tcp.host"] = "tcp", "127.0.0.1"
	properties["failover.tcp.peers"] = "127.0.0.1:" + ports[0] + ";127.0.0.1:" + ports[1]
	c := newCluster(t, cluster.Options{Nodes: 2, Properties: properties})
	killInterlokPrimary(t, c, func(node *cluster.Node) error {
		return node.Start("-Dfailover.tcp.port=" + ports[slices.Index(c.Nodes, node)])
	})
}

// killInterlokPrimary is the story of both transports.
func killInterlokPrimary(t *testing.T, c *cluster.Cluster, start func(*cluster.Node) error) {
	t.Helper()
	for _, node := range c.Nodes {
		if err := start(node); err != nil {
			t.Fatal(err)
		}
	}
	primary, secondary := interlokPair(t, c)
	if err := c.InSync(within(t), primary, 1); err != nil {
		t.Fatal(err)
	}
	checkPatience(t, primary)

	want := feed(t, c, "before", 500)
	journals := c.Journals()
	writer(t, journals, "", time.Time{})
	from, killed := secondary.Log.Len(), time.Now()
	primary.Kill()
	line, err := secondary.Log.Await(within(t), from, "Promoting to PRIMARY")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s leads %v after the kill of %s", secondary.ID, line.Time.Sub(killed).Round(time.Millisecond), primary.ID)
	for name, digest := range feed(t, c, "after", 100) {
		want[name] = digest
	}
	drained(t, c)

	// Who was killed comes back as a secondary.
	if err := start(primary); err != nil {
		t.Fatal(err)
	}
	if leads, _ := interlokPair(t, c); leads != secondary {
		t.Errorf("%s leads, want %s: nobody takes the role from a healthy primary", leads.ID, secondary.ID)
	}
	stop(t, c)
	result := intact(t, c, want)
	t.Logf("messages=%d lost=%d duplicated=%d takeovers=%d", result.Messages, result.Lost, result.Duplicated, result.Takeovers())
	if result.Takeovers() != 1 {
		t.Errorf("%d takeovers, want 1; the terms that wrote: %v", result.Takeovers(), result.Terms)
	}
}

// TestInterlokHandover: a primary of ours can be told to hand over, though the others are known by other ids than the
// mirror has, and are heard less often than the host reports.
func TestInterlokHandover(t *testing.T) {
	t.Parallel()
	c := newCluster(t, cluster.Options{Nodes: 2, Properties: interlokProperties()})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	primary, secondary := interlokPair(t, c)
	if err := c.InSync(within(t), primary, 1); err != nil {
		t.Fatal(err)
	}
	want := feed(t, c, "before", 50)
	from := secondary.Log.Len()
	done := handOver(t, primary)
	t.Logf("%s leads %v after the resignation", secondary.ID, time.Duration(done.GetTakeoverNanos()).Round(time.Millisecond))
	if _, err := secondary.Log.Await(within(t), from, "Promoting to PRIMARY"); err != nil {
		t.Fatal(err)
	}
	for name, digest := range feed(t, c, "after", 50) {
		want[name] = digest
	}
	drained(t, c)
	stop(t, c)
	intact(t, c, want)
}

// TestForeignPrimary: pings of a Java primary, at bytes, keep the real node waiting; when they end it leads.
func TestForeignPrimary(t *testing.T) {
	t.Parallel()
	properties := interlokProperties()
	properties["failover.secondary.position"] = "1"
	c := newCluster(t, cluster.Options{Nodes: 1, Properties: properties})
	node := c.Nodes[0]
	java := startJavaPrimary(t, property(t, node, "failover.port"))
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	want := feed(t, c, "waits", 1)
	// Without the pings it would lead after its listening, its timeout and two polls at the latest.
	const wouldLead = (5 + 5 + 2*5 + 1) * time.Second
	eventually(t, "the node has stood by for "+wouldLead.String(), func() error {
		status, err := node.Status(t.Context())
		if err != nil {
			return err
		}
		if cluster.Leads(status) {
			t.Fatalf("it leads beside a living primary: %v", status)
		}
		if alive := time.Duration(status.GetUptimeNanos()); alive < wouldLead {
			return fmt.Errorf("it runs for %v", alive)
		}
		if status.GetMasterId() != java.id {
			t.Fatalf("it follows %q, want %s", status.GetMasterId(), java.id)
		}
		return nil
	})
	if waiting, err := c.Waiting(); err != nil || waiting != 1 {
		t.Errorf("%d files wait, %v; want the one that nobody may take", waiting, err)
	}

	java.stop()
	drained(t, c)
	stop(t, c)
	intact(t, c, want)
}

// interlokPair waits until one of two nodes leads and the other one follows somebody: on this wire a node is known by
// the id of its instance, not by its own.
func interlokPair(t *testing.T, c *cluster.Cluster) (primary, secondary *cluster.Node) {
	t.Helper()
	eventually(t, "one leads and one follows", func() error {
		primary, secondary = nil, nil
		for _, node := range c.Nodes {
			status, err := node.Status(t.Context())
			switch {
			case err != nil:
				return err
			case cluster.Leads(status) && primary != nil:
				return fmt.Errorf("%s and %s both lead", primary.ID, node.ID)
			case cluster.Leads(status):
				primary = node
			case status.GetMasterId() != "":
				secondary = node
			}
		}
		if primary == nil || secondary == nil {
			return errors.New("not yet")
		}
		return nil
	})
	return primary, secondary
}

// checkPatience: the times that people are shown are those of the mode.
func checkPatience(t *testing.T, node *cluster.Node) {
	t.Helper()
	status, err := node.Status(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := time.Duration(status.GetPatienceNanos()), 15*time.Second; got != want {
		t.Errorf("patience %v, want %v: the timeout and two polls", got, want)
	}
	if transport := status.GetElection().GetTransport(); !strings.HasPrefix(transport, "interlok, ") {
		t.Errorf("transport %q, want Interlok's wire", transport)
	}
}

// freeTCPPorts finds ports of 127.0.0.1 that nobody uses.
func freeTCPPorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range n {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		_, port, err := net.SplitHostPort(listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port)
	}
	return ports
}

// javaPrimary is a Java member at bytes, on loopback.
type javaPrimary struct {
	id   string
	stop func()
}

// startJavaPrimary sends what a primary of interlok-failover sends, until it is stopped.
func startJavaPrimary(t *testing.T, port string) javaPrimary {
	t.Helper()
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	sender := ipv4.NewPacketConn(socket)
	group, err := net.ResolveUDPAddr("udp4", net.JoinHostPort(interlokGroup, port))
	if err := errors.Join(err, sender.SetMulticastInterface(loopback), sender.SetMulticastLoopback(true), sender.SetMulticastTTL(0)); err != nil {
		t.Fatal(err)
	}
	java := interloktest.NewJava(interloktest.Config{
		Host: "127.0.0.1", UUID: [16]byte{1, 6: 0x40, 8: 0x80}, Primary: true, Interval: time.Second, Timeout: 5 * time.Second,
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		origin, ticker := time.Now(), time.NewTicker(100*time.Millisecond)
		defer ticker.Stop()
		for {
			for _, ping := range java.Advance(time.Since(origin)) {
				if _, err := sender.WriteTo(ping, nil, group); err != nil {
					t.Error(err)
				}
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	})
	stop := sync.OnceFunc(func() { cancel(); running.Wait(); _ = socket.Close() })
	t.Cleanup(stop)
	return javaPrimary{id: java.UUID(), stop: stop}
}
