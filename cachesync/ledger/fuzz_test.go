package ledger_test

import (
	"reflect"
	"testing"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// source reads small numbers and strings from fuzzed bytes.
type source struct{ data []byte }

func (s *source) next() byte {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return b
}

func (s *source) text() string {
	n := min(int(s.next()%8), len(s.data))
	text := string(s.data[:n])
	s.data = s.data[n:]
	return text
}

func (s *source) term() ledger.Term {
	return ledger.Term{Number: uint64(s.next() % 4), Node: string('a' + rune(s.next()%2))}
}

// FuzzApply feeds two tables the same entries, whatever they are. Both must say the same and hold the same.
func FuzzApply(f *testing.F) {
	f.Add([]byte{1, 0, 1, 7, 0, 0, 0, 0, 0, 0, 1, 0, 2, 1, 1, 'm', 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &source{data}
		one, two := ledger.New(limits), ledger.New(limits)
		for len(s.data) > 0 {
			e := ledger.LogEntry{
				Position: ledger.Position{Term: s.term(), Index: uint64(s.next())},
				Op: ledger.Op{
					Kind: ledger.Kind(s.next() % 10), MessageID: s.text(), WorkflowID: s.text(), Step: s.text(),
					UnixMilli: int64(s.next()) * 1000, Payload: []byte(s.text()), Reason: s.text(),
				},
			}
			if s.next()%4 != 0 {
				e.Position.Index = one.Position().Index + 1
			}
			before := one.Position()
			errOne, errTwo := one.Apply(&e), two.Apply(&e)
			if (errOne == nil) != (errTwo == nil) {
				t.Fatalf("one says %v, two says %v", errOne, errTwo)
			}
			if errOne == nil && (one.Position() != e.Position || !before.Less(e.Position)) {
				t.Fatalf("from %v to %v by %v", before, one.Position(), e.Position)
			}
			if errOne != nil && one.Position() != before {
				t.Fatalf("refused with %v, but moved", errOne)
			}
		}
		if !reflect.DeepEqual(contents(one), contents(two)) {
			t.Fatal("the tables differ")
		}
		if restored := restore(t, one.Snapshot(), 100); !reflect.DeepEqual(contents(restored), contents(one)) {
			t.Fatal("the snapshot differs")
		}
	})
}

// FuzzRestore feeds a Restorer any chunks. What it accepts must be a table that can be used and copied.
func FuzzRestore(f *testing.F) {
	f.Add([]byte{1, 1, 1, 'm', 1, 1, 0, 1, 1, 'd', 3, 1, 0, 9})
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &source{data}
		restorer := ledger.NewRestorer(limits)
		for len(s.data) > 0 {
			flags := s.next()
			c := ledger.Chunk{First: flags&1 != 0, Last: flags&2 != 0}
			for range s.next() % 4 {
				c.Entries = append(c.Entries, ledger.Entry{
					MessageID: s.text(), State: ledger.State(s.next() % 5), Payload: []byte(s.text()),
					Position: ledger.Position{Term: s.term(), Index: uint64(s.next())},
				})
			}
			for range s.next() % 4 {
				c.Finished = append(c.Finished, ledger.Finished{MessageID: s.text(), UnixMilli: int64(s.next())})
			}
			c.Position = ledger.Position{Term: s.term(), Index: uint64(s.next())}
			table, err := restorer.Add(&c)
			if table == nil || err != nil {
				continue
			}
			if again := restore(t, table.Snapshot(), 50); !reflect.DeepEqual(contents(again), contents(table)) {
				t.Fatal("the copy differs")
			}
		}
	})
}
