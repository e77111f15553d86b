package rules_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/interlok/packet"
	"github.com/understudy-ha/understudy/failover/interlok/rules"
)

// finish fails the test with all that the world has found.
func (w *world) finish(t *testing.T) {
	t.Helper()
	if len(w.faults) > 0 {
		t.Error(strings.Join(w.faults, "\n"))
	}
}

// leader returns the only primary.
func (w *world) leader(t *testing.T) *node {
	t.Helper()
	leaders := w.primaries()
	if len(leaders) != 1 {
		t.Fatalf("at %v there are %d primaries", w.now, len(leaders))
	}
	return leaders[0]
}

func places(nodes ...*node) []int {
	var found []int
	for _, n := range nodes {
		found = append(found, n.secondaryAt())
	}
	return found
}

func TestColdStart(t *testing.T) {
	for _, test := range []struct {
		name string
		ours []bool
	}{
		{"one of ours", []bool{true}},
		{"two of ours", []bool{true, true}},
		{"mixed", []bool{true, false, true, false, true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(3, t.Logf)
			for _, ours := range test.ours {
				w.add(ours, 0)
			}
			w.run(timeout + 20*time.Second)
			w.leader(t)
			w.run(time.Minute)
			w.settled()
			w.finish(t)
		})
	}
}

// TestMigration takes a Java cluster of three over node by node, as the README says: first the secondaries, the primary
// last.
func TestMigration(t *testing.T) {
	w := newWorld(1, t.Logf)
	nodes := []*node{w.add(false, 1), w.add(false, 2), w.add(false, 3)}
	w.run(time.Minute)
	if w.leader(t) != nodes[0] || !slices.Equal(places(nodes[1:]...), []int{1, 2}) {
		t.Fatalf("places %v", places(nodes...))
	}
	for _, i := range []int{2, 1} {
		w.crash(nodes[i], -1)
		w.run(timeout + 10*time.Second)
		nodes[i] = w.add(true, i+1)
		w.run(time.Minute)
		if w.leader(t).name != "java0" {
			t.Fatalf("%s leads after %d", w.leader(t).name, i)
		}
	}
	// The one that came later found place 1 taken.
	if !slices.Equal(places(nodes[1:]...), []int{2, 1}) {
		t.Fatalf("places %v", places(nodes...))
	}
	next, last := nodes[2], w.now
	w.crash(nodes[0], -1)
	for len(w.primaries()) == 0 {
		w.run(100 * time.Millisecond)
	}
	if took := w.now - last; took < timeout-interval || took > timeout+time.Second {
		t.Errorf("the takeover took %v", took)
	}
	if w.leader(t) != next {
		t.Errorf("%s leads", w.leader(t).name)
	}
	nodes[0] = w.add(true, 1)
	w.run(time.Minute)
	w.settled()
	if w.leader(t) != next {
		t.Errorf("%s leads", w.leader(t).name)
	}
	w.finish(t)
}

// TestJavaWaits: as long as one of ours leads its Java secondaries do not.
func TestJavaWaits(t *testing.T) {
	w := newWorld(2, nil)
	ours := w.add(true, 1)
	w.run(30 * time.Second)
	a, b := w.add(false, 1), w.add(false, 0)
	w.run(time.Hour)
	if w.leader(t) != ours || a.secondaryAt()+b.secondaryAt() != 3 {
		t.Errorf("places %v", places(a, b))
	}
	// They take over when it goes.
	w.crash(ours, -1)
	w.run(timeout + 15*time.Second)
	if java := w.leader(t); java.ours {
		t.Error("who leads?")
	}
	w.finish(t)
}

