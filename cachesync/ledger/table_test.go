package ledger_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

var limits = ledger.Limits{DedupeCount: 20, DedupeTime: time.Minute}

// writer is the master of a table: it decides, applies, and keeps the log.
type writer struct {
	t     *testing.T
	table *ledger.Table
	term  ledger.Term
	log   []ledger.LogEntry
}

func newWriter(t *testing.T, table *ledger.Table) *writer {
	t.Helper()
	w := &writer{t: t, table: table, term: ledger.Term{Number: 1, Node: "a"}}
	w.apply(ledger.Op{Kind: ledger.TermBegun})
	return w
}

func (w *writer) apply(op ledger.Op) {
	w.t.Helper()
	e := ledger.LogEntry{Position: ledger.Position{Term: w.term, Index: w.table.Position().Index + 1}, Op: op}
	if err := w.table.Apply(&e); err != nil {
		w.t.Fatalf("apply %v: %v", op.Kind, err)
	}
	w.log = append(w.log, e)
}

func (w *writer) write(op ledger.Op) ledger.Verdict {
	w.t.Helper()
	verdict, err := w.table.Decide(&op)
	if (verdict == ledger.Invalid) != (err != nil) {
		w.t.Fatalf("%v: verdict %d with error %v", op.Kind, verdict, err)
	}
	if verdict == ledger.Accept {
		w.apply(op)
	}
	return verdict
}

func TestLifeOfAnEntry(t *testing.T) {
	w := newWriter(t, ledger.New(limits))
	check := func(verdict, want ledger.Verdict) {
		t.Helper()
		if verdict != want {
			t.Fatalf("verdict %d, want %d", verdict, want)
		}
	}
	check(w.write(ledger.Op{Kind: ledger.Received, MessageID: "m", WorkflowID: "w", Payload: []byte("one"), UnixMilli: 1}), ledger.Accept)
	check(w.write(ledger.Op{Kind: ledger.Stepped, MessageID: "m", Step: "s1", Payload: []byte("two"), UnixMilli: 2}), ledger.Accept)
	check(w.write(ledger.Op{Kind: ledger.Stepped, MessageID: "m", Step: "s2", UnixMilli: 3}), ledger.Accept)
	check(w.write(ledger.Op{Kind: ledger.Producing, MessageID: "m", UnixMilli: 4}), ledger.Accept)
	want := ledger.Entry{
		MessageID: "m", WorkflowID: "w", State: ledger.StateProducing, Step: "s2", Payload: []byte("two"),
		ReceivedMilli: 1, ChangedMilli: 4, Position: ledger.Position{Term: w.term, Index: 5}, Arrival: ledger.Position{Term: w.term, Index: 2}, PossibleDuplicate: true,
	}
	if got, _ := w.table.Entry("m"); !reflect.DeepEqual(got, want) {
		t.Errorf("entry %+v\nwant %+v", got, want)
	}

	// Receiving it again keeps its progress; so does holding and going on.
	check(w.write(ledger.Op{Kind: ledger.Received, MessageID: "m", Payload: []byte("again")}), ledger.InFlight)
	check(w.write(ledger.Op{Kind: ledger.Held, MessageID: "m", Reason: "unknown step"}), ledger.Accept)
	if got, _ := w.table.Entry("m"); got.State != ledger.StateHeld || got.Reason != "unknown step" || got.Step != "s2" || string(got.Payload) != "two" {
		t.Errorf("held entry %+v", got)
	}
	check(w.write(ledger.Op{Kind: ledger.Stepped, MessageID: "m", Step: "s3", Payload: []byte{}}), ledger.Accept)
	if got, _ := w.table.Entry("m"); got.State != ledger.StateReceived || got.Reason != "" || len(got.Payload) != 0 || !got.PossibleDuplicate {
		t.Errorf("resumed entry %+v", got)
	}
	check(w.write(ledger.Op{Kind: ledger.Done, MessageID: "m", UnixMilli: 10}), ledger.Accept)
	check(w.write(ledger.Op{Kind: ledger.Received, MessageID: "m", UnixMilli: 11}), ledger.DoneBefore)
	check(w.write(ledger.Op{Kind: ledger.Done, MessageID: "m"}), ledger.Invalid)

	// Released leaves no trace.
	check(w.write(ledger.Op{Kind: ledger.Received, MessageID: "r", UnixMilli: 12}), ledger.Accept)
	check(w.write(ledger.Op{Kind: ledger.Released, MessageID: "r"}), ledger.Accept)
	check(w.write(ledger.Op{Kind: ledger.Received, MessageID: "r", UnixMilli: 13}), ledger.Accept)
	if w.table.Len() != 1 || w.table.FinishedLen() != 1 {
		t.Errorf("%d in flight, %d finished, want 1 and 1", w.table.Len(), w.table.FinishedLen())
	}
	check(w.write(ledger.Op{Kind: ledger.Released, MessageID: "r"}), ledger.Accept)
	if w.table.Bytes() != 0 {
		t.Errorf("the empty table counts %d bytes", w.table.Bytes())
	}
}

