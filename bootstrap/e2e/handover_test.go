package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

// TestHandover: a node that is named takes over while files flow. Nothing is lost or doubled, each node has a report
// of its change of role, and the hooks were run in order.
func TestHandover(t *testing.T) {
	hook := filepath.Join(t.TempDir(), "hook")
	properties := map[string]string{}
	if runtime.GOOS != "windows" {
		script := "#!/bin/sh\necho \"$UNDERSTUDY_EVENT $1 $UNDERSTUDY_TERM $UNDERSTUDY_MASTER\" >> hooks.log\n"
		if err := os.WriteFile(hook, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		properties["hooks.on.role"] = hook
	}
	c := newCluster(t, cluster.Options{Nodes: 3, Properties: properties})
	master := up(t, c)
	steady(t, c, master)
	next := others(c, master)[0]
	want := feed(t, c, "before", 300)
	writer(t, c.Journals(), "", time.Time{})

	done := handOver(t, master, next.ID, "--timeout", "1m")
	if done.To != next.ID || done.DeadlineMissed || len(done.Unfinished) > 0 || done.NewTerm.GetNumber() <= done.Term.GetNumber() {
		t.Errorf("handed over: %v", done)
	}
	if leads := settled(t, c); leads != next {
		t.Errorf("%s leads, want %s", leads.ID, next.ID)
	}
	for name, digest := range feed(t, c, "after", 50) {
		want[name] = digest
	}
	drained(t, c)
	ended, promoted := changes(t, master), changes(t, next)
	if len(ended) != 2 || ended[0].What != "promotion" || ended[1].What != "handover" || ended[1].End.Successor != next.ID {
		t.Errorf("reports of %s: %+v", master.ID, ended)
	}
	if len(promoted) != 1 || promoted[0].What != "promotion" || promoted[0].Term != fmt.Sprintf("%d:%s", done.NewTerm.GetNumber(), next.ID) {
		t.Errorf("reports of %s: %+v", next.ID, promoted)
	}
	stop(t, c)
	if result := intact(t, c, want); result.Takeovers() != 1 {
		t.Errorf("%d takeovers, want 1; the terms that wrote: %v", result.Takeovers(), result.Terms)
	}
	if properties["hooks.on.role"] != "" {
		checkHooks(t, master, "standby ", "master "+master.ID, "standby ", "standby "+next.ID, "stopped ")
		checkHooks(t, next, "standby ", "standby "+master.ID, "master "+next.ID, "standby ", "stopped ")
	}
}

// checkHooks wants these roles and masters among a node's hooks, in this order: how often a standby hears that nobody
// leads in between is a matter of chance. Their numbers have no gap.
func checkHooks(t *testing.T, node *cluster.Node, want ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(node.Dir, "hooks.log"))
	if err != nil {
		t.Error(err)
		return
	}
	var got []string
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		fields := strings.Split(line, " ")
		if len(fields) != 4 || fields[0] != fmt.Sprint(i+1) {
			t.Errorf("%s: hook %d was %q", node.ID, i+1, line)
			continue
		}
		got = append(got, fields[1]+" "+fields[3])
	}
	for _, line := range want {
		i := slices.Index(got, line)
		if i < 0 {
			t.Errorf("%s: hooks\n%s\nwant, in this order, %q", node.ID, text, want)
			return
		}
		got = got[i+1:]
	}
}

// TestHandoverRefused: whoever asks the wrong node, or for what cannot be, hears why, and nothing happens.
func TestHandoverRefused(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 2})
	master := up(t, c)
	standby := others(c, master)[0]
	refuses(t, standby, master.ID+" leads", "handover")
	refuses(t, master, "no node nobody is known", "handover", "nobody")
	refuses(t, master, "leads already", "handover", master.ID)

	if _, err := standby.Command(within(t), "pause"); err != nil {
		t.Fatal(err)
	}
	for _, node := range c.Nodes {
		eventually(t, node.ID+" knows of the pause", func() error {
			status, err := node.Status(t.Context())
			if err == nil && (!status.GetElection().GetPaused() || status.GetElection().GetPausedBy() != standby.ID) {
				err = fmt.Errorf("paused %v by %q", status.GetElection().GetPaused(), status.GetElection().GetPausedBy())
			}
			return err
		})
	}
	refuses(t, master, "the cluster is paused (by "+standby.ID+")", "handover")
	if _, err := master.Command(within(t), "resume"); err != nil {
		t.Fatal(err)
	}
	refuses(t, master, "members", "members", "add", "node-9")
	standby.Kill()
	eventually(t, "the dead standby is missed", func() error {
		_, err := master.Command(t.Context(), "handover", standby.ID)
		if err == nil || !strings.Contains(err.Error(), standby.ID+":") {
			return fmt.Errorf("not refused for a reason of %s: %w", standby.ID, err)
		}
		return nil
	})
	if leads := settled(t, c); leads != master {
		t.Errorf("%s leads", leads.ID)
	}
	stop(t, c)
}

func refuses(t *testing.T, node *cluster.Node, why string, args ...string) {
	t.Helper()
	if out, err := node.Command(within(t), args...); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("%s, %v: %q, %v; want a refusal with %q", node.ID, args, out, err, why)
	}
}

