package wire_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
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
		{"three keys, the last of which is right", sealed, codec(t, "orders", second, key(3), first), ""},
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

// TestRotation: while a key is replaced as README.md says, nodes that are one step apart hear each other, and with a step
// left out they do not.
func TestRotation(t *testing.T) {
	t.Parallel()
	older, newer := key(1), key(2)
	steps := []*wire.Codec{
		codec(t, "orders", older), codec(t, "orders", older, newer), codec(t, "orders", newer, older), codec(t, "orders", newer),
	}
	for i, from := range steps {
		data, err := from.Encode(heartbeat())
		if err != nil {
			t.Fatal(err)
		}
		for j, to := range steps {
			_, err := to.Decode(bytes.Clone(data))
			if apart := max(i-j, j-i); apart <= 1 && err != nil {
				t.Errorf("from step %d to step %d: %v", i, j, err)
			}
			if i == 2 && j == 0 && wire.CauseOf(err) != wire.UnknownKey {
				t.Errorf("a new key first, before the others know it: %v", err)
			}
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

// TestSealedHeader: what the plain bytes say is judged before a key is tried, and authentic all the same.
func TestSealedHeader(t *testing.T) {
	t.Parallel()
	c := codec(t, "orders", key(1))
	data, err := c.Encode(busyHeartbeat())
	if err != nil {
		t.Fatal(err)
	}
	if data[4] != wire.Version|0x80 || data[5] != wire.LeastVersion || string(data[:4]) != "USTY" {
		t.Fatalf("the plain bytes are %x", data[:6])
	}
	for _, test := range []struct {
		name   string
		change func([]byte) []byte
		want   wire.Cause
	}{
		{"a later version that this one can read", func(d []byte) []byte { d[4]++; return d }, wire.Forged},
		{"a reader of a later version is needed", func(d []byte) []byte { d[5] = wire.Version + 1; return d }, wire.OtherVersion},
		{"an early version", func(d []byte) []byte { d[4] = 0x80; return d }, wire.OtherVersion},
		{"not sealed any more", func(d []byte) []byte { d[4] &^= 0x80; return d }, wire.Unsealed},
		{"no room for a seal", func(d []byte) []byte { return d[:6+4+24+15] }, wire.Malformed},
		{"nothing but a seal", func(d []byte) []byte { return d[:6+4+24+16] }, wire.Forged},
		{"another key's id", func(d []byte) []byte { d[6]++; return d }, wire.UnknownKey},
		{"too long", func(d []byte) []byte { return append(d, make([]byte, wire.MaxSize)...) }, wire.TooLong},
	} {
		if _, err := c.Decode(test.change(bytes.Clone(data))); err == nil || wire.CauseOf(err) != test.want {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
}

// TestLaterVersion: a sealed datagram of a later version that this one can read is opened like any other.
func TestLaterVersion(t *testing.T) {
	t.Parallel()
	k := key(1)
	c := codec(t, "orders", k)
	data, err := c.Encode(busyHeartbeat())
	if err != nil {
		t.Fatal(err)
	}
	aead, err := chacha20poly1305.NewX(k[:])
	if err != nil {
		t.Fatal(err)
	}
	content, err := proto.Marshal(busyHeartbeat())
	if err != nil {
		t.Fatal(err)
	}
	header := []byte{'U', 'S', 'T', 'Y', 0x80 | (wire.Version + 1), wire.LeastVersion}
	nonce := data[10:34]
	later := slices.Concat(header, data[6:34], aead.Seal(nil, nonce, content, append(bytes.Clone(header), "orders"...)))
	if got, err := c.Decode(later); err != nil || !proto.Equal(got, busyHeartbeat()) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestTooLongSealed(t *testing.T) {
	t.Parallel()
	d := busyHeartbeat()
	long := make([]string, wire.MaxNodes)
	for i := range long {
		long[i] = strings.Repeat("x", wire.MaxID-5)
	}
	d.About.Hears, d.GetHeartbeat().Members = long, long
	plain, err := codec(t, "orders").Encode(d)
	for i := 0; err == nil && len(plain)+44 <= wire.MaxSize; i++ {
		long[i] += "xxxxx" // In both lists.
		plain, err = codec(t, "orders").Encode(d)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := codec(t, "orders", key(1)).Encode(d); wire.CauseOf(err) != wire.TooLong {
		t.Errorf("%d bytes plain, sealed: %v", len(plain), err)
	}
}

// TestNoncesDiffer: two datagrams of the same content are not the same.
func TestNoncesDiffer(t *testing.T) {
	t.Parallel()
	c := codec(t, "orders", key(1))
	seen := map[string]bool{}
	for range 1000 {
		data, err := c.Encode(heartbeat())
		if err != nil {
			t.Fatal(err)
		}
		seen[string(data[10:34])] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different nonces of 1000", len(seen))
	}
}

// TestForgeriesAreCheap: what anybody can send to a node that has keys costs it no memory.
func TestForgeriesAreCheap(t *testing.T) {
	c := codec(t, "orders", key(1))
	datagrams := map[string][]byte{"not ours": []byte("GET / HTTP/1.1")}
	for name, from := range map[string]*wire.Codec{
		"forged": codec(t, "other", key(1)), "unknown key": codec(t, "orders", key(2)), "plain": codec(t, "orders"),
	} {
		data, err := from.Encode(busyHeartbeat())
		if err != nil {
			t.Fatal(err)
		}
		datagrams[name] = data
	}
	for name, data := range datagrams {
		if allocations := testing.AllocsPerRun(100, func() { _, _ = c.Decode(data) }); allocations != 0 {
			t.Errorf("%s: %v allocations", name, allocations)
		}
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
			start := cpuTime(b)
			for b.Loop() {
				copy(work, data)
				_, _ = bench.to.Decode(work)
			}
			reportCPU(b, start)
		})
	}
}