func TestInvalidOperations(t *testing.T) {
	w := newWriter(t, ledger.New(limits))
	w.write(ledger.Op{Kind: ledger.Received, MessageID: "m"})
	long := strings.Repeat("x", ledger.MaxText+1)
	for name, op := range map[string]ledger.Op{
		"no kind":           {MessageID: "m"},
		"unknown kind":      {Kind: 99, MessageID: "m"},
		"term":              {Kind: ledger.TermBegun},
		"no id":             {Kind: ledger.Received},
		"long id":           {Kind: ledger.Received, MessageID: long},
		"id not UTF-8":      {Kind: ledger.Received, MessageID: "\xff"},
		"workflow":          {Kind: ledger.Received, MessageID: "n", WorkflowID: "\xff"},
		"reason":            {Kind: ledger.Held, MessageID: "m", Reason: long},
		"payload":           {Kind: ledger.Received, MessageID: "n", Payload: make([]byte, ledger.MaxPayload+1)},
		"stepped nowhere":   {Kind: ledger.Stepped, MessageID: "m"},
		"stepped unknown":   {Kind: ledger.Stepped, MessageID: "n", Step: "s"},
		"producing unknown": {Kind: ledger.Producing, MessageID: "n"},
		"done unknown":      {Kind: ledger.Done, MessageID: "n"},
		"released unknown":  {Kind: ledger.Released, MessageID: "n"},
		"held unknown":      {Kind: ledger.Held, MessageID: "n"},
	} {
		before := w.table.Position()
		verdict, err := w.table.Decide(&op)
		var fault *ledger.InvalidError
		if verdict != ledger.Invalid || !errors.As(err, &fault) || len(err.Error()) > 400 {
			t.Errorf("%s: verdict %d, error %v", name, verdict, err)
		}
		entry := ledger.LogEntry{Position: ledger.Position{Term: w.term, Index: before.Index + 1}, Op: op}
		if err := w.table.Apply(&entry); !errors.As(err, &fault) {
			t.Errorf("%s: applied with error %v", name, err)
		}
		if w.table.Position() != before {
			t.Errorf("%s: a refused entry moved the table", name)
		}
	}
}

func TestOrderOfTheLog(t *testing.T) {
	table := ledger.New(limits)
	first, second := ledger.Term{Number: 1, Node: "b"}, ledger.Term{Number: 2, Node: "a"}
	at := func(term ledger.Term, index uint64, kind ledger.Kind) error {
		return table.Apply(&ledger.LogEntry{Position: ledger.Position{Term: term, Index: index}, Op: ledger.Op{Kind: kind, MessageID: "m"}})
	}
	var gap *ledger.GapError
	var lower *ledger.LowerTermError
	var fault *ledger.InvalidError
	for _, step := range []struct {
		name string
		err  error
		want any
	}{
		{"a term must begin", at(first, 1, ledger.Received), &fault},
		{"begin", at(first, 1, ledger.TermBegun), nil},
		{"twice", at(first, 2, ledger.TermBegun), &fault},
		{"gap", at(first, 3, ledger.Received), &gap},
		{"repeat", at(first, 1, ledger.Received), &gap},
		{"next", at(first, 2, ledger.Received), nil},
		{"next term, same index", at(second, 2, ledger.TermBegun), &gap},
		{"next term", at(second, 3, ledger.TermBegun), nil},
		{"old term", at(first, 4, ledger.Done), &lower},
		{"old node of the same number", at(ledger.Term{Number: 2}, 4, ledger.TermBegun), &lower},
	} {
		if step.want == nil && step.err != nil || step.want != nil && !errors.As(step.err, step.want) {
			t.Errorf("%s: error %v, want %T", step.name, step.err, step.want)
		}
	}
}

