package wire_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/understudy-ha/understudy/failover/wire"
	clusterv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

func heartbeat() *failoverv1.Datagram {
	term := &clusterv1.Term{Number: 7, NodeId: "orders-1"}
	return &failoverv1.Datagram{
		Cluster: "orders", NodeId: "orders-1", BootId: 1763900000000000000, Sequence: 42,
		About: &failoverv1.About{
			Role: failoverv1.Role_ROLE_MASTER,
			Standing: &failoverv1.Standing{
				InSync: true, Mirror: &clusterv1.Position{Term: term, Index: 1000}, Priority: -3,
			},
			CanLead: true, GateOpen: true,
			Heard: &failoverv1.Heard{Term: term, Sequence: 99},
			Hears: []string{"orders-2", "orders-3"}, DelayNanos: 1e9, Retries: 5, AdapterDigest: strings.Repeat("a", 64),
		},
		Body: &failoverv1.Datagram_Heartbeat{Heartbeat: &failoverv1.Heartbeat{
			Term: term, Sequence: 99, Members: []string{"orders-2", "orders-3"},
		}},
	}
}

func TestEncodeDecode(t *testing.T) {
	t.Parallel()
	want := heartbeat()
	data, err := wire.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := wire.Decode(data, "orders")
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	encode := func(change func(*failoverv1.Datagram)) []byte {
		d := heartbeat()
		change(d)
		body, err := proto.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		return append([]byte{'U', 'S', 'T', 'Y', wire.Version, wire.LeastVersion}, body...)
	}
	set := func(at int, value byte) []byte {
		data := encode(func(*failoverv1.Datagram) {})
		data[at] = value
		return data
	}
	tests := []struct {
		name string
		data []byte
		want wire.Cause
	}{
		{"nothing", nil, wire.NotOurs},
		{"interlok", make([]byte, 70), wire.NotOurs},
		{"magic only", []byte("USTY"), wire.NotOurs},
		{"needs a later reader", set(5, wire.Version+1), wire.OtherVersion},
		{"too old", set(4, wire.LeastVersion-1), wire.OtherVersion},
		{"garbage behind the magic", []byte("USTY\x01\x01\xff\xff\xff"), wire.Malformed},
		{"too long", append(set(4, wire.Version), make([]byte, wire.MaxSize)...), wire.TooLong},
		{"other cluster", encode(func(d *failoverv1.Datagram) { d.Cluster = "invoices" }), wire.OtherCluster},
		{"no node", encode(func(d *failoverv1.Datagram) { d.NodeId = "" }), wire.Malformed},
		{"node with a line feed", encode(func(d *failoverv1.Datagram) { d.NodeId = "a\nINFO: b" }), wire.Malformed},
		{"node too long", encode(func(d *failoverv1.Datagram) { d.NodeId = strings.Repeat("x", wire.MaxID+1) }), wire.Malformed},
		{"no boot", encode(func(d *failoverv1.Datagram) { d.BootId = 0 }), wire.Malformed},
		{"no sequence", encode(func(d *failoverv1.Datagram) { d.Sequence = 0 }), wire.Malformed},
		{"age below zero", encode(func(d *failoverv1.Datagram) { d.About.Heard.AgeNanos = -1 }), wire.Malformed},
		{"too many nodes", encode(func(d *failoverv1.Datagram) {
			d.GetHeartbeat().Members = strings.Split(strings.Repeat("n ", wire.MaxNodes)+"n", " ")
		}), wire.Malformed},
		{"last term", encode(func(d *failoverv1.Datagram) { d.GetHeartbeat().Term.Number = 1 << 63 }), wire.Malformed},
		{"no term", encode(func(d *failoverv1.Datagram) { d.GetHeartbeat().Term = nil }), wire.Malformed},
		{"no body", encode(func(d *failoverv1.Datagram) { d.Body = nil }), wire.UnknownBody},
		{"new verdict", encode(func(d *failoverv1.Datagram) {
			d.Body = &failoverv1.Datagram_Answer{Answer: &failoverv1.Answer{
				Claim: &clusterv1.Term{Number: 1, NodeId: "x"}, Verdict: 99,
			}}
		}), wire.UnknownBody},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := wire.Decode(test.data, "orders")
			if err == nil || wire.CauseOf(err) != test.want {
				t.Errorf("got %v, want cause %s", err, test.want)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	d := heartbeat()
	d.NodeId = ""
	if _, err := wire.Encode(d); wire.CauseOf(err) != wire.Malformed {
		t.Errorf("no node: %v", err)
	}
	d = heartbeat()
	long := make([]string, wire.MaxNodes)
	for i := range long {
		long[i] = strings.Repeat("x", wire.MaxID)
	}
	d.GetHeartbeat().Members, d.About.Hears = long, long
	if _, err := wire.Encode(d); wire.CauseOf(err) != wire.TooLong {
		t.Errorf("too long: %v", err)
	}
}

// FuzzDecode: whatever comes, Decode answers with a datagram that can be encoded again, or with a cause.
func FuzzDecode(f *testing.F) {
	data, err := wire.Encode(heartbeat())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("USTY\x01\x01"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		datagram, err := wire.Decode(data, "orders")
		if err != nil {
			return
		}
		again, err := wire.Encode(datagram)
		if err != nil {
			t.Fatalf("decoded, but not encoded again: %v", err)
		}
		second, err := wire.Decode(again, "orders")
		if err != nil || !proto.Equal(datagram, second) {
			t.Fatalf("not the same again: %v", err)
		}
	})
}

func BenchmarkDatagram(b *testing.B) {
	data, err := wire.Encode(heartbeat())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := wire.Decode(data, "orders"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encode", func(b *testing.B) {
		d := heartbeat()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := wire.Encode(d); err != nil {
				b.Fatal(err)
			}
		}
	})
}
