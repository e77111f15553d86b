package folder_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/understudy-ha/understudy/bootstrap/components/folder"
)

func TestProducerWritesAndNotes(t *testing.T) {
	dir := t.TempDir()
	config := producerConfig(dir)
	config.Journal, config.Sync = join(dir, ".journal"), true
	producer := openProducer(t, config)
	batch := outgoing("id1", "7:a", "hello")
	batch.SetMeta("fs_name", "in.json")
	must(t, producer.Produce(t.Context(), batch))
	must(t, producer.Produce(t.Context(), outgoing("id2", "7:a", "")))
	expectNames(t, dir, "id1-in.json", "id2")
	if got := read(t, join(dir, "id1-in.json")); got != "hello" {
		t.Errorf("content %q", got)
	}
	lines := journalLines(t, config.Journal)
	if len(lines) != 2 {
		t.Fatalf("journal %q", lines)
	}
	var line struct {
		Time                  int64 `json:"time_unix_nano"`
		MessageID, File, Term string
	}
	must(t, json.Unmarshal([]byte(strings.Replace(lines[0], "message_id", "MessageID", 1)), &line))
	if line.Time == 0 || line.MessageID != "id1" || line.File != join(dir, "id1-in.json") || line.Term != "7:a" {
		t.Errorf("journal line %q", lines[0])
	}
}