func TestDedupeWindow(t *testing.T) {
	w := newWriter(t, ledger.New(ledger.Limits{DedupeCount: 3, DedupeTime: 10 * time.Millisecond}))
	finish := func(id string, at int64) {
		w.write(ledger.Op{Kind: ledger.Received, MessageID: id, UnixMilli: at})
		w.write(ledger.Op{Kind: ledger.Done, MessageID: id, UnixMilli: at})
	}
	seen := func(id string, at int64) bool {
		verdict, _ := w.table.Decide(&ledger.Op{Kind: ledger.Received, MessageID: id, UnixMilli: at})
		return verdict == ledger.DoneBefore
	}
	for i := range 4 {
		finish(fmt.Sprint(i), 100)
	}
	if seen("0", 100) || !seen("1", 100) || !seen("3", 110) {
		t.Error("the window must hold the last three")
	}
	if seen("3", 111) {
		t.Error("an id must be forgotten after 10 ms")
	}
	finish("4", 111)
	if got := w.table.FinishedLen(); got != 1 {
		t.Errorf("%d ids are kept, want 1: the others are too old", got)
	}

	none := newWriter(t, ledger.New(ledger.Limits{}))
	none.write(ledger.Op{Kind: ledger.Received, MessageID: "m"})
	none.write(ledger.Op{Kind: ledger.Done, MessageID: "m"})
	if none.table.FinishedLen() != 0 {
		t.Error("a window of 0 must remember nothing")
	}
}

// A window must not grow with the number of ids that have passed through it.
func TestDedupeWindowIsBounded(t *testing.T) {
	w := newWriter(t, ledger.New(limits))
	for i := range 10_000 {
		id := fmt.Sprint(i)
		w.write(ledger.Op{Kind: ledger.Received, MessageID: id, UnixMilli: int64(i)})
		w.write(ledger.Op{Kind: ledger.Done, MessageID: id, UnixMilli: int64(i)})
		w.log = w.log[:0]
	}
	if got := w.table.FinishedLen(); got != limits.DedupeCount {
		t.Errorf("%d ids, want %d", got, limits.DedupeCount)
	}
}

// randomOp makes an operation that is often, not always, valid. Few ids make them meet.
func randomOp(random *rand.Rand, clock *int64) ledger.Op {
	*clock += random.Int64N(200) - 20 // clocks of different writers are not the same
	op := ledger.Op{
		Kind:       ledger.Kind(1 + random.IntN(6)),
		MessageID:  fmt.Sprint("m", random.IntN(60)),
		WorkflowID: "w", UnixMilli: *clock,
	}
	if random.IntN(2) == 0 {
		op.Payload = []byte(strings.Repeat("p", random.IntN(100)))
	}
	if op.Kind == ledger.Stepped {
		op.Step = fmt.Sprint("s", random.IntN(5))
	}
	return op
}

// contents is everything that a table holds.
func contents(t *ledger.Table) ledger.Chunk {
	var all ledger.Chunk
	for c := range t.Snapshot().Chunks(1 << 30) {
		all = c
	}
	return all
}

// A replica that starts from a snapshot of any position holds the writer's table after the rest of the log.
func TestSnapshotAndRestEqualTheWriter(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		clock := int64(1_000_000)
		w := newWriter(t, ledger.New(limits))
		replica, from := (*ledger.Table)(nil), 0
		start := random.IntN(400)
		for i := range 400 {
			if random.IntN(100) == 0 {
				w.term.Number++
				w.apply(ledger.Op{Kind: ledger.TermBegun, UnixMilli: clock})
			}
			w.write(randomOp(random, &clock))
			if i == start {
				snapshot := w.table.Snapshot()
				from = len(w.log)
				// The snapshot is read later, when the table has gone on.
				defer func() {
					if got := snapshot.Position(); got != w.log[from-1].Position {
						t.Errorf("seed %d: the snapshot moved to %v", seed, got)
					}
				}()
				for range 20 {
					w.write(randomOp(random, &clock))
				}
				replica = restore(t, snapshot, 1+random.IntN(500))
			}
		}
		for i := range w.log[from:] {
			if err := replica.Apply(&w.log[from+i]); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		if got, want := contents(replica), contents(w.table); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: replica %+v\nwriter %+v", seed, got, want)
		}
		if replica.Bytes() != w.table.Bytes() {
			t.Fatalf("seed %d: the replica counts %d bytes, the writer %d", seed, replica.Bytes(), w.table.Bytes())
		}
	}
}

