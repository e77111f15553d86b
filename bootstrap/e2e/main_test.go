// Package e2e_test tests the whole system from outside: the binaries that users start, on loopback, with real
// files. Each test is one story; what they share is in bootstrap/e2e/cluster.
package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// patience bounds every wait. It is no expectation of how long anything takes.
const patience = 60 * time.Second

// distDir is where the binaries are built once, by the first test that asks for them.
var distDir = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "understudy-e2e-") })

var built = sync.OnceValues(func() (cluster.Binaries, error) {
	dir, err := distDir()
	if err != nil {
		return cluster.Binaries{}, err
	}
	var flags []string
	if raceNodes() {
		flags = append(flags, "-race")
	}
	return cluster.Build(context.Background(), dir, flags...)
})

// raceNodes: the nodes are built with the race detector.
func raceNodes() bool { return os.Getenv("UNDERSTUDY_E2E_RACE") != "" }

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := distDir(); err == nil {
		for _, process := range runningFrom(dir) {
			fmt.Fprintln(os.Stderr, "left running:", process)
			code = 1
		}
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// binaries builds the binaries, or skips the test.
func binaries(tb testing.TB) cluster.Binaries {
	tb.Helper()
	if testing.Short() {
		tb.Skip("whole-system tests take their time; run without -short")
	}
	binaries, err := built()
	if err != nil {
		tb.Fatal(err)
	}
	return binaries
}

// newCluster lays out a cluster that lives as long as the test. At the end nothing of it may be left running, and
// no node may have said anything that is not a line of its log.
func newCluster(tb testing.TB, options cluster.Options) *cluster.Cluster {
	tb.Helper()
	if options.Binaries == (cluster.Binaries{}) {
		options.Binaries = binaries(tb)
	}
	if options.Dir == "" {
		options.Dir = tb.TempDir()
	}
	c, err := cluster.New(options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
		for _, node := range c.Nodes {
			for _, line := range node.Log.Lines(0) {
				if strings.Contains(line.Raw, "DATA RACE") || strings.Contains(line.Raw, "panic:") {
					tb.Errorf("%s: %s", node.ID, line.Raw)
				}
			}
			if tb.Failed() {
				tb.Logf("log of %s:\n%s", node.ID, tail(node.Log.String(), 60))
			}
		}
	})
	return c
}

// within is a context that ends with the test, or when patience has run out.
func within(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	tb.Cleanup(cancel)
	return ctx
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// up starts all nodes and returns the master, with every other node in sync.
func up(tb testing.TB, c *cluster.Cluster) *cluster.Node {
	tb.Helper()
	if err := c.Start(); err != nil {
		tb.Fatal(err)
	}
	return settled(tb, c)
}

// settled waits until one of the running nodes leads and the others mirror it.
func settled(tb testing.TB, c *cluster.Cluster) *cluster.Node {
	tb.Helper()
	ctx := within(tb)
	master, err := c.Master(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	standbys := -1
	for _, node := range c.Nodes {
		if node.Running() {
			standbys++
		}
	}
	if err := c.InSync(ctx, master, standbys); err != nil {
		tb.Fatal(err)
	}
	return master
}

// successor waits until a node leads that is not this one, which may be dead or stand still.
func successor(tb testing.TB, c *cluster.Cluster, of *cluster.Node) (next *cluster.Node) {
	tb.Helper()
	eventually(tb, "another node leads", func() error {
		for _, node := range others(c, of) {
			status, err := node.Status(tb.Context())
			if err != nil {
				return err
			}
			if cluster.Leads(status) {
				next = node
				return nil
			}
		}
		return errors.New("nobody does")
	})
	return next
}

// others are the nodes but one, in their order.
func others(c *cluster.Cluster, but *cluster.Node) []*cluster.Node {
	return slices.DeleteFunc(slices.Clone(c.Nodes), func(n *cluster.Node) bool { return n == but })
}

// written reads the nodes' journals from the beginning.
func written(tb testing.TB, c *cluster.Cluster) []cluster.Write {
	tb.Helper()
	writes, err := c.Journals().Next()
	if err != nil {
		tb.Fatal(err)
	}
	return writes
}

// feed feeds n small files and returns what Verify wants to know of them. Names begin with prefix.
func feed(tb testing.TB, c *cluster.Cluster, prefix string, n int) map[string]string {
	tb.Helper()
	want := map[string]string{}
	for i := range n {
		name := fmt.Sprintf("%s-%05d", prefix, i)
		content := bytes.Repeat([]byte(name+"\n"), 1+i%200)
		if err := feedOne(c, want, name, content); err != nil {
			tb.Fatal(err)
		}
	}
	return want
}

// feedOne feeds a file and notes in want what must come of it.
func feedOne(c *cluster.Cluster, want map[string]string, name string, content []byte) error {
	sum := sha256.Sum256(content)
	want[name] = hex.EncodeToString(sum[:])
	return c.Feed(name, content)
}

// drained waits until the in folder is empty.
func drained(tb testing.TB, c *cluster.Cluster) {
	tb.Helper()
	eventually(tb, "the in folder is empty", func() error {
		waiting, err := c.Waiting()
		if err == nil && waiting > 0 {
			err = fmt.Errorf("%d files wait", waiting)
		}
		return err
	})
}

// intact checks that each file has come out right, once.
func intact(tb testing.TB, c *cluster.Cluster, want map[string]string) cluster.Result {
	tb.Helper()
	result, err := c.Verify(want)
	if err != nil {
		tb.Fatal(err)
	}
	for i, fault := range result.Faults {
		if i == 20 {
			tb.Errorf("and %d more", len(result.Faults)-i)
			break
		}
		tb.Error(fault)
	}
	if result.Lost > 0 || result.Duplicated > 0 {
		tb.Errorf("messages=%d lost=%d duplicated=%d", result.Messages, result.Lost, result.Duplicated)
	}
	return result
}

// eventually polls until try has nothing to complain about.
func eventually(tb testing.TB, what string, try func() error) {
	tb.Helper()
	ctx := within(tb)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			tb.Fatalf("waited %v until %s: %v", patience, what, err)
		case <-ticker.C:
		}
	}
}

// stop ends all nodes cleanly.
func stop(tb testing.TB, c *cluster.Cluster) {
	tb.Helper()
	if err := c.Stop(within(tb)); err != nil {
		tb.Error(err)
	}
}

// runningFrom lists the processes whose binary is below dir; Linux only.
func runningFrom(dir string) []string {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return nil
	}
	var running []string
	for _, link := range links {
		if exe, err := os.Readlink(link); err == nil && strings.HasPrefix(exe, dir+"/") {
			running = append(running, link+" -> "+exe)
		}
	}
	return running
}
