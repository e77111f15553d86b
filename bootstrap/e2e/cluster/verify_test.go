package cluster_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// scene is a cluster whose outputs and journals the test writes by itself.
type scene struct {
	*cluster.Cluster
	t    *testing.T
	want map[string]string
}

func newScene(t *testing.T) *scene {
	t.Helper()
	c, err := cluster.New(cluster.Options{Dir: t.TempDir(), Nodes: 2})
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{Cluster: c, t: t, want: map[string]string{}}
	for _, name := range []string{"a", "b", "c"} {
		s.want[name] = digest(name)
	}
	return s
}

func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// output writes an output file of the source name, whose content is its name.
func (s *scene) output(file, name, content string) {
	s.t.Helper()
	text, err := json.Marshal(map[string]any{"name": name, "sha256": digest(content), "content": []byte(content)})
	if err == nil {
		err = os.WriteFile(filepath.Join(s.Out, file), text, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// journal appends to a node's journal, just as given.
func (s *scene) journal(node, text string) {
	s.t.Helper()
	data := filepath.Join(s.Node(node).Dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		s.t.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(data, "journal.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

func line(file, term string) string {
	return `{"time_unix_nano":` + strings.TrimPrefix(term, "t") + `,"message_id":"id-` + file + `","file":"` + file + `","term":"` + term + `"}` + "\n"
}

func (s *scene) verify(lost, duplicated int, terms ...string) {
	s.t.Helper()
	result, err := s.Verify(s.want)
	if err != nil {
		s.t.Fatal(err)
	}
	if result.Messages != 3 || result.Lost != lost || result.Duplicated != duplicated || !slices.Equal(result.Terms, terms) {
		s.t.Errorf("messages=%d lost=%d duplicated=%d terms=%v, want lost=%d duplicated=%d terms=%v; faults: %v",
			result.Messages, result.Lost, result.Duplicated, result.Terms, lost, duplicated, terms, result.Faults)
	}
	if (len(result.Faults) > 0) != (lost+duplicated > 0) {
		s.t.Errorf("faults: %v", result.Faults)
	}
}

func TestVerifyGood(t *testing.T) {
	s := newScene(t)
	for _, name := range []string{"a", "b", "c"} {
		s.output(name+".out", name, name)
	}
	s.journal("node-1", line("a.out", "1"))
	s.journal("node-2", line("c.out", "2"))
	// A crash came between the write of b and its line, and another in the middle of a line.
	s.journal("node-1", `{"time_unix_nano":3,"mess`)
	s.verify(0, 0, "1", "2")
}

func TestVerifyLost(t *testing.T) {
	s := newScene(t)
	s.output("a.out", "a", "a")
	s.output("b.out", "b", "not b")
	s.journal("node-1", line("a.out", "1")+line("b.out", "1"))
	s.verify(2, 0, "1")
}

// TestVerifyOverwritten: the second write of a file leaves no trace but in the journal.
func TestVerifyOverwritten(t *testing.T) {
	s := newScene(t)
	for _, name := range []string{"a", "b", "c"} {
		s.output(name+".out", name, name)
		s.journal("node-1", line(name+".out", "1"))
	}
	s.journal("node-2", line("b.out", "2"))
	s.verify(0, 1, "1", "2")
}

// TestVerifyTwoOutputs: the same source came out under two names.
func TestVerifyTwoOutputs(t *testing.T) {
	s := newScene(t)
	for _, name := range []string{"a", "b", "c"} {
		s.output(name+".out", name, name)
		s.journal("node-1", line(name+".out", "1"))
	}
	s.output("a2.out", "a", "a")
	s.journal("node-2", line("a2.out", "2"))
	s.verify(0, 1, "1", "2")
}

func TestVerifyLeftOver(t *testing.T) {
	s := newScene(t)
	for _, name := range []string{"a", "b", "c"} {
		s.output(name+".out", name, name)
	}
	if err := s.Feed("late", []byte("late")); err != nil {
		t.Fatal(err)
	}
	result, err := s.Verify(s.want)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Faults) != 1 || !strings.Contains(result.Faults[0], "late") {
		t.Errorf("faults: %v, want one about late", result.Faults)
	}
}

func TestJournalsGiveEachLineOnce(t *testing.T) {
	s := newScene(t)
	journals := s.Journals()
	next := func() []string {
		t.Helper()
		writes, err := journals.Next()
		if err != nil {
			t.Fatal(err)
		}
		var files []string
		for _, write := range writes {
			files = append(files, write.Node+" "+write.File)
		}
		return files
	}
	if got := next(); got != nil {
		t.Errorf("before there are journals: %v", got)
	}
	whole := line("b.out", "1")
	s.journal("node-1", line("a.out", "1")+whole[:10])
	if got := next(); !slices.Equal(got, []string{"node-1 a.out"}) {
		t.Errorf("got %v", got)
	}
	s.journal("node-1", whole[10:])
	s.journal("node-2", line("c.out", "1"))
	if got := next(); !slices.Equal(got, []string{"node-1 b.out", "node-2 c.out"}) {
		t.Errorf("got %v", got)
	}
	if got := next(); got != nil {
		t.Errorf("nothing is new: %v", got)
	}
}