// pair is a cluster in two halves with a primary each, and then healed.
func pair(t *testing.T, kinds [2]bool) (w *world, a, b *node) {
	t.Helper()
	w = newWorld(5, t.Logf)
	a, b = w.add(kinds[0], 1), w.add(kinds[1], 2)
	w.run(30 * time.Second)
	if w.leader(t) != a {
		t.Fatal("the wrong one leads")
	}
	w.partition(b)
	w.run(time.Minute)
	if len(w.primaries()) != 2 {
		t.Fatalf("%d primaries in two halves", len(w.primaries()))
	}
	return w, a, b
}

// TestConflict: exactly one of two primaries stays, without a pause.
func TestConflict(t *testing.T) {
	for _, test := range []struct {
		name  string
		kinds [2]bool
		stays int
	}{
		{"ours before Java", [2]bool{true, false}, 0},
		{"Java before ours", [2]bool{false, true}, 1},
		{"two of ours: the later one has the higher term", [2]bool{true, true}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, a, b := pair(t, test.kinds)
			stays, goes := a, b
			if test.stays == 1 {
				stays, goes = b, a
			}
			before := stays.promotions
			w.heal()
			w.run(interval + 10*time.Millisecond)
			if w.leader(t) != stays || stays.promotions != before {
				t.Errorf("%s leads", w.leader(t).name)
			}
			w.run(time.Minute)
			if w.leader(t) != stays || goes.secondaryAt() != 1 || stays.promotions != before {
				t.Errorf("%s leads, the other is in place %d", w.leader(t).name, goes.secondaryAt())
			}
			w.settled()
			w.finish(t)
		})
	}
}

// TestConflictOneWay: on a network that is cut in one direction the one that hears steps down.
func TestConflictOneWay(t *testing.T) {
	for _, kinds := range [][2]bool{{true, false}, {false, true}, {true, true}} {
		for deaf := range 2 {
			w, a, b := pair(t, kinds)
			nodes := []*node{a, b}
			w.heal()
			w.cut[[2]int{1 - deaf, deaf}] = true
			w.run(4*interval + time.Second)
			if leader := w.leader(t); leader != nodes[deaf] {
				t.Errorf("%v: %s leads, but cannot hear the other", kinds, leader.name)
			}
			w.finish(t)
		}
	}
}

// TestManyPrimaries: whatever the halves were, one of the primaries stays when at least one is ours.
func TestManyPrimaries(t *testing.T) {
	for seed := range uint64(60) {
		w := newWorld(seed, nil)
		for i := range 4 {
			w.add(i == 0 || w.random.IntN(2) == 0, i+1)
		}
		w.run(30 * time.Second)
		for _, n := range w.nodes {
			w.partition(n)
		}
		w.run(2 * time.Minute)
		before := map[*node]packet.ID{}
		for _, n := range w.primaries() {
			before[n] = n.id
		}
		if len(before) != 4 {
			t.Fatalf("seed %d: %d primaries", seed, len(before))
		}
		w.heal()
		promotions := 0
		for _, n := range w.nodes {
			promotions += n.promotions
		}
		w.run(4 * interval)
		leader := w.leader(t)
		if before[leader] != leader.id {
			t.Errorf("seed %d: %s leads, which did not", seed, leader.name)
		}
		w.run(settling(4))
		for _, n := range w.nodes {
			promotions -= n.promotions
		}
		if promotions != 0 || w.leader(t) != leader {
			t.Errorf("seed %d: %s leads, %d promotions after the heal", seed, w.leader(t).name, -promotions)
		}
		w.settled()
		w.finish(t)
	}
}

// TestResign: ours understand the last ping of one that resigns, Java waits for the timeout, and neither is put off by
// the one that has gone.
func TestResign(t *testing.T) {
	for _, ours := range []bool{true, false} {
		w := newWorld(7, t.Logf)
		first := w.add(true, 1)
		w.run(30 * time.Second)
		other := w.add(ours, 2)
		w.run(time.Minute)
		if w.leader(t) != first || other.secondaryAt() != 1 {
			t.Fatalf("place %d", other.secondaryAt())
		}
		first.host.GateOpen, first.host.AtRest = false, true
		w.step(first, rules.Resign{At: w.now, Term: first.machine.State().Term})
		began := w.now
		for len(w.primaries()) == 0 {
			w.run(10 * time.Millisecond)
		}
		took := w.now - began
		if w.leader(t) != other || ours && took > 50*time.Millisecond || !ours && (took < timeout-interval || took > timeout+6*time.Second) {
			t.Errorf("%s leads after %v", w.leader(t).name, took)
		}
		w.run(time.Minute)
		w.settled()
		w.finish(t)
	}
}

