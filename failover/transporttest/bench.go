package transporttest

import (
	"bytes"
	"testing"

	"github.com/understudy-ha/understudy/failover"
)

// typical is the size of a heartbeat in bytes.
const typical = 300

// Benchmark measures a kind of transport with datagrams of the size of a heartbeat: network is as Run has it.
//
//	to-all         from one to two others: datagrams sent per second, with at most 32 on the way
//	to-one         the same by unicast, from one to one
//	round-trip     to all and back to all, one at a time: twice the latency
//	round-trip-one the same by unicast, which is how heartbeats are acknowledged
func Benchmark(b *testing.B, network func(t testing.TB) (join func(name string) failover.Transport)) {
	b.Helper()
	b.Run("to-all", func(b *testing.B) {
		join := network(b)
		from, to, other := join("a"), join("b"), join("c")
		defer closeAll(b, from, to, other)
		drain(from)
		drain(other)
		meet(b, from, to)
		stream(b, to, from.Send)
	})
	b.Run("to-one", func(b *testing.B) {
		join := network(b)
		from, to := join("a"), join("b")
		defer closeAll(b, from, to)
		drain(from)
		meet(b, from, to)
		stream(b, to, sender(b, from, to))
	})
	b.Run("round-trip", func(b *testing.B) {
		join := network(b)
		from, to := join("a"), join("b")
		defer closeAll(b, from, to)
		meet(b, from, to)
		meet(b, to, from)
		pingPong(b, from, to, from.Send, to.Send)
	})
	b.Run("round-trip-one", func(b *testing.B) {
		join := network(b)
		from, to := join("a"), join("b")
		defer closeAll(b, from, to)
		meet(b, from, to)
		meet(b, to, from)
		pingPong(b, from, to, sender(b, from, to), sender(b, to, from))
	})
}

// sender sends to one node alone.
func sender(b *testing.B, from, to failover.Transport) func([]byte) error {
	b.Helper()
	unicaster, ok := from.(failover.Unicaster)
	if !ok {
		b.Skip("no Unicaster")
	}
	address := to.(failover.Unicaster).Address()
	return func(datagram []byte) error { return unicaster.SendTo(address, datagram) }
}

// drain reads what nobody wants until the transport is closed.
func drain(transport failover.Transport) {
	go func() {
		for range transport.Packets() { // Ends.
		}
	}()
}

// meet waits until one hears the other.
func meet(b *testing.B, from, to failover.Transport) {
	b.Helper()
	send(b, from, "hello")
	for string(next(b, to, "").Data) != "hello" { // Something older.
	}
}

func stream(b *testing.B, to failover.Transport, send func([]byte) error) {
	b.Helper()
	const window = 32
	data := bytes.Repeat([]byte{'s'}, typical)
	b.SetBytes(typical)
	b.ReportAllocs()
	b.ResetTimer()
	way := 0
	for range b.N {
		if err := send(data); err != nil {
			b.Fatal(err)
		}
		if way++; way == window {
			next(b, to, "")
			way--
		}
	}
	for ; way > 0; way-- {
		next(b, to, "")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "datagrams/s")
}

func pingPong(b *testing.B, from, to failover.Transport, there, back func([]byte) error) {
	b.Helper()
	ping, pong := bytes.Repeat([]byte{'i'}, typical), bytes.Repeat([]byte{'o'}, typical)
	go func() {
		for packet := range to.Packets() {
			if packet.Data[0] == 'i' && back(pong) != nil {
				return
			}
		}
	}()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := there(ping); err != nil {
			b.Fatal(err)
		}
		for next(b, from, "i").Data[0] != 'o' { // What was said before the start.
		}
	}
}
