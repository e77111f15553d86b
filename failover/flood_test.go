package failover_test

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/multicast"
	"github.com/understudy-ha/understudy/failover/wire"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

var (
	floodTime = flag.Duration("flood.time", 0, "for how long to flood a node with forged datagrams; 0: not at all")
	floodRate = flag.Int("flood.rate", 100_000, "how many a second")
)

const (
	floodDelay   = 100 * time.Millisecond
	floodAddress = "FLOOD_ADDRESS"
)

// TestFlood measures what forged datagrams do to a standby that hears a healthy master on the loopback interface. They
// name the cluster's key, which everybody can read, so that each has to be refused by its tag. It is no test of right or
// wrong and runs only when asked, the flood from another process: go test ./failover -run Flood -cpu 1 -v -flood.time=15s
func TestFlood(t *testing.T) {
	if *floodTime == 0 {
		t.Skip("give -flood.time to measure")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	master, _ := floodNode(ctx, t, &all, "master")
	if err := master.AwaitMaster(ctx); err != nil {
		t.Fatal(err)
	}
	standby, address := floodNode(ctx, t, &all, "standby")
	quiet := oldestSign(ctx, t, standby, *floodTime)

	flooder := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestFlooder$", "-flood.rate="+strconv.Itoa(*floodRate))
	flooder.Env = append(os.Environ(), floodAddress+"="+address)
	if err := flooder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = flooder.Process.Kill()
		_ = flooder.Wait()
	}()
	before, err := standby.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	loud := oldestSign(ctx, t, standby, *floodTime)
	took := time.Since(start)
	after, err := standby.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("refused as forged %.0f/s of %d/s; oldest sign of life of the master at a delay of %v: %v, without a flood %v; role %v, heartbeats and others received %d",
		float64(after.Dropped["forged"]-before.Dropped["forged"])/took.Seconds(), *floodRate,
		floodDelay, loud.Round(time.Millisecond), quiet.Round(time.Millisecond), after.State.Role, after.Received-before.Received)
}

func floodNode(ctx context.Context, t *testing.T, all *sync.WaitGroup, id string) (node *failover.Node, address string) {
	t.Helper()
	cfg := failover.DefaultConfig()
	cfg.NodeID, cfg.Cluster, cfg.Delay, cfg.Port, cfg.Interface, cfg.Evidence = id, "flood", floodDelay, 20010, "lo", false
	withKeys(1)(&cfg)
	transport, err := multicast.Open(multicast.Config{Group: cfg.Group, Port: cfg.Port, Interface: cfg.Interface, TTL: 1})
	if err != nil {
		t.Fatal(err)
	}
	node, err = failover.NewNode(cfg, transport, &memoryStore{}, slog.New(slog.NewTextHandler(io.Discard, nil)), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	all.Go(func() {
		if err := node.Run(ctx); err != nil {
			t.Error(err)
		}
		_ = transport.Close()
	})
	all.Go(func() {
		ticker := time.NewTicker(floodDelay / 2)
		defer ticker.Stop()
		for ctx.Err() == nil {
			_, _ = node.Report(ctx, ready())
			<-ticker.C
		}
	})
	return node, transport.Address()
}

// oldestSign looks for a while how old the last sign of life of the only peer gets.
func oldestSign(ctx context.Context, t *testing.T, node *failover.Node, d time.Duration) time.Duration {
	t.Helper()
	oldest := time.Duration(0)
	ticker := time.NewTicker(floodDelay / 10)
	defer ticker.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-ticker.C {
		status, err := node.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if status.State.Role == election.Master {
			t.Error("the standby has taken over from a healthy master")
			return oldest
		}
		for _, peer := range status.Peers {
			oldest = max(oldest, peer.Age)
		}
	}
	return oldest
}

// TestFlooder is the other process of TestFlood: it sends forged datagrams until it is ended.
func TestFlooder(t *testing.T) {
	address := os.Getenv(floodAddress)
	if address == "" {
		t.Skip("TestFlood starts it")
	}
	// The right key, and the wrong cluster: the tag is not what it should be.
	codec, err := wire.NewCodec("another", [][wire.KeySize]byte{{0: 1}})
	if err != nil {
		t.Fatal(err)
	}
	forged, err := codec.Encode(&failoverv1.Datagram{
		Cluster: "another", NodeId: "x", BootId: 1, Sequence: 1,
		About: &failoverv1.About{Hears: []string{"node-1", "node-2", "node-3", "node-4"}, AdapterDigest: "0123456789abcdef0123456789abcdef"},
		Body:  &failoverv1.Datagram_Presence{Presence: &failoverv1.Presence{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp4", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	start, pause := time.Now(), time.NewTicker(time.Millisecond)
	defer pause.Stop()
	// Its parent ends it; should that be gone, time does.
	for sent := 0; time.Since(start) < time.Hour; <-pause.C {
		for due := int(time.Since(start).Seconds() * float64(*floodRate)); sent < due; sent++ {
			if _, err := conn.Write(forged); err != nil && os.Getppid() == 1 {
				return
			}
		}
	}
}
