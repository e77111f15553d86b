package netns_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// ownFolders is an adapter whose folders are each node's own, so that no node can read another one's source, and no
// folder tells a master that a later one has written there. The source is acknowledged as soon as the mirror has the
// message: it never delivers it again. Messages with names that begin with held stay in a service for as long as the
// node's folder has a file hold.
const ownFolders = `adapter:
  id: e2e
  channels:
    - id: files
      workflows:
        - id: in-to-out
          pool: 32
          acknowledge: early
          consumer: {fs: {directory: in, poll: 20ms}}
          services:
            - id: wrap
              mapping: |
                root.name = meta("fs_name")
                root.content = content().string()
            - id: wait
              switch:
                - check: this.name.has_prefix("held") && file(path:"hold", no_cache:true).string().catch("") == "hold"
                  processors: [{sleep: {duration: 1h}}]
          producer: {fs: {directory: out, journal: data/journal.log}}
`

// feedTo puts five files into the in folder of one node, whole at once.
func feedTo(t *testing.T, node *cluster.Node, prefix string) (names []string) {
	t.Helper()
	for i := range 5 {
		name := fmt.Sprintf("%s-%d", prefix, i)
		staged := filepath.Join(node.Dir, name)
		if err := os.WriteFile(staged, []byte("content of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(staged, filepath.Join(node.Dir, "in", name)); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

// produced counts, by the journals, how often each file has really been written, and by whom.
func (s *stage) produced() (map[string][]string, error) {
	writes, err := s.Journals().Next()
	if err != nil {
		return nil, err
	}
	by := map[string][]string{}
	for _, w := range writes {
		path := w.File
		if !filepath.IsAbs(path) {
			path = filepath.Join(s.Node(w.Node).Dir, path)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var out struct{ Name, Content string }
		if err := json.Unmarshal(content, &out); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if out.Content != "content of "+out.Name {
			return nil, fmt.Errorf("%s: content %q of %s", path, out.Content, out.Name)
		}
		by[out.Name] = append(by[out.Name], w.Node)
	}
	return by, nil
}

// awaitProduced waits until each of the files has been written.
func (s *stage) awaitProduced(what string, names []string) {
	s.t.Helper()
	s.eventually(what, func() error {
		by, err := s.produced()
		for _, name := range names {
			if err == nil && len(by[name]) == 0 {
				err = fmt.Errorf("%s has not come out", name)
			}
		}
		return err
	})
}

// awaitMirrored waits until a node's mirror has so many messages in flight and its source none.
func (s *stage) awaitMirrored(node *cluster.Node, messages int, alone bool) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("the mirror of %s has %d messages in flight", node.ID, messages), func() error {
		status, err := node.Status(s.t.Context())
		if err != nil {
			return err
		}
		waiting, err := os.ReadDir(filepath.Join(node.Dir, "in"))
		m := status.GetMirror()
		if err == nil && (m.GetEntries() != uint64(messages) || len(waiting) > 0 || m.GetState().GetInSyncStandbys() == 0 != alone) {
			err = fmt.Errorf("%d in flight, %d files wait, %v", m.GetEntries(), len(waiting), m.GetState())
		}
		return err
	})
}

// TestPartitionHandsOver: without a quorum a master that is cut off works on alone, and so does the one that the others
// elect. When they hear each other again the loser has messages in flight that nobody else ever got and that no source
// delivers again: the winner, which is at work, takes them up and finishes them. What the loser has finished is not done
// again, and what it had in flight before the cut is the winner's from its promotion on.
func TestPartitionHandsOver(t *testing.T) {
	properties := timing(0)
	properties["stop.timeout"] = "2s"
	s := layOut(t, 3, properties)
	for _, node := range s.Nodes {
		for _, folder := range []string{"in", "out"} {
			if err := os.MkdirAll(filepath.Join(node.Dir, folder), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(node.ConfigFile("adapter.yaml"), []byte(ownFolders), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	old := s.settled()
	if err := os.WriteFile(filepath.Join(old.Dir, "hold"), []byte("hold"), 0o600); err != nil {
		t.Fatal(err)
	}
	both := feedTo(t, old, "held-both")
	s.awaitMirrored(old, len(both), false)

	s.net.cut(old.ID)
	next := s.leads(s.others(old))
	s.awaitProduced("the winner finishes what was in flight before the cut", both)
	alone := feedTo(t, old, "done-alone")
	lonely := feedTo(t, old, "held-alone")
	s.awaitProduced("the loser works on alone", alone)
	s.awaitMirrored(old, len(both)+len(lonely), true)
	majority := feedTo(t, next, "done-majority")
	s.awaitProduced("the winner works on", majority)
	if status, err := old.Status(t.Context()); err != nil || !cluster.Leads(status) {
		t.Fatalf("%s should still lead its side: %v, %v", old.ID, status, err)
	}

	s.net.mend(old.ID)
	s.awaitProduced("the winner finishes what only the loser had", lonely)
	if winner := s.settled(); winner != next {
		t.Errorf("%s leads in the end, want %s", winner.ID, next.ID)
	}
	s.awaitMirrored(next, 0, false)
	if err := s.Stop(s.within()); err != nil {
		t.Error(err)
	}

	by, err := s.produced()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, name := range alone {
		want[name] = old.ID
	}
	for _, names := range [][]string{both, lonely, majority} {
		for _, name := range names {
			want[name] = next.ID
		}
	}
	for name, node := range want {
		if got := by[name]; len(got) != 1 || got[0] != node {
			t.Errorf("%s was written by %v, want once, by %s", name, got, node)
		}
	}
	if len(by) != len(want) {
		t.Errorf("%d files came out of %d", len(by), len(want))
	}
	if taken := takenUp(next); taken != float64(len(lonely)) {
		t.Errorf("%s says that it has taken up %v messages, want %d", next.ID, taken, len(lonely))
	}
}

// takenUp is how many messages of returning nodes a node says that it has taken up.
func takenUp(node *cluster.Node) (sum float64) {
	for _, line := range node.Log.Lines(0) {
		if line.Msg == "messages that only a returning node held are taken up" {
			n, _ := line.Attrs["messages"].(float64)
			sum += n
		}
	}
	return sum
}
