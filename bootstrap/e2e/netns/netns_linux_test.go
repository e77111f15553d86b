package netns_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// patience bounds every wait. It is no expectation of how long anything takes.
const patience = 60 * time.Second

var distDir = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "understudy-netns-") })

// built are the binaries of this tree, or those of the folder that UNDERSTUDY_DIST names, as make dist filled it.
var built = sync.OnceValues(func() (cluster.Binaries, error) {
	if dist := os.Getenv("UNDERSTUDY_DIST"); dist != "" {
		return cluster.InDist(dist)
	}
	dir, err := distDir()
	if err != nil {
		return cluster.Binaries{}, err
	}
	return cluster.Build(context.Background(), dir)
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := distDir(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// stage is some nodes, three by default, each on a host of its own; they share the in and the out folder.
type stage struct {
	*cluster.Cluster
	t    *testing.T
	net  *network
	want map[string]string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	return newStageWith(t, nil)
}

func newStageWith(t *testing.T, properties map[string]string) *stage {
	t.Helper()
	s := layOut(t, 3, properties)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// layOut makes the hosts and the nodes, and starts none.
func layOut(t *testing.T, nodes int, properties map[string]string) *stage {
	t.Helper()
	net := newNetwork(t, nodes)
	binaries, err := built()
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.New(cluster.Options{
		Dir: folder(t), Binaries: binaries, Nodes: nodes, Prefix: net.enter, Interface: "eth0",
		Properties: properties,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{Cluster: c, t: t, net: net, want: map[string]string{}}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		for _, node := range c.Nodes {
			if t.Failed() || os.Getenv("UNDERSTUDY_LOGS") != "" {
				t.Logf("log of %s:\n%s", node.ID, node.Log)
			}
		}
	})
	return s
}

// folder is a temporary folder with a short path: the control sockets in it have a limit that t.TempDir, which has
// the names of subtests in it, can pass.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "understudy-netns-") //nolint:usetesting // its path is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (s *stage) within() context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	s.t.Cleanup(cancel)
	return ctx
}

// settled waits until one of the running nodes leads and the others mirror it.
func (s *stage) settled() *cluster.Node {
	s.t.Helper()
	master, err := s.Master(s.within())
	if err != nil {
		s.t.Fatal(err)
	}
	standbys := -1
	for _, node := range s.Nodes {
		if node.Running() {
			standbys++
		}
	}
	if err := s.InSync(s.within(), master, standbys); err != nil {
		s.t.Fatal(err)
	}
	return master
}

// others are the nodes that are not this one.
func (s *stage) others(node *cluster.Node) []*cluster.Node {
	var others []*cluster.Node
	for _, other := range s.Nodes {
		if other != node {
			others = append(others, other)
		}
	}
	return others
}

func (s *stage) feed(prefix string, n int) {
	s.t.Helper()
	for i := range n {
		name := fmt.Sprintf("%s-%04d", prefix, i)
		content := []byte(strings.Repeat(name+"\n", 100))
		sum := sha256.Sum256(content)
		s.want[name] = hex.EncodeToString(sum[:])
		if err := s.Feed(name, content); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *stage) eventually(what string, try func() error) {
	s.t.Helper()
	ctx := s.within()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("waited %v until %s: %v", patience, what, err)
		case <-ticker.C:
		}
	}
}

// leads waits until one of the nodes leads, and returns it.
func (s *stage) leads(nodes []*cluster.Node) *cluster.Node {
	s.t.Helper()
	var leader *cluster.Node
	s.eventually("one of them leads", func() error {
		for _, node := range nodes {
			status, err := node.Status(s.t.Context())
			if err != nil {
				return err
			}
			if cluster.Leads(status) {
				leader = node
				return nil
			}
		}
		return errors.New("none does")
	})
	return leader
}

// busy feeds so many files and waits until some of them have come out, so that a fault meets a cluster at work.
func (s *stage) busy(files int) {
	s.t.Helper()
	journals := s.Journals()
	s.feed("before", files)
	s.eventually("files come out", func() error {
		writes, err := journals.Next()
		if err == nil && len(writes) == 0 {
			err = errors.New("none does")
		}
		return err
	})
}

// end waits for the last file, stops everybody, and counts.
func (s *stage) end() {
	s.t.Helper()
	s.eventually("the in folder is empty", func() error {
		waiting, err := s.Waiting()
		if err == nil && waiting > 0 {
			err = fmt.Errorf("%d files wait", waiting)
		}
		return err
	})
	if err := s.Stop(s.within()); err != nil {
		s.t.Error(err)
	}
	result, err := s.Verify(s.want)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Logf("messages=%d lost=%d duplicated=%d terms=%v", result.Messages, result.Lost, result.Duplicated, result.Terms)
	for _, fault := range result.Faults {
		s.t.Error(fault)
	}
}

// promotions is how often each node was promoted.
func (s *stage) promotions() map[string]int {
	count := map[string]int{}
	for _, node := range s.Nodes {
		for _, line := range node.Log.Lines(0) {
			if strings.HasPrefix(line.Msg, "Promoted to Master node") {
				count[node.ID]++
			}
		}
	}
	return count
}

func (s *stage) pids() map[string]int {
	pids := map[string]int{}
	for _, node := range s.Nodes {
		pids[node.ID] = node.PID()
	}
	return pids
}

// TestHostLost: a host that is gone at once, cable and processes, costs nothing.
func TestHostLost(t *testing.T) {
	s := newStage(t)
	master := s.settled()
	s.busy(300)
	s.net.cut(master.ID)
	master.Kill()
	s.leads(s.others(master))
	s.feed("after", 50)
	s.net.mend(master.ID)
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	if s.settled() == master {
		t.Error("the old master has taken its place back")
	}
	s.end()
}

// TestMasterKilled: the process dies, the host's kernel lives on.
func TestMasterKilled(t *testing.T) {
	s := newStage(t)
	master := s.settled()
	s.busy(300)
	master.Kill()
	s.leads(s.others(master))
	s.feed("after", 50)
	s.end()
}

// TestPartition: without a quorum both sides have a master while the network is cut. Afterwards exactly one of the
// two stands down, in the same process, nobody is promoted anew, and nothing is lost or doubled.
func TestPartition(t *testing.T) {
	s := newStage(t)
	old := s.settled()
	s.busy(300)
	s.net.cut(old.ID)
	s.feed("during", 300)
	next := s.leads(s.others(old))
	status, err := old.Status(s.within())
	if err != nil {
		t.Fatal(err)
	}
	if !cluster.Leads(status) {
		t.Errorf("%s should go on without a quorum, it says: %s, %s", old.ID, status.GetRole(), status.GetReason())
	}
	promotions, pids := s.promotions(), s.pids()

	s.net.mend(old.ID)
	winner := s.settled()
	if winner != old && winner != next {
		t.Errorf("%s leads after the partition; %s and %s led in it", winner.ID, old.ID, next.ID)
	}
	if now := s.promotions(); !maps.Equal(now, promotions) {
		t.Errorf("promotions were %v at the end of the partition and are %v now: the loser should just stand down", promotions, now)
	}
	for _, node := range s.Nodes {
		if !node.Running() || node.PID() != pids[node.ID] {
			t.Errorf("%s has not stayed in its process", node.ID)
		}
	}
	s.feed("after", 50)
	s.end()
}

// TestStandbyCut: a standby that is cut off costs the master a moment and nothing else, and the standby must not take
// the others along when it is back.
func TestStandbyCut(t *testing.T) {
	s := newStage(t)
	master := s.settled()
	lone := s.others(master)[0]
	s.busy(300)
	s.net.cut(lone.ID)
	s.leads([]*cluster.Node{lone})
	s.feed("during", 100)
	s.net.mend(lone.ID)
	s.settled()
	s.feed("after", 50)
	s.end()
}

// TestLinkDown: the master's own interface goes down and comes back.
func TestLinkDown(t *testing.T) {
	s := newStage(t)
	master := s.settled()
	s.busy(300)
	s.net.plug(master.ID, "down")
	s.leads(s.others(master))
	s.feed("during", 100)
	s.net.plug(master.ID, "up")
	s.settled()
	s.feed("after", 50)
	s.end()
}
