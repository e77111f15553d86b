package ledger_test

import (
	"reflect"
	"testing"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

func term(n uint64) ledger.Term { return ledger.Term{Number: n, Node: "a"} }

func TestSealsTellWhatIsHeld(t *testing.T) {
	table := ledger.New(limits)
	index := uint64(0)
	write := func(term ledger.Term, op ledger.Op) {
		t.Helper()
		index++
		if err := table.Apply(&ledger.LogEntry{Position: ledger.Position{Term: term, Index: index}, Op: op}); err != nil {
			t.Fatal(err)
		}
	}
	write(term(1), ledger.Op{Kind: ledger.TermBegun})
	write(term(1), ledger.Op{Kind: ledger.Received, MessageID: "m"})
	write(term(3), ledger.Op{Kind: ledger.TermBegun})
	write(term(3), ledger.Op{Kind: ledger.Received, MessageID: "n"})
	write(term(5), ledger.Op{Kind: ledger.TermBegun})
	log := table.Log()
	for _, c := range []struct {
		term, index uint64
		want        bool
	}{
		{1, 2, true}, {1, 3, false}, {2, 1, false}, {3, 4, true}, {3, 5, false}, {4, 5, false}, {5, 5, true}, {5, 6, false}, {6, 1, false},
	} {
		if got := log.Holds(ledger.Position{Term: term(c.term), Index: c.index}); got != c.want {
			t.Errorf("term %d index %d: %v", c.term, c.index, got)
		}
	}
	if !log.Holds(ledger.Position{}) {
		t.Error("the beginning is on every log")
	}

	// What came in on a log of its own is beyond; what came in before and was changed there is not.
	other := ledger.Log{Position: ledger.Position{Term: term(4), Index: 9}, Seals: ledger.Seals{
		Ends: []ledger.Position{{Term: term(1), Index: 2}, {Term: term(3), Index: 3}},
	}}
	var beyond []string
	for c := range table.Snapshot().Beyond(other).Chunks(1 << 20) {
		for _, e := range c.Entries {
			beyond = append(beyond, e.MessageID)
		}
	}
	if !reflect.DeepEqual(beyond, []string{"n"}) {
		t.Errorf("beyond are %v", beyond)
	}
}

func TestSealsAreBoundedAndForgottenTermsCountAsHeld(t *testing.T) {
	table := ledger.New(limits)
	for i := range uint64(1000) {
		if err := table.Apply(&ledger.LogEntry{Position: ledger.Position{Term: term(i + 1), Index: i + 1}, Op: ledger.Op{Kind: ledger.TermBegun}}); err != nil {
			t.Fatal(err)
		}
	}
	log := table.Log()
	if n := len(log.Seals.Ends); n != 256 {
		t.Errorf("%d seals", n)
	}
	if !log.Holds(ledger.Position{Term: term(1), Index: 999}) || log.Holds(ledger.Position{Term: term(999), Index: 1000}) {
		t.Error("the oldest term is not known any more, the last one is")
	}
	restorer := ledger.NewRestorer(limits)
	var copied *ledger.Table
	for c := range table.Snapshot().Chunks(1 << 20) {
		var err error
		if copied, err = restorer.Add(&c); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(copied.Log(), log) {
		t.Error("a snapshot loses the seals")
	}
}

func TestRestorerRefusesImpossibleSeals(t *testing.T) {
	end := func(n, index uint64) ledger.Position { return ledger.Position{Term: term(n), Index: index} }
	for name, seals := range map[string]ledger.Seals{
		"out of order":    {Ends: []ledger.Position{end(2, 3), end(1, 4)}},
		"of its own term": {Ends: []ledger.Position{end(9, 3)}},
		"later":           {Ends: []ledger.Position{end(1, 10)}},
		"backwards":       {Ends: []ledger.Position{end(1, 5), end(2, 4)}},
		"empty":           {Ends: []ledger.Position{end(1, 0)}},
		"from later":      {From: term(10)},
		"too many":        {Ends: make([]ledger.Position, 300)},
	} {
		if _, err := ledger.NewRestorer(limits).Add(&ledger.Chunk{First: true, Last: true, Position: end(9, 10), Seals: seals}); err == nil {
			t.Errorf("%s: %+v was taken", name, seals)
		}
	}
}
