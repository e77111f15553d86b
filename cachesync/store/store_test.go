package store_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	"github.com/understudy-ha/understudy/cachesync/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dir = "data/mirror"

func limits() ledger.Limits { return ledger.Limits{DedupeCount: 20, DedupeTime: time.Hour} }

func open(t testing.TB, fs vfs.FS) *store.Store {
	t.Helper()
	s, err := tryOpen(fs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryOpen(fs vfs.FS) (*store.Store, error) {
	return store.Open(store.Options{Dir: dir, DedupeCount: limits().DedupeCount, FS: fs, Retry: time.Millisecond, Log: slog.New(slog.DiscardHandler)})
}

func closeStore(t testing.TB, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// load gives the table and the promise that a store holds; without a table an empty one.
func load(s *store.Store) (*ledger.Table, cachesync.Promise, error) {
	restorer := ledger.NewRestorer(limits())
	table := ledger.New(limits())
	promise, err := s.Load(func(c *ledger.Chunk) error {
		t, err := restorer.Add(c)
		if t != nil {
			table = t
		}
		return err
	})
	return table, promise, err
}

// contents is all of a table, comparable with reflect.DeepEqual.
func contents(table *ledger.Table) ledger.Chunk {
	var all ledger.Chunk
	for c := range table.Snapshot().Chunks(1 << 30) {
		all = c
	}
	return all
}

// replace puts another table into a store, after an attempt that was broken off.
func replace(s *store.Store, table *ledger.Table) error {
	for _, complete := range []bool{false, true} {
		for c := range table.Snapshot().Chunks(300) {
			if c.Last && !complete {
				break
			}
			if err := s.Replace(&c); err != nil {
				return err
			}
		}
	}
	return nil
}

// writer makes random changes of a table, in groups as a journal would.
type writer struct {
	random *rand.Rand
	table  *ledger.Table
	next   int
}

func newWriter(seed uint64) *writer {
	return &writer{random: rand.New(rand.NewPCG(seed, 3)), table: ledger.New(limits())}
}

// group applies a few operations and returns what they changed.
func (w *writer) group(t testing.TB, n int) []ledger.Change {
	t.Helper()
	var changes []ledger.Change
	for len(changes) < n {
		op := ledger.Op{Kind: ledger.Received, MessageID: fmt.Sprint("m", w.next), WorkflowID: "w", UnixMilli: int64(w.next)}
		position := w.table.Position()
		switch {
		case position.Index == 0:
			op, position.Term = ledger.Op{Kind: ledger.TermBegun}, ledger.Term{Number: 1, Node: "a"}
		case w.random.IntN(3) == 0:
			w.next++
			op.Payload = bytes.Repeat([]byte{byte(w.next)}, w.random.IntN(200))
		default:
			op.Kind = ledger.Kind(2 + w.random.IntN(5))
			op.MessageID, op.Step = fmt.Sprint("m", w.random.IntN(w.next+1)), "s"
			if op.Kind == ledger.Stepped && w.random.IntN(2) == 0 {
				op.Payload = []byte("changed")
			}
		}
		position.Index++
		if w.table.Apply(&ledger.LogEntry{Position: position, Op: op}) == nil {
			changes = append(changes, w.table.Changed(&op))
		}
	}
	return changes
}

func TestWhatWasAppendedIsLoaded(t *testing.T) {
	fs := vfs.NewMem()
	w := newWriter(1)
	for round := range 20 {
		s := open(t, fs)
		table, _, err := load(s)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := contents(table), contents(w.table); !reflect.DeepEqual(got, want) {
			t.Fatalf("round %d: loaded\n%+v\nwant\n%+v", round, got, want)
		}
		for range 30 {
			if err := s.Append(w.group(t, 1+w.random.IntN(10))); err != nil {
				t.Fatal(err)
			}
		}
		if round%5 == 4 {
			other := newWriter(uint64(round))
			other.group(t, 100)
			if err := replace(s, other.table); err != nil {
				t.Fatal(err)
			}
			w = other
		}
		closeStore(t, s)
	}
}

func TestPromiseIsKept(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	if _, promise, err := load(s); err != nil || !reflect.DeepEqual(promise, cachesync.Promise{}) {
		t.Errorf("a new store holds %+v, %v", promise, err)
	}
	want := cachesync.Promise{Term: ledger.Term{Number: 7, Node: "b"}, Record: cachesync.Record{
		Term: ledger.Term{Number: 6, Node: "a"}, Version: 3, Members: []string{"a", "b"}, AloneAfter: time.Second,
	}}
	if err := s.Keep(want); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	s = open(t, fs)
	defer closeStore(t, s)
	if _, promise, err := load(s); err != nil || !reflect.DeepEqual(promise, want) {
		t.Errorf("got %+v, %v, want %+v", promise, err, want)
	}
}

func TestLargePayload(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	table := ledger.New(limits())
	a := ledger.Term{Number: 1, Node: "a"}
	payload := bytes.Repeat([]byte("0123456789abcdef"), ledger.MaxPayload/16)
	for i, op := range []ledger.Op{{Kind: ledger.TermBegun}, {Kind: ledger.Received, MessageID: "m", Payload: payload}} {
		if err := table.Apply(&ledger.LogEntry{Position: ledger.Position{Term: a, Index: uint64(i + 1)}, Op: op}); err != nil {
			t.Fatal(err)
		}
		if err := s.Append([]ledger.Change{table.Changed(&op)}); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	s = open(t, fs)
	defer closeStore(t, s)
	loaded, _, err := load(s)
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := loaded.Entry("m"); !bytes.Equal(e.Payload, payload) {
		t.Errorf("the payload has %d bytes", len(e.Payload))
	}
}

// The ids that are kept beyond the window are bounded.
func TestDedupeWindowIsTrimmed(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	w := newWriter(5)
	for range 200 {
		if err := s.Append(w.group(t, 200)); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	s = open(t, fs)
	defer closeStore(t, s)
	kept := 0
	if _, err := s.Load(func(c *ledger.Chunk) error { kept += len(c.Finished); return nil }); err != nil {
		t.Fatal(err)
	}
	if kept < limits().DedupeCount || kept > limits().DedupeCount+1024+200 {
		t.Errorf("%d ids are kept for a window of %d", kept, limits().DedupeCount)
	}
}

func TestOneStoreOneProcess(t *testing.T) {
	path := t.TempDir()
	options := store.Options{Dir: path, Log: slog.New(slog.DiscardHandler)}
	s, err := store.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	if !store.Exists(path) {
		t.Error("it does not exist")
	}
	if second, err := store.Open(options); err == nil {
		closeStore(t, second)
		t.Error("two have it open")
	}
}
