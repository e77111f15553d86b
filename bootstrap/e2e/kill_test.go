package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// kills is how often TestKillMaster kills.
const kills = 20

// TestKillMaster kills the master twenty times, each time at a random moment while files flow, and starts it again
// once another has taken over. Nothing may be lost, nothing come twice, and there are exactly twenty takeovers.
// UNDERSTUDY_SEED repeats a run's moments.
func TestKillMaster(t *testing.T) {
	seed := seedFor(t)
	random := rand.New(rand.NewPCG(seed, 0))
	c := newCluster(t, cluster.Options{Nodes: 3})
	up(t, c)

	want := map[string]string{}
	ctx, cancel := context.WithCancel(t.Context())
	var feeder sync.WaitGroup
	defer feeder.Wait()
	defer cancel()
	feeder.Go(func() { keepFeeding(ctx, t, c, want) })

	journals := c.Journals()
	for kill := 1; kill <= kills; kill++ {
		// The moment is counted from a write, so that the kill meets a node at work.
		master := writer(t, journals, "", time.Time{})
		<-time.After(time.Duration(random.Int64N(int64(300 * time.Millisecond))))
		killed := time.Now()
		c.Node(master).Kill()
		next := writer(t, journals, master, killed)
		t.Logf("kill %2d: %s -> %s, first output after %d ms", kill, master, next, time.Since(killed).Milliseconds())
		if err := c.Node(master).Start(); err != nil {
			t.Fatal(err)
		}
		// The promise is for one fault at a time: the next comes when all mirrors are in sync again.
		settled(t, c)
	}
	cancel()
	feeder.Wait()
	drained(t, c)
	stop(t, c)
	result := intact(t, c, want)
	t.Logf("messages=%d lost=%d duplicated=%d takeovers=%d", result.Messages, result.Lost, result.Duplicated, result.Takeovers())
	if result.Takeovers() != kills {
		t.Errorf("%d takeovers, want %d; the terms that wrote: %v", result.Takeovers(), kills, result.Terms)
	}
}

// keepFeeding feeds files, never many ahead of the nodes, until ctx ends. want is its own until then.
func keepFeeding(ctx context.Context, t *testing.T, c *cluster.Cluster, want map[string]string) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for i := 0; ; {
		waiting, err := c.Waiting()
		if err != nil {
			t.Error(err)
			return
		}
		for ; waiting < 50; waiting++ {
			if err := feedOne(c, want, fmt.Sprintf("file-%06d", i), fmt.Appendf(nil, "content of %d", i)); err != nil {
				t.Error(err)
				return
			}
			i++
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// writer waits for a write that is not by the node not, and is later than after, and returns the node.
func writer(t *testing.T, journals *cluster.Journals, not string, after time.Time) string {
	t.Helper()
	var found string
	eventually(t, "another node writes", func() error {
		writes, err := journals.Next()
		for _, w := range writes {
			if w.Node != not && w.Time().After(after) {
				found = w.Node
			}
		}
		if err == nil && found == "" {
			err = fmt.Errorf("none so far")
		}
		return err
	})
	return found
}

func seedFor(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("UNDERSTUDY_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("UNDERSTUDY_SEED: %v", err)
		}
	}
	t.Logf("UNDERSTUDY_SEED=%d", seed)
	return seed
}
