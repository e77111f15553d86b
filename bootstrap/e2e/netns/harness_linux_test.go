package netns_test

import (
	"slices"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// answers makes samples of a node, one every 10 ms from a moment on, that take 2 ms each: o is an open gate, O one of
// another term, and anything else a shut one.
func answers(from time.Time, gates string) []sample {
	var samples []sample
	for i, gate := range gates {
		sent := from.Add(time.Duration(i) * 10 * time.Millisecond)
		samples = append(samples, sample{
			sent: sent, received: sent.Add(2 * time.Millisecond), open: gate == 'o' || gate == 'O', term: string(gate),
		})
	}
	return samples
}

// TestGatesCounted: what TestFaults concludes from the answers of the nodes.
func TestGatesCounted(t *testing.T) {
	for _, c := range []struct {
		name, a, b  string
		most        int
		twice, shut time.Duration
	}{
		{"one after the other", "oooo----", "----oooo", 1, 0, 12 * time.Millisecond},
		{"both", "ooooooo-", "----oooo", 2, 18 * time.Millisecond, 0},
		{"one answer of the other proves nothing", "oooooooo", "---o----", 1, 0, 0},
		{"shut between two terms", "oo--OO--", "--------", 1, 0, 32 * time.Millisecond},
		{"nobody", "--------", "--------", 0, 0, 0},
		{"at the same time", "oooo", "oooo", 2, 28 * time.Millisecond, 0},
	} {
		from := time.Unix(1, 0)
		all := spans(map[string][]sample{"a": answers(from, c.a), "b": answers(from, c.b)})
		most, twice := overlap(all)
		if most != c.most || twice != c.twice {
			t.Errorf("%s: %d open at once, for %v; want %d, %v", c.name, most, twice, c.most, c.twice)
		}
		if d := shut(all); d != c.shut {
			t.Errorf("%s: shut for %v, want %v", c.name, d, c.shut)
		}
	}
}

// TestOrderCounted: what it concludes from the journals. Times are in milliseconds.
func TestOrderCounted(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(1, 0).Add(time.Duration(ms) * time.Millisecond) }
	write := func(term string, named, noted int) written {
		return written{Write: cluster.Write{Term: term, TimeUnixNano: at(noted).UnixNano()}, named: at(named)}
	}
	for _, c := range []struct {
		name         string
		writes       []written
		after, noted int
	}{
		{"in order", []written{write("9:a", 0, 1), write("10:b", 20, 21)}, 0, 0},
		{"number before name", []written{write("2:b", 0, 1), write("10:a", 20, 21), write("2:b", 40, 41)}, 1, 0},
		{"node decides between equal numbers", []written{write("2:b", 0, 1), write("2:a", 40, 41)}, 1, 0},
		{"noted late", []written{write("1:a", 0, 500), write("2:b", 20, 21)}, 0, 1},
		{"within a tick", []written{write("1:a", 8, 9), write("2:b", 0, 20)}, 0, 0},
		{"a term between", []written{write("1:a", 0, 1), write("3:a", 50, 51), write("2:b", 100, 101)}, 1, 0},
	} {
		o := orderOf(c.writes)
		if len(o.after) != c.after || len(o.noted) != c.noted {
			t.Errorf("%s: %d after, %d noted late; want %d, %d", c.name, len(o.after), len(o.noted), c.after, c.noted)
		}
		if !slices.IsSortedFunc(o.terms, compareTerms) {
			t.Errorf("%s: terms %v", c.name, o.terms)
		}
	}
	if d := pause([]written{write("1:a", 5, 5), write("1:a", 10, 10), write("2:b", 70, 70), write("2:b", 999, 999)}, at(0), at(100)); d != 60*time.Millisecond {
		t.Errorf("pause is %v", d)
	}
}