// TestResignAlone: with nobody else there it leads again after the timeout, and until then it does not take the place of
// somebody who is starting.
func TestResignAlone(t *testing.T) {
	for _, started := range []bool{false, true} {
		w := newWorld(15, t.Logf)
		ours := w.add(true, 1)
		w.run(30 * time.Second)
		var java *node
		if started {
			java = w.add(false, 1)
			w.run(6 * time.Second)
		}
		ours.host.GateOpen, ours.host.AtRest = false, true
		w.step(ours, rules.Resign{At: w.now, Term: ours.machine.State().Term})
		w.run(timeout + interval)
		if started {
			w.run(5 * time.Second)
		}
		if want := java; want != nil && w.leader(t) != java || want == nil && (w.leader(t) != ours || ours.promotions != 2) {
			t.Errorf("%s leads", w.leader(t).name)
		}
		w.run(time.Minute)
		w.settled()
		w.finish(t)
	}
}

// TestUnableIsSilent: one that could not lead must not keep the place of one that could.
func TestUnableIsSilent(t *testing.T) {
	w := newWorld(8, t.Logf)
	first := w.add(false, 1)
	w.run(30 * time.Second)
	ours, java := w.add(true, 1), w.add(false, 2)
	w.run(time.Minute)
	if ours.secondaryAt() != 1 {
		t.Fatalf("place %d", ours.secondaryAt())
	}
	ours.able = false
	w.run(time.Second)
	w.crash(first, -1)
	w.run(timeout + 20*time.Second)
	if w.leader(t) != java {
		t.Errorf("%s leads", w.leader(t).name)
	}
	if reason := ours.machine.State().Reason; !strings.Contains(reason, "cannot lead") {
		t.Errorf("the reason is %q", reason)
	}
	ours.able = true
	w.run(time.Minute)
	w.settled()
	w.finish(t)
}

// TestWorkloadFails: a primary whose host cannot lead any more makes room, and waits.
func TestWorkloadFails(t *testing.T) {
	w := newWorld(9, t.Logf)
	ours := w.add(true, 1)
	w.run(30 * time.Second)
	java := w.add(false, 2)
	w.run(30 * time.Second)
	ours.able = false
	w.run(timeout + 20*time.Second)
	if w.leader(t) != java {
		t.Errorf("%s leads", w.leader(t).name)
	}
	ours.able = true
	w.run(time.Minute)
	if w.leader(t) != java || ours.secondaryAt() != 1 {
		t.Errorf("%s leads, ours in place %d", w.leader(t).name, ours.secondaryAt())
	}
	w.finish(t)
}

// TestSilentHost: a primary that cannot vouch for its host stops its pings, its lease runs out before anybody else is
// promoted, and it does not fight whoever was.
func TestSilentHost(t *testing.T) {
	for _, ours := range []bool{true, false} {
		w := newWorld(10, t.Logf)
		first := w.add(true, 1)
		w.run(30 * time.Second)
		other := w.add(ours, 2)
		w.run(30 * time.Second)
		first.hostFrozen = w.now + time.Minute
		w.run(5 * time.Second)
		if s := first.machine.State(); s.Role != election.Master || s.Lease != 0 || !strings.Contains(s.Reason, "vouch") {
			t.Errorf("state %+v", s)
		}
		w.run(timeout + 10*time.Second)
		if w.leader(t) != other {
			t.Errorf("%s leads", w.leader(t).name)
		}
		w.run(time.Minute)
		if w.leader(t) != other || first.secondaryAt() != 1 {
			t.Errorf("%s leads, the first is in place %d", w.leader(t).name, first.secondaryAt())
		}
		w.finish(t)
	}
}

