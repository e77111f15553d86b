package multicast_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/multicast"
	"github.com/understudy-ha/understudy/failover/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// groups gives each test a group of its own, so that they do not hear each other.
var groups atomic.Uint32

// loopback returns a group on the loopback interface with a free port. Nothing leaves the machine.
func loopback(t testing.TB) multicast.Config {
	t.Helper()
	name := ""
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, nic := range all {
		if nic.Flags&net.FlagLoopback != 0 && nic.Flags&net.FlagUp != 0 {
			name = nic.Name
		}
	}
	if name == "" {
		t.Skip("no loopback interface is up")
	}
	probe, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := probe.LocalAddr().(*net.UDPAddr).Port
	if err := probe.Close(); err != nil {
		t.Fatal(err)
	}
	group := netip.AddrFrom4([4]byte{239, 255, 77, byte(groups.Add(1))})
	return multicast.Config{Group: group, Port: port, Interface: name, TTL: 0}
}

func open(t testing.TB, cfg multicast.Config) *multicast.Transport {
	t.Helper()
	transport, err := multicast.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return transport
}

func TestConformance(t *testing.T) {
	transporttest.Run(t, func(t *testing.T) func(string) failover.Transport {
		cfg := loopback(t)
		return func(string) failover.Transport { return open(t, cfg) }
	})
}

// TestOnlyTheGroup sends to the same port by unicast and by another group that another socket has joined:
// neither may be heard.
func TestOnlyTheGroup(t *testing.T) {
	cfg := loopback(t)
	other := cfg
	other.Group = loopback(t).Group
	a, b := open(t, cfg), open(t, other)
	defer func() { _, _ = a.Close(), b.Close() }()
	stray, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", cfg.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer stray.Close()
	if _, err := stray.Write([]byte("unicast")); err != nil {
		t.Fatal(err)
	}
	for _, send := range []struct {
		transport *multicast.Transport
		text      string
	}{{b, "other group"}, {a, "group"}} {
		if err := send.transport.Send([]byte(send.text)); err != nil {
			t.Fatal(err)
		}
	}
	if packet := <-a.Packets(); string(packet.Data) != "group" {
		t.Errorf("heard %q", packet.Data)
	} else if packet.Interface != cfg.Interface {
		t.Errorf("came in through %q, not %q", packet.Interface, cfg.Interface)
	}
}

func TestOpenExplains(t *testing.T) {
	good := loopback(t)
	tests := []struct {
		name   string
		change func(*multicast.Config)
		want   string
	}{
		{"no such interface", func(c *multicast.Config) { c.Interface = "nic-that-is-not" }, "this machine has: "},
		{"no such network", func(c *multicast.Config) { c.Interface = "198.18.0.0/24" }, "(127.0.0.1"},
		{"no network at all", func(c *multicast.Config) { c.Interface = "127.0.0.1/99" }, "192.168.1.0/24"},
		{"no IPv4", func(c *multicast.Config) { c.Interface = "::1" }, "this machine has: "},
		{"no multicast address", func(c *multicast.Config) { c.Group = netip.MustParseAddr("10.0.0.1") }, "224.0.0.0"},
		{"port", func(c *multicast.Config) { c.Port = 0 }, "between 1 and 65535"},
		{"TTL", func(c *multicast.Config) { c.TTL = 1000 }, "TTL"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := good
			test.change(&cfg)
			transport, err := multicast.Open(cfg)
			if err == nil {
				_ = transport.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), cfg.Group.String()) {
				t.Errorf("got %q, want the group and %q", err, test.want)
			}
		})
	}
}

func TestPortTaken(t *testing.T) {
	cfg := loopback(t)
	owner, err := net.ListenPacket("udp4", fmt.Sprintf("0.0.0.0:%d", cfg.Port))
	if err != nil {
		t.Skip("the port was taken meanwhile")
	}
	defer owner.Close()
	transport, err := multicast.Open(cfg)
	if err == nil {
		_ = transport.Close()
		t.Skip("this system shares the port with everybody")
	}
	if !strings.Contains(err.Error(), "another program") {
		t.Errorf("got %q", err)
	}
}

// TestInterfaceByAddress: the loopback interface is found by its address and its network too, and the reason is told.
func TestInterfaceByAddress(t *testing.T) {
	cfg := loopback(t)
	for spec, reason := range map[string]string{
		cfg.Interface: "it is named", "127.0.0.1": "it has the address 127.0.0.1", "127.0.0.0/8": "it has an address in 127.0.0.0/8",
	} {
		cfg.Interface = spec
		a := open(t, cfg)
		description := a.Description()
		for _, want := range []string{cfg.Group.String(), reason, "TTL 0", "unicast at " + a.Address()} {
			if !strings.Contains(description, want) {
				t.Errorf("%s: %q, want %q", spec, description, want)
			}
		}
		if err := a.Send([]byte("x")); err != nil {
			t.Error(err)
		}
		if packet := <-a.Packets(); string(packet.Data) != "x" {
			t.Errorf("heard %q", packet.Data)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestOnlyIPv4: what cannot be reached is an error, and the transport goes on.
func TestOnlyIPv4(t *testing.T) {
	a := open(t, loopback(t))
	defer a.Close()
	if err := a.SendTo("[::1]:2710", []byte("x")); err == nil || !strings.Contains(err.Error(), "IPv4") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkMulticast(b *testing.B) {
	transporttest.Benchmark(b, func(t testing.TB) func(string) failover.Transport {
		cfg := loopback(t)
		return func(string) failover.Transport { return open(t, cfg) }
	})
}
