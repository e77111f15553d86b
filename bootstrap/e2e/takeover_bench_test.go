package e2e_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// BenchmarkTakeover is how long a cluster of three at the default delay and retries is without a master: from the
// signal, or the start of the first node, to the promotion, as the promoted node's log has it. It wants the machine
// for itself.
func BenchmarkTakeover(b *testing.B) {
	b.Run("crash", func(b *testing.B) {
		takeovers(b, func(master *cluster.Node) error {
			master.Kill()
			return nil
		})
	})
	b.Run("handover", func(b *testing.B) { takeovers(b, (*cluster.Node).Terminate) })
	b.Run("coldstart", coldStarts)
}

// promotion is the log line of a promotion.
const promotion = "Promoted to Master node"

// takeovers ends masters, each in its turn, and starts them again.
func takeovers(b *testing.B, end func(master *cluster.Node) error) {
	c := newCluster(b, cluster.Options{Nodes: 3})
	master := up(b, c)
	var took []time.Duration
	for b.Loop() {
		steady(b, c, master)
		from := lengths(c)
		signalled := time.Now()
		if err := end(master); err != nil {
			b.Fatal(err)
		}
		if _, err := master.Wait(within(b)); err != nil {
			b.Fatal(err)
		}
		next := settled(b, c)
		took = append(took, promoted(b, next, from[next]).Sub(signalled))
		if err := master.Start(); err != nil {
			b.Fatal(err)
		}
		master = settled(b, c)
	}
	report(b, took)
	stop(b, c)
}

func coldStarts(b *testing.B) {
	c := newCluster(b, cluster.Options{Nodes: 3})
	var took []time.Duration
	for b.Loop() {
		from := lengths(c)
		begun := time.Now()
		master := up(b, c)
		took = append(took, promoted(b, master, from[master]).Sub(begun))
		stop(b, c)
	}
	report(b, took)
}

func lengths(c *cluster.Cluster) map[*cluster.Node]int {
	from := map[*cluster.Node]int{}
	for _, node := range c.Nodes {
		from[node] = node.Log.Len()
	}
	return from
}

func promoted(tb testing.TB, node *cluster.Node, from int) time.Time {
	tb.Helper()
	line, err := node.Log.Await(within(tb), from, promotion)
	if err != nil {
		tb.Fatal(err)
	}
	return line.Time
}

// report gives the times under the names that are followed.
func report(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	var sum time.Duration
	for _, d := range took {
		sum += d
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(0, "ns/op") // That of the loop, which means nothing here.
	b.ReportMetric(ms(sum)/float64(len(took)), "ms/op")
	b.ReportMetric(ms(took[len(took)/2]), "median-ms")
	b.ReportMetric(ms(took[len(took)-1]), "max-ms")
}

// steady waits until every standby has met the process of the master, and is old enough to stand for election: for
// one delay after its start a node only listens.
func steady(tb testing.TB, c *cluster.Cluster, master *cluster.Node) {
	tb.Helper()
	const listens = time.Second + time.Second/2
	for _, node := range c.Nodes {
		if node == master || !node.Running() {
			continue
		}
		eventually(tb, node.ID+" watches "+master.ID, func() error {
			status, err := node.Status(tb.Context())
			if err != nil {
				return err
			}
			w := status.GetElection().GetWatched()
			if w.GetNodeId() != master.ID || !w.GetConnected() || time.Duration(status.GetRoleSinceNanos()) < listens {
				return fmt.Errorf("it watches %v, for %v", w, time.Duration(status.GetRoleSinceNanos()))
			}
			return nil
		})
	}
}
