package packet_test

import (
	"testing"

	"github.com/understudy-ha/understudy/failover/interlok/packet"
)

func BenchmarkDecode(b *testing.B) {
	data, err := packet.Encode(golden[1].ping)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(packet.Size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := packet.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
