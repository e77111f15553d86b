package wire_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/understudy-ha/understudy/failover/wire"
)

// memory is what Replay does, told in the simplest way: it keeps everything.
type memory map[string]*life

type life struct {
	boot, first, highest uint64
	seen                 map[uint64]bool
}

func remember(boots map[string]uint64) memory {
	m := memory{}
	for node, boot := range boots {
		m[node] = &life{boot: boot, seen: map[uint64]bool{}}
	}
	return m
}

// admit gives the cause of the refusal, empty if there is none.
func (m memory) admit(node string, boot, sequence uint64) (fresh bool, refusal wire.Cause) {
	l := m[node]
	if l == nil {
		if len(m) == wire.MaxNodes && !m.forget() {
			return false, wire.Crowded
		}
		l = &life{seen: map[uint64]bool{}}
		m[node] = l
	}
	if boot < l.boot {
		return false, wire.OldBoot
	}
	if boot > l.boot {
		*l = life{boot: boot, seen: map[uint64]bool{}}
		fresh = true
	}
	if sequence == 0 || sequence < l.first || l.seen[sequence] || sequence < l.highest && l.highest-sequence >= 1024 {
		return fresh, wire.Replayed
	}
	if len(l.seen) == 0 {
		l.first = sequence
	}
	l.seen[sequence] = true
	l.highest = max(l.highest, sequence)
	return fresh, ""
}

// forget takes away the node with the oldest life among those that have not been heard.
func (m memory) forget() bool {
	oldest := ""
	for node, l := range m {
		if len(l.seen) == 0 && (oldest == "" || l.boot < m[oldest].boot) {
			oldest = node
		}
	}
	delete(m, oldest)
	return oldest != ""
}

func (m memory) boots() map[string]uint64 {
	boots := map[string]uint64{}
	for node, l := range m {
		boots[node] = l.boot
	}
	return boots
}

// both gives a datagram to a Replay and to the model.
func both(t *testing.T, replay *wire.Replay, model memory, node string, boot, sequence uint64) {
	t.Helper()
	fresh, err := replay.Admit(node, boot, sequence)
	var got wire.Cause
	if err != nil {
		got = wire.CauseOf(err)
	}
	if wantFresh, want := model.admit(node, boot, sequence); got != want || fresh != wantFresh {
		t.Fatalf("%s, boot %d, sequence %d: fresh %v, %q; want %v, %q", node, boot, sequence, fresh, got, wantFresh, want)
	}
}

// TestReplay compares the window with the model, over lives that go on as those of nodes do: mostly forward, sometimes
// far, sometimes back, and by chance with more nodes than there is room for.
func TestReplay(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 1))
		known := map[string]uint64{}
		for i := range random.IntN(wire.MaxNodes + 1) {
			known[fmt.Sprint("disk-", i)] = 1 + uint64(i)*3 // All different, so that the oldest is one node.
		}
		replay, model := wire.NewReplay(known), remember(known)
		for range 3000 {
			node := fmt.Sprint("disk-", random.IntN(4))
			if random.IntN(30) == 0 {
				node = fmt.Sprint("new-", random.IntN(80))
			}
			boot, highest := uint64(5), uint64(0)
			if l := model[node]; l != nil {
				boot, highest = l.boot, l.highest
			}
			if random.IntN(300) == 0 {
				boot += random.Uint64N(3) - 1
			}
			sequence := highest + 1 + random.Uint64N(3)
			switch random.IntN(10) {
			case 0, 1, 2:
				sequence = max(highest-min(highest, random.Uint64N(1500)), 1)
			case 3:
				sequence = highest + 1 + random.Uint64N(3000)
			}
			both(t, replay, model, node, boot, sequence)
		}
		if got, want := replay.Boots(), model.boots(); !maps.Equal(got, want) {
			t.Fatalf("seed %d: boots %v, want %v", seed, got, want)
		}
	}
}

