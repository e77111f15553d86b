package tcp_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/election"
)

const delay = 100 * time.Millisecond

// member is a node of an election over tcp.
type member struct {
	*failover.Node
	stop func()
}

func (m *member) leads() bool {
	state, _ := m.State()
	return state.Role == election.Master
}

// enter starts a node on a fabric, with a host that could lead at any time.
func enter(t *testing.T, f *fabric, address string, quorum int, peers ...string) *member {
	t.Helper()
	transport := start(t, f, address, peers...)
	cfg := failover.DefaultConfig()
	cfg.NodeID, cfg.Cluster, cfg.Delay, cfg.Retries = "node-"+address, "orders", delay, 4
	cfg.Evidence, cfg.Members = false, quorum
	cfg.SocketMode, cfg.TCPPeers = failover.TCP, "see the transport"
	store, err := failover.OpenFileStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	origin := time.Now().Add(-time.Hour)
	node, err := failover.NewNode(cfg, transport, store, slog.New(slog.DiscardHandler), func() time.Duration { return time.Since(origin) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := node.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() {
		ticker := time.NewTicker(delay / 2)
		defer ticker.Stop()
		for ctx.Err() == nil {
			_, _ = node.Report(ctx, election.Host{CanLead: true, AtRest: true, InSync: true})
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
	})
	stop := sync.OnceFunc(func() {
		cancel()
		running.Wait()
		_ = transport.Close()
	})
	t.Cleanup(stop)
	return &member{node, stop}
}

// only returns the one that leads.
func only(t *testing.T, when string, members ...*member) *member {
	t.Helper()
	var leader *member
	for _, m := range members {
		if m.leads() {
			if leader != nil {
				t.Errorf("%s: two masters", when)
			}
			leader = m
		}
	}
	if leader == nil {
		t.Fatalf("%s: no master", when)
	}
	return leader
}

// TestElection: nodes that know only one of the others by their configuration elect a master, with and without a quorum,
// and another one when that has gone. One that starts late and knows one of them becomes known to all.
func TestElection(t *testing.T) {
	for _, quorum := range []int{0, 3} {
		t.Run(fmt.Sprint("members ", quorum), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric()
				a, b := enter(t, f, ipA, quorum, atB), enter(t, f, ipB, quorum, atA)
				c := enter(t, f, ipC, quorum, atA)
				pass(20 * delay)
				first := only(t, "after the start", a, b, c)
				var rest []*member
				for _, m := range []*member{a, b, c} {
					if m != first {
						rest = append(rest, m)
					}
					status, err := m.Status(t.Context())
					if err != nil || len(status.Peers) != 2 {
						t.Errorf("a node hears %d others: %v", len(status.Peers), err)
					}
				}
				first.stop()
				pass(20 * delay)
				only(t, "after the first master's end", rest...)
			})
		})
	}
}

// TestPartition: what is cut off on both sides comes together again when it is whole, and exactly one leads.
func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		a, b := enter(t, f, ipA, 0, atA, atB), enter(t, f, ipB, 0, atA, atB)
		pass(20 * delay)
		only(t, "after the start", a, b)
		f.split(ipA, ipB)
		pass(20 * delay)
		if !a.leads() || !b.leads() {
			t.Error("without a quorum both sides go on")
		}
		f.heal()
		pass(5 * time.Second)
		only(t, "after it has healed", a, b)
	})
}
