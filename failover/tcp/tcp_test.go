package tcp_test

import (
	"fmt"
	"net"
	"testing"

	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/tcp"
	"github.com/understudy-ha/understudy/failover/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, options tcp.Options) *tcp.Transport {
	t.Helper()
	transport, err := tcp.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	return transport
}

// learning returns a network whose members are told of each other.
func learning(t testing.TB, host string) func(string) failover.Transport {
	t.Helper()
	probe, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skipf("this machine does not have %s: %v", host, err)
	}
	_ = probe.Close()
	var members []*tcp.Transport
	return func(string) failover.Transport {
		transport := open(t, tcp.Options{Host: host})
		for _, other := range members {
			other.Learn(transport.Address())
			transport.Learn(other.Address())
		}
		members = append(members, transport)
		return transport
	}
}

// listed returns a network whose members dial only those that were there before, and are learned by nobody but from their
// connections and what they answer to.
func listed(t testing.TB) func(string) failover.Transport {
	t.Helper()
	var members []*tcp.Transport
	return func(string) failover.Transport {
		options := tcp.Options{Host: "127.0.0.1"}
		for _, other := range members {
			options.Peers = append(options.Peers, other.Address())
		}
		transport := open(t, options)
		for _, other := range members {
			other.Learn(transport.Address())
		}
		members = append(members, transport)
		return transport
	}
}

// together returns a network whose members all have the same list of peers, themselves included: each pair connects from
// both sides.
func together(t testing.TB) func(string) failover.Transport {
	t.Helper()
	var peers []string
	var ports []int
	for range 3 {
		probe, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer probe.Close()
		ports = append(ports, probe.Addr().(*net.TCPAddr).Port)
		peers = append(peers, fmt.Sprintf("localhost:%d", ports[len(ports)-1]))
	}
	next := 0
	return func(string) failover.Transport {
		next++
		return open(t, tcp.Options{Host: "127.0.0.1", Port: ports[next-1], Peers: peers})
	}
}

func TestConformance(t *testing.T) {
	for name, network := range map[string]func(testing.TB) func(string) failover.Transport{
		"learned, 127.0.0.1": func(t testing.TB) func(string) failover.Transport { return learning(t, "127.0.0.1") },
		"learned, ::1":       func(t testing.TB) func(string) failover.Transport { return learning(t, "::1") },
		"one side dials":     listed,
		"both sides dial":    together,
	} {
		t.Run(name, func(t *testing.T) {
			transporttest.Run(t, func(t *testing.T) func(string) failover.Transport { return network(t) })
		})
	}
}

func BenchmarkTCP(b *testing.B) {
	transporttest.Benchmark(b, func(t testing.TB) func(string) failover.Transport { return learning(t, "127.0.0.1") })
}
