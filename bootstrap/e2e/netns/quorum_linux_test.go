package netns_test

import (
	"maps"
	"testing"
	"time"
)

// TestPartitionQuorum: with a quorum the master that is cut off shuts its gate before the others lead, and there are
// never two gates open. Afterwards the old master follows, in the same process, without another promotion.
func TestPartitionQuorum(t *testing.T) {
	f := newField(t, 3, 3)
	old := f.settled()
	before := f.promotions()
	pid := old.PID()
	cut := time.Now()
	f.net.cut(old.ID)
	next := f.leads(f.others(old))
	if s := f.gates.status(old.ID); s == nil || s.GetGateOpen() {
		t.Errorf("%s leads, and the gate of %s is not shut: %v", next.ID, old.ID, s)
	}
	f.eventually("files come out on the majority's side", func() error {
		f.read()
		if f.writes[len(f.writes)-1].Node != next.ID {
			return errNotSettled
		}
		return nil
	})
	during := f.promotions()
	f.net.mend(old.ID)
	if winner := f.settled(); winner != next {
		t.Errorf("%s leads after the partition, %s did in it", winner.ID, next.ID)
	}
	after := f.promotions()
	if !maps.Equal(during, after) {
		t.Errorf("promotions were %v at the end of the partition and are %v now", during, after)
	}
	before[next.ID]++
	if !maps.Equal(before, during) {
		t.Errorf("promotions should be %v, one more for %s, they are %v", before, next.ID, during)
	}
	if old.PID() != pid || !old.Running() {
		t.Errorf("%s has not stayed in its process", old.ID)
	}
	samples := f.gates.since(cut)
	all := spans(samples)
	most, twice := overlap(all)
	if most != 1 {
		t.Errorf("%d gates were open at once, for %v", most, twice)
	}
	for _, s := range samples[old.ID] {
		if !s.open {
			t.Logf("cut at 0; %s says that its gate is shut at %v; %s says that its own is open at %v",
				old.ID, s.received.Sub(cut), next.ID, opened(all, next.ID).Sub(cut))
			break
		}
	}
	f.finish()
}

// opened is when a node said for the first time that its gate is open.
func opened(all []span, node string) time.Time {
	for _, s := range all {
		if s.node == node {
			return s.from
		}
	}
	return time.Time{}
}
