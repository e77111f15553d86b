// Package transporttest is what every failover.Transport has to pass.
package transporttest

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/understudy-ha/understudy/failover"
)

// Run checks a kind of transport. join returns a new member of one perfect network, the same for the whole
// test; name is unique in it. Run closes what it opens.
func Run(t *testing.T, network func(t *testing.T) (join func(name string) failover.Transport)) {
	t.Helper()
	t.Run("everybody hears", func(t *testing.T) { everybodyHears(t, network(t)) })
	t.Run("own buffers", func(t *testing.T) { ownBuffers(t, network(t)) })
	t.Run("large datagrams", func(t *testing.T) { largeDatagrams(t, network(t)) })
	t.Run("slow receiver", func(t *testing.T) { slowReceiver(t, network(t)) })
	t.Run("close", func(t *testing.T) { closes(t, network(t)) })
	t.Run("close while sending", func(t *testing.T) { closesWhileSending(t, network(t)) })
}

func everybodyHears(t *testing.T, join func(string) failover.Transport) {
	a, b, c := join("a"), join("b"), join("c")
	defer closeAll(t, a, b, c)
	send(t, a, "from a")
	send(t, b, "from b")
	for _, transport := range []failover.Transport{a, b, c} {
		got := map[string]bool{}
		for len(got) < 2 {
			packet := <-transport.Packets()
			got[string(packet.Data)] = true
			if packet.Received.IsZero() || packet.Source == "" {
				t.Errorf("packet without time or source: %+v", packet)
			}
		}
		if !got["from a"] || !got["from b"] {
			t.Errorf("received %v", got)
		}
	}
}

func ownBuffers(t *testing.T, join func(string) failover.Transport) {
	a, b := join("a"), join("b")
	defer closeAll(t, a, b)
	datagram := []byte("first")
	if err := a.Send(datagram); err != nil {
		t.Fatal(err)
	}
	copy(datagram, "XXXXX")
	first := <-b.Packets()
	send(t, a, "other")
	second := <-b.Packets()
	if string(first.Data) != "first" || string(second.Data) != "other" {
		t.Errorf("received %q and %q: a buffer was used twice", first.Data, second.Data)
	}
	first.Data[0] = '!'
	if own := <-a.Packets(); string(own.Data) != "first" {
		t.Errorf("received %q: a buffer is shared between receivers", own.Data)
	}
}

func largeDatagrams(t *testing.T, join func(string) failover.Transport) {
	a, b := join("a"), join("b")
	defer closeAll(t, a, b)
	for _, size := range []int{1, 1400, 16 << 10} {
		want := bytes.Repeat([]byte{7}, size)
		if err := a.Send(want); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if got := <-b.Packets(); !bytes.Equal(got.Data, want) {
			t.Errorf("%d bytes: received %d others", size, len(got.Data))
		}
	}
}

// slowReceiver: whoever does not read must not hold the sender up.
func slowReceiver(t *testing.T, join func(string) failover.Transport) {
	a, b := join("a"), join("b")
	defer closeAll(t, a, b)
	for i := range 5000 {
		if err := a.Send(fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
}

func closes(t *testing.T, join func(string) failover.Transport) {
	a, b := join("a"), join("b")
	defer closeAll(t, b)
	for range 2 {
		if err := a.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	for range a.Packets() {
	}
	if err := a.Send([]byte("late")); err == nil {
		t.Error("a closed transport sends")
	}
	send(t, b, "still here")
	if packet := <-b.Packets(); string(packet.Data) != "still here" {
		t.Errorf("received %q", packet.Data)
	}
}

func closesWhileSending(t *testing.T, join func(string) failover.Transport) {
	a, b := join("a"), join("b")
	var sending sync.WaitGroup
	for _, transport := range []failover.Transport{a, b} {
		sending.Go(func() {
			for range 1000 {
				if transport.Send([]byte("x")) != nil {
					return
				}
			}
		})
	}
	closeAll(t, a, b)
	sending.Wait()
}

func send(t *testing.T, transport failover.Transport, text string) {
	t.Helper()
	if err := transport.Send([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func closeAll(t *testing.T, transports ...failover.Transport) {
	t.Helper()
	for _, transport := range transports {
		if err := transport.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}