// TestCheckCostsTheRole: a master whose check fails gives the role up in an orderly way, and does not stand while it
// cools down.
func TestCheckCostsTheRole(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the check is a unix program")
	}
	c := newCluster(t, cluster.Options{Nodes: 2, Properties: map[string]string{
		"failover.check": "test ! -e ill", "failover.check.interval": "50ms", "failover.check.cooldown": "1h",
	}})
	master := up(t, c)
	steady(t, c, master)
	want := feed(t, c, "before", 100)
	if err := os.WriteFile(filepath.Join(master.Dir, "ill"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	successor(t, c, master)
	if err := os.Remove(filepath.Join(master.Dir, "ill")); err != nil {
		t.Fatal(err)
	}
	eventually(t, master.ID+" is healthy again, and cools down", func() error {
		status, err := master.Status(t.Context())
		if err == nil && !strings.Contains(status.GetCannotLead(), "stands for election again in") {
			err = errors.New(status.GetCannotLead())
		}
		return err
	})
	drained(t, c)
	if reports := changes(t, master); len(reports) != 2 || reports[1].What != "demotion" || !strings.Contains(reports[1].Reason, "its check fails") {
		t.Errorf("reports of %s: %+v", master.ID, reports)
	}
	stop(t, c)
	intact(t, c, want)
}

// TestWitness: of a cluster of two and a witness either node can go; the witness votes, and runs neither an adapter
// nor a mirror.
func TestWitness(t *testing.T) {
	c := newCluster(t, cluster.Options{Nodes: 3, Properties: map[string]string{
		"failover.members": "3", "failover.delay": "200", "failover.witness": "node-3",
	}})
	witness := c.Node("node-3")
	for _, name := range []string{"adapter.yaml", "META-INF/profiler-aop.xml", "profiler.properties"} {
		if err := os.Remove(witness.ConfigFile(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := witness.Start("-witness"); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	master, err := c.Master(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.InSync(within(t), master, 1); err != nil {
		t.Fatal(err)
	}
	status, err := witness.Status(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if e := status.GetElection(); !e.GetWitness() || !e.GetQuorum().GetVoter() || status.GetMirror() != nil || status.GetAdapterId() != "" ||
		len(status.GetPlugins()) != 1 {
		t.Errorf("the witness: %v", status)
	}
	refuses(t, master, "it is a witness", "handover", witness.ID)
	want := feed(t, c, "before", 50)
	drained(t, c)
	master.Kill()
	next, err := c.Master(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if next == master || next == witness {
		t.Errorf("%s leads", next.ID)
	}
	for name, digest := range feed(t, c, "after", 50) {
		want[name] = digest
	}
	drained(t, c)
	stop(t, c)
	intact(t, c, want)
}

func handOver(tb testing.TB, node *cluster.Node, args ...string) *controlv1.HandoverResponse {
	tb.Helper()
	out, err := node.Command(within(tb), append([]string{"handover", "-o", "json"}, args...)...)
	if err != nil {
		tb.Fatal(err)
	}
	done := &controlv1.HandoverResponse{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(out), done); err != nil {
		tb.Fatalf("%v: %s", err, out)
	}
	return done
}

// change is a takeover report, as far as the tests look at it.
type change struct {
	What, Term, Reason string
	End                struct{ Successor string }
}

// changes are a node's takeover reports, the oldest first.
func changes(t *testing.T, node *cluster.Node) (all []change) {
	t.Helper()
	out, err := node.Command(within(t), "takeovers", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return all
}

// BenchmarkHandover is how long a cluster of three at the default delay and retries is without a master when the role
// is handed over with bootstrap handover: from the end of the drain, as the old master's log has it, to the promotion,
// as the new one's does. An old master that has just resigned does not lead for S, so each round waits for that.
func BenchmarkHandover(b *testing.B) {
	c := newCluster(b, cluster.Options{Nodes: 3})
	master := up(b, c)
	var took []time.Duration
	for b.Loop() {
		steady(b, c, master)
		rested(b, c, master)
		from := lengths(c)
		next := c.Node(handOver(b, master).GetTo())
		stopped, err := master.Log.Await(within(b), from[master], "[StartedState] Stopped [Adapter(e2e)]")
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, promoted(b, next, from[next]).Sub(stopped.Time))
		master = settled(b, c)
	}
	report(b, took)
	stop(b, c)
}

// rested waits until every standby has been one for longer than S.
func rested(tb testing.TB, c *cluster.Cluster, master *cluster.Node) {
	tb.Helper()
	for _, node := range others(c, master) {
		eventually(tb, node.ID+" may lead again", func() error {
			status, err := node.Status(tb.Context())
			if err != nil {
				return err
			}
			since := time.Duration(status.GetRoleSinceNanos())
			if status.GetRole() != failoverv1.Role_ROLE_STANDBY || since < time.Duration(status.GetPatienceNanos())+time.Second {
				return fmt.Errorf("%v for %v", status.GetRole(), since)
			}
			return nil
		})
	}
}
