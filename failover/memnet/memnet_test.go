package memnet_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/memnet"
	"github.com/understudy-ha/understudy/failover/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	t.Parallel()
	transporttest.Run(t, func(t *testing.T) func(string) failover.Transport {
		network := memnet.New(1)
		return func(name string) failover.Transport { return join(t, network, name) }
	})
}

func join(t testing.TB, network *memnet.Network, name string) *memnet.Transport {
	t.Helper()
	transport, err := network.Join(name)
	if err != nil {
		t.Fatal(err)
	}
	return transport
}

// exchange sends 100 datagrams from a to b and returns what b has after a second, in order.
func exchange(t *testing.T, prepare func(*memnet.Network)) []string {
	t.Helper()
	var got []string
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		a, b := join(t, network, "a"), join(t, network, "b")
		prepare(network)
		for i := range 100 {
			if err := a.Send(fmt.Appendf(nil, "%02d", i)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		_, _ = a.Close(), b.Close()
		for packet := range b.Packets() {
			got = append(got, string(packet.Data))
		}
	})
	return got
}

func TestFaults(t *testing.T) {
	t.Parallel()
	perfect := exchange(t, func(*memnet.Network) {})
	if len(perfect) != 100 || !slices.IsSorted(perfect) {
		t.Errorf("a perfect network delivered %v", perfect)
	}
	lossy := exchange(t, func(n *memnet.Network) { n.SetFaults(memnet.Faults{Loss: 0.3}) })
	if len(lossy) < 50 || len(lossy) > 90 {
		t.Errorf("30 %% loss left %d of 100", len(lossy))
	}
	double := exchange(t, func(n *memnet.Network) { n.SetFaults(memnet.Faults{Duplicate: 0.3}) })
	if len(double) < 110 || len(double) > 150 {
		t.Errorf("30 %% doubled gave %d of 100", len(double))
	}
	late := exchange(t, func(n *memnet.Network) { n.SetFaults(memnet.Faults{Delay: time.Millisecond, Jitter: time.Second / 2}) })
	if len(late) != 100 || slices.IsSorted(late) {
		t.Errorf("jitter did not reorder: %v", late)
	}
	again := exchange(t, func(n *memnet.Network) { n.SetFaults(memnet.Faults{Loss: 0.3}) })
	if !slices.Equal(lossy, again) {
		t.Error("the same seed gave another history")
	}
	if cut := exchange(t, func(n *memnet.Network) { n.Cut("a", "b") }); len(cut) != 0 {
		t.Errorf("a cut line delivered %v", cut)
	}
	if apart := exchange(t, func(n *memnet.Network) { n.Partition("b") }); len(apart) != 0 {
		t.Errorf("a partition delivered %v", apart)
	}
	healed := exchange(t, func(n *memnet.Network) { n.Partition("b"); n.Heal() })
	if len(healed) != 100 {
		t.Errorf("a healed partition delivered %d", len(healed))
	}
}

func TestNamesAreUnique(t *testing.T) {
	t.Parallel()
	network := memnet.New(1)
	a := join(t, network, "a")
	if _, err := network.Join("a"); err == nil {
		t.Error("two members with one name")
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := join(t, network, "a").Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAddresses: who joins again has another address, and the faults of a link are those of unicast too.
func TestAddresses(t *testing.T) {
	t.Parallel()
	network := memnet.New(1)
	a, b := join(t, network, "a"), join(t, network, "b")
	before := b.Address()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = join(t, network, "b")
	defer func() { _, _ = a.Close(), b.Close() }()
	if b.Address() == before {
		t.Errorf("%s was given away twice", before)
	}
	network.Cut("a", "b")
	for _, address := range []string{before, b.Address()} {
		if err := a.SendTo(address, []byte("lost")); err != nil {
			t.Error(err)
		}
	}
	network.Heal()
	if err := a.SendTo(b.Address(), []byte("heard")); err != nil {
		t.Error(err)
	}
	if packet := <-b.Packets(); string(packet.Data) != "heard" {
		t.Errorf("heard %q", packet.Data)
	}
}

func BenchmarkMemnet(b *testing.B) {
	transporttest.Benchmark(b, func(t testing.TB) func(string) failover.Transport {
		network := memnet.New(1)
		return func(name string) failover.Transport { return join(t, network, name) }
	})
}
