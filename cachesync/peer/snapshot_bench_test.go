package peer_test

import (
	"fmt"
	"testing"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// A joiner gets 256 MiB in messages of 64 KiB, over mutual TLS.
func BenchmarkSnapshot(b *testing.B) {
	const messages, size = 4 << 10, 64 << 10
	a := newAir()
	one := startNode(b, a, "one", with("a"))
	lead(b, one, 1)
	payload := make([]byte, size)
	told := make(chan cachesync.Result, messages)
	for i := range messages {
		op := ledger.Op{Kind: ledger.Received, MessageID: fmt.Sprint("m", i), Payload: payload, UnixMilli: 1}
		one.Commit(ledger.Term{Number: 1, Node: "one"}, op, false, func(r cachesync.Result, _ error) { told <- r })
	}
	for range messages {
		if r := <-told; r != cachesync.Committed {
			b.Fatal(r)
		}
	}
	b.SetBytes(messages * size)
	b.ResetTimer()
	for i := range b.N {
		joiner := startNode(b, a, fmt.Sprint("joiner", i), with("a"))
		await(b, joiner, "in sync", inSync)
		b.StopTimer()
		joiner.stop()
		b.StartTimer()
	}
}
