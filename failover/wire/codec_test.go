package wire_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/understudy-ha/understudy/failover/wire"
	clusterv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

func key(b byte) (k [wire.KeySize]byte) {
	for i := range k {
		k[i] = b
	}
	return k
}

func codec(t testing.TB, cluster string, keys ...[wire.KeySize]byte) *wire.Codec {
	t.Helper()
	c, err := wire.NewCodec(cluster, keys)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// busyHeartbeat is what a master of five nodes sends.
func busyHeartbeat() *failoverv1.Datagram {
	term := &clusterv1.Term{Number: 17, NodeId: "node-1"}
	nodes := []string{"node-2", "node-3", "node-4", "node-5"}
	return &failoverv1.Datagram{
		Cluster: "orders", NodeId: "node-1", BootId: 1796000000000000000, Sequence: 4711,
		About: &failoverv1.About{
			Role: failoverv1.Role_ROLE_MASTER, CanLead: true, GateOpen: true,
			Standing: &failoverv1.Standing{InSync: true, Mirror: &clusterv1.Position{Term: term, Index: 123456}},
			Heard:    &failoverv1.Heard{Term: term, Sequence: 4000}, Hears: nodes, HearsAgeMillis: []uint32{1, 20, 300, 999},
			DelayNanos: 1e9, Retries: 5, AdapterDigest: "0123456789abcdef", Address: "192.168.1.17:45000",
		},
		Body: &failoverv1.Datagram_Heartbeat{Heartbeat: &failoverv1.Heartbeat{
			Term: term, Sequence: 4000, Members: nodes,
			Liveness: &failoverv1.Liveness{Address: "192.168.1.17:39999", Process: 1 << 60},
		}},
	}
}

func TestSealedDatagrams(t *testing.T) {
	t.Parallel()
	first, second := key(1), key(2)
	plain, sealed := codec(t, "orders"), codec(t, "orders", first)
	for _, test := range []struct {
		name     string
		from, to *wire.Codec
		want     wire.Cause
	}{
		{"plain", plain, plain, ""},
		{"sealed", sealed, sealed, ""},
		{"new key first, old one still there", codec(t, "orders", second, first), codec(t, "orders", first, second), ""},
		{"the old key still seals", codec(t, "orders", first), codec(t, "orders", second, first), ""},
		{"no key here", sealed, plain, wire.Sealed},
		{"no key there", plain, sealed, wire.Unsealed},
		{"another key", codec(t, "orders", second), sealed, wire.UnknownKey},
		{"the same key in another cluster", sealed, codec(t, "payments", first), wire.Forged},
	} {
		data, err := test.from.Encode(busyHeartbeat())
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("node-1")) == test.from.Sealed() {
			t.Errorf("%s: encrypted %v", test.name, !test.from.Sealed())
		}
		got, err := test.to.Decode(data)
		switch {
		case test.want == "" && (err != nil || !proto.Equal(got, busyHeartbeat())):
			t.Errorf("%s: %v, %v", test.name, got, err)
		case test.want != "" && (err == nil || wire.CauseOf(err) != test.want):
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
}

// TestNoBitCanBeChanged changes each bit of a sealed datagram.
func TestNoBitCanBeChanged(t *testing.T) {
	t.Parallel()
	c := codec(t, "orders", key(1))
	data, err := c.Encode(busyHeartbeat())
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(data) * 8 {
		changed := bytes.Clone(data)
		changed[bit/8] ^= 1 << (bit % 8)
		if _, err := c.Decode(changed); err == nil {
			t.Fatalf("bit %d of byte %d was changed, and nobody noticed", bit%8, bit/8)
		}
	}
	for length := range data {
		if _, err := c.Decode(bytes.Clone(data[:length])); err == nil {
			t.Fatalf("it was cut to %d bytes, and nobody noticed", length)
		}
	}
}

// TestReplay compares the window with a list of everything that was seen.
func TestReplay(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		replay := wire.NewReplay(map[string]uint64{"a": 5})
		seen := map[[2]uint64]bool{}
		boot, highest := uint64(5), uint64(0)
		for range 3000 {
			b := boot
			if random.IntN(500) == 0 {
				b += random.Uint64N(3) - 1
			}
			sequence := highest + random.Uint64N(3)
			if random.IntN(3) == 0 {
				sequence = highest - min(highest, random.Uint64N(1500))
			}
			if random.IntN(100) == 0 {
				sequence = highest + random.Uint64N(3000)
			}
			if b > boot {
				boot, highest = b, 0
			}
			want := b == boot && !seen[[2]uint64{b, sequence}] && sequence+1024 > highest
			if sequence == 0 {
				continue // Sequences begin with 1.
			}
			if _, err := replay.Admit("a", b, sequence); (err == nil) != want {
				t.Fatalf("boot %d of %d, sequence %d after %d: %v", b, boot, sequence, highest, err)
			}
			if want {
				seen[[2]uint64{b, sequence}] = true
				highest = max(highest, sequence)
			}
		}
	}
}

func TestReplayIsBounded(t *testing.T) {
	t.Parallel()
	replay := wire.NewReplay(nil)
	refused := 0
	for i := range 100 {
		if _, err := replay.Admit(string(rune('A'+i)), 1, 1); err != nil {
			refused++
		}
	}
	if len(replay.Boots()) != wire.MaxNodes || refused != 100-wire.MaxNodes {
		t.Errorf("%d nodes are kept, %d were refused", len(replay.Boots()), refused)
	}
}

func FuzzCodec(f *testing.F) {
	c := codec(f, "orders", key(1), key(2))
	data, err := c.Encode(busyHeartbeat())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if d, err := c.Decode(bytes.Clone(data)); err == nil && !proto.Equal(d, busyHeartbeat()) {
			t.Errorf("%x was taken for authentic", data)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, bench := range []struct {
		name     string
		from, to *wire.Codec
	}{
		{"plain", codec(b, "orders"), codec(b, "orders")},
		{"sealed", codec(b, "orders", key(1)), codec(b, "orders", key(1))},
		{"forged", codec(b, "other", key(1)), codec(b, "orders", key(1))},
		{"unknown-key", codec(b, "orders", key(2)), codec(b, "orders", key(1))},
	} {
		b.Run(bench.name, func(b *testing.B) {
			data, err := bench.from.Encode(busyHeartbeat())
			if err != nil {
				b.Fatal(err)
			}
			work := make([]byte, len(data))
			b.ReportAllocs()
			for b.Loop() {
				copy(work, data)
				_, _ = bench.to.Decode(work)
			}
		})
	}
}
