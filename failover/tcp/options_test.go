package tcp_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/tcp"
)

func TestSplitPeers(t *testing.T) {
	got := tcp.SplitPeers(" a:1; [2001:db8::7]:2710 ;;b.example:3; ")
	if !slices.Equal(got, []string{"a:1", "[2001:db8::7]:2710", "b.example:3"}) {
		t.Errorf("got %q", got)
	}
	if got := tcp.SplitPeers(" ; "); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

func TestValidate(t *testing.T) {
	for _, peer := range []string{"a:1", "node-1.example.org:65535", "192.0.2.7:2710", "[2001:db8::7]:2710", "[fe80::7%eth0]:2710", "bücher.example:1"} {
		if err := (tcp.Options{Port: 2710, Peers: []string{peer}}).Validate(); err != nil {
			t.Errorf("%s: %v", peer, err)
		}
	}
	for _, peer := range []string{
		"", "a", ":1", "a:", "a:0", "a:65536", "a:-1", "a:http", "2001:db8::7:2710", "[2001:db8::7]", "192.0.2:1", "1:1", "a b:1",
		"224.0.0.1:1", "0.0.0.0:1", "[::]:1", "a/b:1", "a:1:2", strings.Repeat("a", 254) + ":1", "[x]y:1",
	} {
		err := tcp.Options{Port: 2710, Peers: []string{peer}}.Validate()
		if err == nil || !strings.Contains(err.Error(), "failover.tcp.peers: ") {
			t.Errorf("%q: %v", peer, err)
		}
	}
	err := tcp.Options{
		Host: "192.0.2.1:2710", Port: 70000,
		Peers: append(slices.Repeat([]string{"a:1"}, tcp.MaxConfigured), "b"),
	}.Validate()
	for _, want := range []string{"failover.tcp.port: 70000", `failover.tcp.host: "192.0.2.1:2710"`, "there are 65 peers", `"b" is no peer`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want also %q", err, want)
		}
	}
	if transport, err := tcp.Open(tcp.Options{Port: -1}); err == nil {
		_ = transport.Close()
		t.Error("opened with a fault")
	}
}

// TestPlace: where a node listens, what it tells the others, and the reason that it gives for it.
func TestPlace(t *testing.T) {
	nic := func(name, ip string) failover.NIC { return failover.NIC{Name: name, Address: mustAddr(ip)} }
	nics := []failover.NIC{
		nic("lo", "127.0.0.1"), nic("lo", "::1"), nic("eth0", "fe80::1"), nic("eth0", "2001:db8::1"), nic("eth0", "198.18.0.1"), nic("eth1", "198.18.1.1"),
	}
	tests := []struct {
		name          string
		options       tcp.Options
		listens, told string // listens is empty for all addresses
		reason        string
	}{
		{"nothing said", tcp.Options{}, "198.18.0.1", "198.18.0.1", "first address of this machine, interface eth0; failover.interface"},
		{"in the list", tcp.Options{Peers: []string{"198.18.0.9:2710", "198.18.1.1:2710"}}, "198.18.1.1", "198.18.1.1", "among failover.tcp.peers"},
		{"another port in the list", tcp.Options{Peers: []string{"198.18.1.1:9"}}, "198.18.0.1", "198.18.0.1", "first"},
		{"all on this machine", tcp.Options{Peers: []string{"127.0.0.1:1", "127.0.0.1:2"}}, "127.0.0.1", "127.0.0.1", "interface lo"},
		{"an address", tcp.Options{Host: "198.18.1.1"}, "198.18.1.1", "198.18.1.1", "(failover.tcp.host)"},
		{"IPv6", tcp.Options{Host: "2001:db8::1"}, "2001:db8::1", "2001:db8::1", "(failover.tcp.host)"},
		{"a name", tcp.Options{Host: "a.example"}, "198.18.1.1", "198.18.1.1", "(failover.tcp.host)"},
		{"everything", tcp.Options{Host: "0.0.0.0"}, "", "198.18.0.1", "all addresses are listened on"},
		{"translated", tcp.Options{Host: "203.0.113.5"}, "", "203.0.113.5", "no address of this machine"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			listened := netip.Addr{}
			f := newFabric()
			machine := f.machine("198.18.0.1")
			machine.NICs = nics
			listen := machine.ListenOn
			machine.ListenOn = func(at netip.Addr, port int) (net.Listener, error) {
				listened = at
				return listen(at, port)
			}
			test.options.Port = 2710
			test.options.Lookup = func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{mustAddr("203.0.113.6"), mustAddr("198.18.1.1")}, nil
			}
			transport, err := tcp.OpenOn(machine, test.options)
			if err != nil {
				t.Fatal(err)
			}
			defer transport.Close()
			want := netip.Addr{}
			if test.listens != "" {
				want = mustAddr(test.listens)
			}
			if listened != want {
				t.Errorf("listens on %v, want %v", listened, want)
			}
			if got, want := transport.Address(), netip.AddrPortFrom(mustAddr(test.told), 2710).String(); got != want {
				t.Errorf("tells %s, want %s", got, want)
			}
			if got := transport.Description(); !strings.Contains(got, test.reason) || !strings.Contains(got, transport.Address()) {
				t.Errorf("%q, want %q", got, test.reason)
			}
		})
	}
}

func TestPlaceRefused(t *testing.T) {
	taken := open(t, tcp.Options{Host: "127.0.0.1"})
	defer taken.Close()
	for name, test := range map[string]struct {
		options tcp.Options
		want    string
	}{
		"no such interface": {tcp.Options{Interface: "nic-that-is-not"}, "failover.interface: there is no such interface"},
		"no such name": {tcp.Options{Host: "a.example", Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return nil, nil
		}}, "failover.tcp.host: look up a.example: it has no address"},
		"port taken": {tcp.Options{Host: "127.0.0.1", Port: int(mustAddrPort(taken.Address()).Port())}, "failover.tcp.port: "},
	} {
		transport, err := tcp.Open(test.options)
		if err == nil {
			_ = transport.Close()
			t.Errorf("%s: opened", name)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// TestInterface: the interface's first address is listened on.
func TestInterface(t *testing.T) {
	for _, spec := range []string{"127.0.0.1", "127.0.0.0/8"} {
		transport := open(t, tcp.Options{Interface: spec})
		if got := mustAddrPort(transport.Address()).Addr().String(); got != "127.0.0.1" {
			t.Errorf("%s: %s", spec, got)
		}
		if err := transport.Close(); err != nil {
			t.Error(err)
		}
	}
}