// FuzzReplay reads a datagram from each 5 bytes.
func FuzzReplay(f *testing.F) {
	f.Add([]byte{1, 1, 0, 0, 5, 1, 1, 0, 0, 5, 1, 0, 0, 0, 5})
	f.Add([]byte{2, 1, 2, 255, 255, 2, 1, 0, 0, 1, 2, 1, 2, 255, 250})
	f.Fuzz(func(t *testing.T, data []byte) {
		known := map[string]uint64{"a": 1}
		replay, model := wire.NewReplay(known), remember(known)
		for len(data) >= 5 {
			node, boot := string(rune('a'+data[0]%100)), uint64(data[1]%4)
			sequence := uint64(binary.BigEndian.Uint16(data[3:])) + 1
			switch data[2] % 4 {
			case 2:
				sequence = math.MaxUint64 - sequence + 1
			case 3:
				sequence = (sequence - 1) << 40
			}
			both(t, replay, model, node, boot, sequence)
			data = data[5:]
		}
	})
}

// TestRecordingsOfBefore: a node that has been started anew takes no recording of the life that goes on, once it has
// heard that itself.
func TestRecordingsOfBefore(t *testing.T) {
	t.Parallel()
	replay := wire.NewReplay(map[string]uint64{"a": 5})
	if _, err := replay.Admit("a", 5, 2000); err != nil {
		t.Fatal(err)
	}
	for sequence := uint64(1); sequence < 2000; sequence++ {
		if _, err := replay.Admit("a", 5, sequence); wire.CauseOf(err) != wire.Replayed {
			t.Fatalf("%d: %v", sequence, err)
		}
	}
	for _, sequence := range []uint64{2003, 2001, 2002} { // They may overtake each other from now on.
		if _, err := replay.Admit("a", 5, sequence); err != nil {
			t.Errorf("%d: %v", sequence, err)
		}
	}
}

// TestReplayAtTheEnd: the last sequence numbers that there are end nothing but the life that uses them.
func TestReplayAtTheEnd(t *testing.T) {
	t.Parallel()
	replay := wire.NewReplay(nil)
	for _, sequence := range []uint64{1, math.MaxUint64 - 3, math.MaxUint64, math.MaxUint64 - 1} {
		if _, err := replay.Admit("a", 1, sequence); err != nil {
			t.Errorf("%d: %v", sequence, err)
		}
	}
	if _, err := replay.Admit("a", 1, math.MaxUint64); wire.CauseOf(err) != wire.Replayed {
		t.Errorf("twice: %v", err)
	}
	if fresh, err := replay.Admit("a", 2, 1); err != nil || !fresh {
		t.Errorf("the next life: %v, %v", fresh, err)
	}
}

func TestReplayIsBounded(t *testing.T) {
	t.Parallel()
	known := map[string]uint64{}
	for i := range 100 {
		known[fmt.Sprint("disk-", i)] = uint64(i) + 1
	}
	replay := wire.NewReplay(known)
	boots := replay.Boots()
	if len(boots) != wire.MaxNodes || boots["disk-99"] != 100 || boots["disk-36"] != 37 {
		t.Errorf("not the %d latest lives: %v", wire.MaxNodes, boots)
	}
	refused := 0
	for i := range 100 {
		if _, err := replay.Admit(fmt.Sprint("new-", i), 1, 1); err != nil {
			refused++
			if wire.CauseOf(err) != wire.Crowded {
				t.Error(err)
			}
		}
	}
	if len(replay.Boots()) != wire.MaxNodes || refused != 100-wire.MaxNodes {
		t.Errorf("%d nodes are kept, %d were refused", len(replay.Boots()), refused)
	}
	if _, err := replay.Admit("new-0", 1, 2); err != nil {
		t.Errorf("one that is known was refused, too: %v", err)
	}
}

func BenchmarkAdmit(b *testing.B) {
	replay := wire.NewReplay(nil)
	sequence := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		sequence++
		if _, err := replay.Admit("node-1", 1, sequence); err != nil {
			b.Fatal(err)
		}
	}
}
