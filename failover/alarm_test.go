package failover_test

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/multicast"
)

var alarmTime = flag.Duration("alarm.time", 0, "for how long to look for false alarms; 0: not at all")

// TestFalseAlarms measures which delay is safe: three healthy nodes on the loopback interface for each delay, while
// every core is kept busy. Any takeover, and any claim, is a false alarm. It is no test of right or wrong and runs only
// when asked: go test ./failover -run FalseAlarms -v -alarm.time=10m
func TestFalseAlarms(t *testing.T) {
	if *alarmTime == 0 {
		t.Skip("give -alarm.time to measure")
	}
	ctx, cancel := context.WithTimeout(t.Context(), *alarmTime)
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	for range runtime.NumCPU() {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				_ = n * n
			}
		})
	}
	for i, delay := range []time.Duration{20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, time.Second} {
		all.Go(func() {
			promotions, demotions := countRoles(ctx, t, delay, 20000+i)
			t.Logf("delay %v, retries 5, %v with every core busy: promotions %d, the first included; demotions %d", delay, *alarmTime, promotions, demotions)
		})
	}
}

// countRoles runs three nodes until ctx ends.
func countRoles(ctx context.Context, t *testing.T, delay time.Duration, port int) (promotions, demotions int) {
	var nodes sync.WaitGroup
	var mu sync.Mutex
	for _, id := range []string{"a", "b", "c"} {
		cfg := failover.DefaultConfig()
		cfg.NodeID, cfg.Cluster, cfg.Delay, cfg.Port, cfg.Interface, cfg.Evidence = id, "alarms", delay, port, "lo", false
		transport, err := multicast.Open(multicast.Config{Group: cfg.Group, Port: port, Interface: "lo", TTL: 1})
		if err != nil {
			t.Error(err)
			return 0, 0
		}
		node, err := failover.NewNode(cfg, transport, &memoryStore{}, slog.New(slog.NewTextHandler(io.Discard, nil)), nil, nil)
		if err != nil {
			t.Error(err)
			return 0, 0
		}
		nodes.Go(func() {
			if err := node.Run(ctx); err != nil {
				t.Error(err)
			}
			_ = transport.Close()
		})
		nodes.Go(func() {
			ticker := time.NewTicker(delay / 2)
			defer ticker.Stop()
			for ctx.Err() == nil {
				_, _ = node.Report(ctx, ready())
				<-ticker.C
			}
		})
		nodes.Go(func() {
			master := false
			for {
				state, changed := node.State()
				if leads := state.Role == election.Master; leads != master && ctx.Err() == nil {
					master = leads
					mu.Lock()
					if leads {
						promotions++
					} else {
						demotions++
					}
					mu.Unlock()
				}
				select {
				case <-changed:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	nodes.Wait()
	return promotions, demotions
}