// TestDiskFull: who cannot save its term does not lead, and leaves the place to others.
func TestDiskFull(t *testing.T) {
	w := newWorld(11, t.Logf)
	first := w.add(true, 1)
	first.noDisk = true
	other := w.add(false, 2)
	w.run(5 * time.Second)
	w.run(2*timeout + 20*time.Second)
	if w.leader(t) != other || first.promotions > 0 {
		t.Errorf("%s leads", w.leader(t).name)
	}
	first.noDisk = false
	w.run(time.Minute)
	w.crash(other, -1)
	w.run(timeout + 10*time.Second)
	if w.leader(t) != first {
		t.Errorf("%s leads", w.leader(t).name)
	}
	w.finish(t)
}

// TestTerms: they grow from one of ours to the next, whatever led in between.
func TestTerms(t *testing.T) {
	w := newWorld(12, t.Logf)
	a, b := w.add(true, 1), w.add(true, 2)
	w.run(time.Minute)
	first := a.machine.State().Term
	w.run(time.Second)
	if b.saved < first.Number {
		t.Errorf("the secondary has saved %d, the primary leads in %v", b.saved, first)
	}
	w.crash(a, -1)
	w.run(timeout + 10*time.Second)
	second := b.machine.State().Term
	if second.Number != first.Number+1 {
		t.Errorf("%v came after %v", second, first)
	}
	java := w.add(false, 0)
	w.run(30 * time.Second)
	w.crash(b, -1)
	w.run(timeout + 20*time.Second)
	if w.leader(t) != java {
		t.Fatal("Java does not lead")
	}
	a.position = 1
	w.start(a)
	w.run(30 * time.Second)
	if s := a.machine.State(); s.Leader.Node != java.java.UUID() || s.Leader.Compare(first) <= 0 {
		t.Errorf("it follows %v", s.Leader)
	}
	w.crash(java, -1)
	w.run(timeout + 10*time.Second)
	third := a.machine.State()
	if third.Role != election.Master || third.Term.Compare(third.Takeover.After) <= 0 || third.Takeover.Cause != election.Silence {
		t.Errorf("state %+v, takeover %+v", third, third.Takeover)
	}
	w.finish(t)
}

// TestStall: a process that stood still listens before it decides.
func TestStall(t *testing.T) {
	w := newWorld(13, t.Logf)
	java := w.add(false, 1)
	w.run(30 * time.Second)
	ours := w.add(true, 1)
	w.run(30 * time.Second)
	ours.frozen = w.now + time.Minute
	w.run(time.Minute + 4*interval)
	if w.leader(t) != java || ours.promotions > 0 {
		t.Errorf("%s leads", w.leader(t).name)
	}
	w.settled()
	w.finish(t)
}

// TestFlood: invented members cost a bounded amount of memory.
func TestFlood(t *testing.T) {
	w := newWorld(14, nil)
	ours := w.add(true, 0)
	w.run(10 * time.Second)
	crowded := 0
	for range 1000 {
		ping := packet.Ping{Host: "192.0.2.9", ID: packet.ID(w.uuid()), Type: packet.Secondary, Position: 1}
		for _, action := range ours.machine.Step(rules.Received{At: w.now, Ping: ping}) {
			if report, ok := action.(rules.Report); ok && report.Kind == rules.Crowded {
				crowded++
			}
		}
	}
	if count := len(ours.machine.Members()); count != rules.MaxMembers || crowded != 1000-rules.MaxMembers {
		t.Errorf("%d members, %d refused", count, crowded)
	}
	w.run(timeout + time.Second)
	if count := len(ours.machine.Members()); count != 0 {
		t.Errorf("%d members after the timeout", count)
	}
}