// Nodes race to produce the same messages: each is written once, and noted once.
func TestProducersRaceForAName(t *testing.T) {
	const messages, producers = 100, 4
	dir := t.TempDir()
	journal := join(dir, ".journal")
	var workers sync.WaitGroup
	for range producers {
		config := producerConfig(dir)
		config.Journal = journal
		producer := openProducer(t, config)
		workers.Go(func() {
			for i := range messages {
				if err := producer.Produce(t.Context(), outgoing(fmt.Sprint("id", i), "7:a", fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Wait()
	if got := len(names(t, dir)); got != messages {
		t.Errorf("%d files", got)
	}
	if got := len(journalLines(t, journal)); got != messages {
		t.Errorf("%d lines in the journal", got)
	}
	leftovers, err := filepath.Glob(join(dir, ".understudy-term", "*", "*"))
	must(t, err)
	if len(leftovers) != 0 {
		t.Errorf("temporary files are left: %q", leftovers)
	}
}

func TestProducerReplayWritesNothing(t *testing.T) {
	dir := t.TempDir()
	producer := openProducer(t, producerConfig(dir))
	must(t, producer.Produce(t.Context(), outgoing("id", "7:a", "first")))
	must(t, producer.Produce(t.Context(), outgoing("id", "8:b", "again")))
	expectNames(t, dir, "id")
	if got := read(t, join(dir, "id")); got != "first" {
		t.Errorf("content %q", got)
	}
}

func TestProducerSplitMessages(t *testing.T) {
	dir := t.TempDir()
	producer := openProducer(t, producerConfig(dir))
	for range 2 {
		for _, id := range []string{"id", "id#2"} {
			batch := outgoing(id, "7:a", "x", "y")
			batch.SetMeta("fs_name", "a.txt")
			must(t, producer.Produce(t.Context(), batch))
		}
	}
	expectNames(t, dir, "id#2-1-a.txt", "id#2-2-a.txt", "id-1-a.txt", "id-2-a.txt")
}

func named(t *testing.T, dir, name string, idempotent bool) *folder.Producer {
	t.Helper()
	config := producerConfig(dir)
	parsed, err := service.NewInterpolatedString(name)
	must(t, err)
	config.Name, config.Idempotent = parsed, idempotent
	return openProducer(t, config)
}

func TestProducerNames(t *testing.T) {
	dir := t.TempDir()
	producer := named(t, dir, `${! meta("kind") }-${! meta("message-id") }.json`, true)
	batch := outgoing("id", "7:a", "x", "y")
	batch.SetMeta("kind", "order")
	must(t, producer.Produce(t.Context(), batch))
	expectNames(t, dir, "order-id-1.json", "order-id-2.json")

	// A name without the id cannot tell a repeat from another message, and nothing is written over.
	dir = t.TempDir()
	producer = named(t, dir, "fixed", false)
	if producer.Idempotent() {
		t.Error("a fixed name is idempotent")
	}
	must(t, producer.Produce(t.Context(), outgoing("id", "7:a", "first")))
	err := producer.Produce(t.Context(), outgoing("id", "7:a", "second"))
	if err == nil || !strings.Contains(err.Error(), join(dir, "fixed")) {
		t.Errorf("second: %v", err)
	}
	if got := read(t, join(dir, "fixed")); got != "first" {
		t.Errorf("content %q", got)
	}
}

func TestProducerStaysInItsFolder(t *testing.T) {
	parent := t.TempDir()
	dir := join(parent, "out")
	must(t, os.Mkdir(dir, 0o755))
	producer := named(t, dir, `${! meta("name") }`, false)
	for _, name := range []string{".", "..", "../a", "/etc/a", "a/b", "a\x00b", ".understudy-term", strings.Repeat("n", 300)} {
		batch := outgoing("id", "7:a", "x")
		batch.SetMeta("name", name)
		if err := producer.Produce(t.Context(), batch); err == nil {
			t.Errorf("name %q was taken", name)
		}
	}
	expectNames(t, parent, "out")
	expectNames(t, dir)

	usual := openProducer(t, producerConfig(dir))
	for _, id := range []string{"../a", "a/b", "..", strings.Repeat("n", 300)} {
		batch := outgoing(id, "7:a", "x")
		batch.SetMeta("fs_name", strings.Repeat("ü", 100)+".json")
		must(t, usual.Produce(t.Context(), batch))
	}
	if got := names(t, dir); len(got) != 4 || !slices.Equal(names(t, parent), []string{"out"}) {
		t.Errorf("files %q", got)
	}
	if err := usual.Produce(t.Context(), outgoing("", "7:a", "x")); err == nil {
		t.Error("a message without id was produced")
	}
}

func TestFence(t *testing.T) {
	dir := t.TempDir()
	old, next := openProducer(t, producerConfig(dir)), openProducer(t, producerConfig(dir))
	must(t, old.Produce(t.Context(), outgoing("m1", "7:a", "x")))
	must(t, next.Produce(t.Context(), outgoing("m2", "8:b", "x")))
	for _, term := range []string{"7:a", "8:a", "1:z"} {
		err := old.Produce(t.Context(), outgoing("m3", term, "x"))
		if !errors.Is(err, folder.ErrFenced) || !strings.Contains(err.Error(), "8:b") || !strings.Contains(err.Error(), dir) {
			t.Errorf("term %s: %v", term, err)
		}
	}
	must(t, next.Produce(t.Context(), outgoing("m4", "8:b", "x")))
	must(t, old.Produce(t.Context(), outgoing("m5", "8:c", "x")))
	must(t, old.Produce(t.Context(), outgoing("m6", "10:odd/node=1%é", "x")))
	// The folder remembers after everybody has gone.
	later := openProducer(t, producerConfig(dir))
	if err := later.Produce(t.Context(), outgoing("m7", "9:z", "x")); !errors.Is(err, folder.ErrFenced) {
		t.Errorf("after it was opened again: %v", err)
	}
	expectNames(t, dir, "m1", "m2", "m4", "m5", "m6")
	for _, term := range []string{"x", "7", "7:", "-1:a", ":a"} {
		if err := later.Produce(t.Context(), outgoing("m8", term, "x")); err == nil {
			t.Errorf("term %q was taken", term)
		}
	}
	// Whatever lay in the staging folders of lower terms is gone.
	entries, err := os.ReadDir(join(dir, ".understudy-term"))
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("staging folders: %v", entries)
	}
	// Somebody tidies up.
	must(t, os.RemoveAll(join(dir, ".understudy-term")))
	must(t, old.Produce(t.Context(), outgoing("m9", "10:odd/node=1%é", "x")))
}

// A node without an election has no term, and works in any folder.
func TestNoTerm(t *testing.T) {
	dir := t.TempDir()
	producer := openProducer(t, producerConfig(dir))
	must(t, producer.Produce(t.Context(), outgoing("m1", "", "x")))
	must(t, producer.Produce(t.Context(), outgoing("m2", "7:a", "x")))
	must(t, producer.Produce(t.Context(), outgoing("m3", "", "x")))
	must(t, os.RemoveAll(join(dir, ".understudy-term")))
	must(t, producer.Produce(t.Context(), outgoing("m4", "", "x")))
	expectNames(t, dir, "m1", "m2", "m3", "m4")
}

// Terms rise while old masters go on: once a produce of a term is over, none of a lower one that begins succeeds.
func TestFenceUnderRace(t *testing.T) {
	const terms, each = 30, 20
	dir := t.TempDir()
	var mu sync.Mutex
	highest := 0
	var workers sync.WaitGroup
	start := make(chan struct{})
	for number := 1; number <= terms; number++ {
		producer := openProducer(t, producerConfig(dir))
		term := fmt.Sprintf("%d:n", number)
		workers.Go(func() {
			<-start
			for i := range each {
				mu.Lock()
				before := highest
				mu.Unlock()
				err := producer.Produce(t.Context(), outgoing(fmt.Sprintf("m-%d-%d", number, i), term, "x"))
				switch {
				case errors.Is(err, folder.ErrFenced):
				case err != nil:
					t.Error(err)
				case number < before:
					t.Errorf("term %d wrote after term %d had", number, before)
				default:
					mu.Lock()
					highest = max(highest, number)
					mu.Unlock()
				}
			}
		})
	}
	close(start)
	workers.Wait()
	if highest != terms {
		t.Errorf("the highest term to write was %d", highest)
	}
}

func TestProducerLifecycle(t *testing.T) {
	dir := t.TempDir()
	producer := folder.NewProducer(producerConfig(dir))
	must(t, producer.Close(t.Context()))
	if err := producer.Produce(t.Context(), outgoing("a", "1:a", "x")); err == nil {
		t.Error("produce before open")
	}
	must(t, producer.Open(t.Context()))
	if err := producer.Produce(ended(), outgoing("a", "1:a", "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("produce with a context that has ended: %v", err)
	}
	expectNames(t, dir)
	must(t, producer.Close(t.Context()))
	must(t, producer.Close(t.Context()))
	must(t, producer.Open(t.Context()))
	must(t, producer.Produce(t.Context(), outgoing("a", "1:a", "x")))
	must(t, producer.Close(t.Context()))
	expectNames(t, dir, "a")
}

func TestProducerFolder(t *testing.T) {
	dir := t.TempDir()
	config := producerConfig(join(dir, "missing"))
	if err := folder.NewProducer(config).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "create: true") {
		t.Errorf("missing folder: %v", err)
	}
	config.Create = true
	config.Journal = join(dir, "nowhere", "journal")
	if err := folder.NewProducer(config).Open(t.Context()); err == nil || !strings.Contains(err.Error(), config.Journal) {
		t.Errorf("missing folder of the journal: %v", err)
	}
	config.Journal = ""
	producer := openProducer(t, config)
	must(t, os.Remove(config.Directory))
	err := producer.Produce(t.Context(), outgoing("a", "1:a", "x"))
	if err == nil || !strings.Contains(err.Error(), config.Directory) {
		t.Errorf("the folder has gone: %v", err)
	}
	must(t, os.Mkdir(config.Directory, 0o755))
	must(t, producer.Produce(t.Context(), outgoing("a", "1:a", "x")))
}

func FuzzProducerNames(f *testing.F) {
	f.Add("id", "a.json", true)
	f.Add("../../x", "..", false)
	f.Add("a\x00b", "/", true)
	f.Add(strings.Repeat("é", 200), strings.Repeat("ü", 200), false)
	dir := f.TempDir()
	out := join(dir, "out")
	must(f, os.Mkdir(out, 0o755))
	name, err := service.NewInterpolatedString(`${! meta("fs_name") }`)
	must(f, err)
	usual := openProducer(f, producerConfig(out))
	config := producerConfig(out)
	config.Name, config.Idempotent = name, false
	free := openProducer(f, config)
	f.Fuzz(func(t *testing.T, id, fileName string, custom bool) {
		producer := usual
		if custom {
			producer = free
		}
		batch := outgoing(id, "1:a", "x")
		batch.SetMeta("fs_name", fileName)
		err := producer.Produce(t.Context(), batch)
		if err != nil && !custom && id != "" && !strings.ContainsAny(fileName, "/\x00") {
			t.Errorf("an id that is only odd was refused: %v", err)
		}
		entries, err := os.ReadDir(dir)
		must(t, err)
		if len(entries) != 1 {
			t.Fatalf("it has left the folder: %v", entries)
		}
		for _, entry := range names(t, out) {
			must(t, os.Remove(join(out, entry)))
		}
	})
}