func restore(t *testing.T, s *ledger.Snapshot, chunk int) *ledger.Table {
	t.Helper()
	restorer := ledger.NewRestorer(limits)
	var table *ledger.Table
	for c := range s.Chunks(chunk) {
		if n := len(c.Entries) + len(c.Finished); n > 1 && c.Size() > chunk+64 {
			t.Fatalf("a chunk of %d parts has %d bytes, the limit is %d", n, c.Size(), chunk)
		}
		if table != nil {
			t.Fatal("a part after the last one")
		}
		var err error
		if table, err = restorer.Add(&c); err != nil {
			t.Fatal(err)
		}
	}
	if table == nil {
		t.Fatal("no last part")
	}
	return table
}

func TestEntriesComeInTheOrderOfArrival(t *testing.T) {
	w := newWriter(t, ledger.New(limits))
	for i, id := range []string{"z", "y", "x", "a"} {
		w.write(ledger.Op{Kind: ledger.Received, MessageID: id, UnixMilli: int64(i / 2)})
	}
	w.write(ledger.Op{Kind: ledger.Producing, MessageID: "x", UnixMilli: 9})
	var ids []string
	for _, e := range w.table.Entries() {
		ids = append(ids, e.MessageID)
	}
	if got := strings.Join(ids, ""); got != "zyax" {
		t.Errorf("order %q, want zyax", got)
	}
}

func TestRestoreRefusesNonsense(t *testing.T) {
	entry := func(id string, index uint64) ledger.Entry {
		return ledger.Entry{MessageID: id, State: ledger.StateReceived, Position: ledger.Position{Term: ledger.Term{Number: 1, Node: "a"}, Index: index}}
	}
	at := func(index uint64) ledger.Position {
		return ledger.Position{Term: ledger.Term{Number: 1, Node: "a"}, Index: index}
	}
	for name, chunks := range map[string][]ledger.Chunk{
		"no first":        {{Last: true, Position: at(1)}},
		"first twice":     {{First: true}, {First: true}},
		"after the last":  {{First: true, Last: true}, {Last: true}},
		"no id":           {{First: true, Entries: []ledger.Entry{entry("", 1)}}},
		"no state":        {{First: true, Entries: []ledger.Entry{{MessageID: "m"}}}},
		"twice":           {{First: true, Entries: []ledger.Entry{entry("m", 1)}}, {Entries: []ledger.Entry{entry("m", 2)}}},
		"finished no id":  {{First: true, Finished: []ledger.Finished{{}}}},
		"entry is later":  {{First: true, Last: true, Entries: []ledger.Entry{entry("m", 9)}, Position: at(8)}},
		"no term":         {{First: true, Last: true, Position: ledger.Position{Index: 1}}},
		"no index":        {{First: true, Last: true, Position: at(0)}},
		"after an error":  {{First: true, Entries: []ledger.Entry{{}}}, {Last: true, Position: at(1)}},
		"index at bounds": {{First: true, Last: true, Position: at(^uint64(0))}},
	} {
		restorer := ledger.NewRestorer(limits)
		var err error
		for i := range chunks {
			_, err = restorer.Add(&chunks[i])
		}
		var fault *ledger.SnapshotError
		if !errors.As(err, &fault) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestEmptyTableHasOneChunk(t *testing.T) {
	if table := restore(t, ledger.New(limits).Snapshot(), 100); table.Position() != (ledger.Position{}) || table.Len() != 0 {
		t.Error("the empty table must come back empty")
	}
}

func TestTerms(t *testing.T) {
	a, b := ledger.Term{Number: 2, Node: "a"}, ledger.Term{Number: 2, Node: "b"}
	if !a.Less(b) || b.Less(a) || !b.Less(ledger.Term{Number: 3}) || a.String() != "2:a" || (ledger.Term{}).String() != "none" {
		t.Error("terms are ordered by number, then by node")
	}
	if !(ledger.Position{Term: a, Index: 9}).Less(ledger.Position{Term: b, Index: 1}) {
		t.Error("positions are ordered by term, then by index")
	}
}
