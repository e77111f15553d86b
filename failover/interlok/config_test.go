package interlok_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/failover/interlok"
)

func read(properties map[string]string) (interlok.Config, []string, error) {
	all := map[string]string{"node.id": "a", "cluster.name": "orders"}
	for key, value := range properties {
		all[key] = value
	}
	return interlok.ConfigFromProperties(all)
}

// TestLease: the bootstrap counts with the same numbers, and has the same test (bootstrap/config/interlok_test.go): it
// must not import this package.
func TestLease(t *testing.T) {
	for _, test := range []struct {
		interval, timeout string
		want              time.Duration
	}{
		{"3", "20", 9 * time.Second},
		{"1", "6", 3700 * time.Millisecond},
		{"3", "9", 5550 * time.Millisecond},
		{"3", "125", 3750 * time.Millisecond},
	} {
		c, _, err := read(map[string]string{
			"failover.ping.interval.seconds": test.interval, "failover.instance.timeout.seconds": test.timeout,
		})
		if err != nil || c.Lease() != test.want {
			t.Errorf("ping %s, timeout %s: a lease of %v, %v; want %v", test.interval, test.timeout, c.Lease(), err, test.want)
		}
	}
}

func TestConfig(t *testing.T) {
	c, warnings, err := read(nil)
	if err != nil || len(warnings) > 0 || c.Interval != 3*time.Second || c.Timeout != 20*time.Second || c.TTL != 1 ||
		c.Group.String() != "224.0.0.4" || c.GroupPort != 4446 || c.Mode != interlok.Multicast || c.HostDelay != time.Second {
		t.Errorf("defaults %+v, %v, %v", c, warnings, err)
	}
	if lease := c.Lease(); lease != 9*time.Second {
		t.Errorf("the lease is %v", lease)
	}
	c, warnings, err = read(map[string]string{
		"failover.socket.mode": "tcp", "failover.tcp.port": " 4711 ", "failover.tcp.peers": "b:4711; [fd00::7]:4711;",
		"failover.tcp.host": "a.example", "failover.slave.position": "3", "failover.ping.interval.seconds": "2",
		"failover.instance.timeout.seconds": "10", "failover.delay": "500", "failover.observe": "true",
	})
	want := interlok.DefaultConfig()
	want.NodeID, want.Cluster, want.Mode, want.Host, want.Port = "a", "orders", interlok.TCP, "a.example", 4711
	want.Peers, want.Position, want.Observer = []string{"b:4711", "[fd00::7]:4711"}, 3, true
	want.Interval, want.Timeout, want.HostDelay = 2*time.Second, 10*time.Second, 500*time.Millisecond
	if err != nil || len(warnings) > 0 || !reflect.DeepEqual(c, want) {
		t.Errorf("read  %+v, %v, %v\nwant %+v", c, warnings, err, want)
	}
	c, warnings, err = read(map[string]string{
		"failover.multicast.group": "239.1.2.3", "failover.group": "230.0.0.1", "failover.multicast.port": "5000", "failover.port": "2710",
		"failover.secondary.position": "2", "failover.slave.position": "3", "interval.instance.timeout.seconds": "30",
	})
	if err != nil || c.Group != netip.MustParseAddr("239.1.2.3") || c.GroupPort != 5000 || c.Position != 2 || c.Timeout != 30*time.Second ||
		len(warnings) != 1 || !strings.Contains(warnings[0], "failover.instance.timeout.seconds") {
		t.Errorf("read %+v, %q, %v", c, warnings, err)
	}
	c, _, err = read(map[string]string{"failover.group": "239.1.2.3", "failover.port": "5000", "interval.instance.timeout.seconds": "30",
		"failover.instance.timeout.seconds": "40"})
	if err != nil || c.Group != netip.MustParseAddr("239.1.2.3") || c.GroupPort != 5000 || c.Timeout != 40*time.Second {
		t.Errorf("read %+v, %v", c, err)
	}
}

func TestConfigRefuses(t *testing.T) {
	tests := []struct {
		want       string
		properties map[string]string
	}{
		{"failover.socket.mode: jgroups is not spoken here; set failover.socket.mode=tcp", map[string]string{"failover.socket.mode": "jgroups"}},
		{`failover.socket.mode: "udp" is not known`, map[string]string{"failover.socket.mode": "udp"}},
		{"failover.tcp.port: 0 is out of range", map[string]string{"failover.socket.mode": "tcp", "failover.tcp.peers": "b:1"}},
		{"failover.tcp.peers: there are none", map[string]string{"failover.socket.mode": "tcp", "failover.tcp.port": "1"}},
		{`failover.tcp.peers: "b" is no peer`, map[string]string{"failover.socket.mode": "tcp", "failover.tcp.port": "1", "failover.tcp.peers": "b"}},
		{`failover.tcp.peers: "b:0" is no peer`, map[string]string{"failover.socket.mode": "tcp", "failover.tcp.port": "1", "failover.tcp.peers": "b:0"}},
		{"only 40 fit into a ping", map[string]string{"failover.tcp.host": strings.Repeat("h", 41)}},
		{"failover.tcp.host: \"two words\" is neither", map[string]string{"failover.tcp.host": "two words"}},
		{"failover.multicast.group: 10.0.0.1 is no IPv4 multicast", map[string]string{"failover.group": "10.0.0.1"}},
		{`failover.multicast.group: "all" is not an address`, map[string]string{"failover.multicast.group": "all"}},
		{"failover.multicast.port: 0 is out", map[string]string{"failover.multicast.port": "0"}},
		{`failover.port: "x" is not a whole number`, map[string]string{"failover.port": "x"}},
		{`failover.slave.position: "first" is not a whole number`, map[string]string{"failover.slave.position": "first"}},
		{"failover.secondary.position: -1 is out of range", map[string]string{"failover.secondary.position": "-1"}},
		{`failover.ping.interval.seconds: "3s" is not a whole number of seconds`, map[string]string{"failover.ping.interval.seconds": "3s"}},
		{"failover.ping.interval.seconds: 0 is out", map[string]string{"failover.ping.interval.seconds": "0"}},
		{"failover.instance.timeout.seconds: 2m6s is too long for a ping every 3s", map[string]string{"failover.instance.timeout.seconds": "126"}},
		{"failover.ping.interval.seconds: 9s is too long", map[string]string{"failover.ping.interval.seconds": "9", "failover.instance.timeout.seconds": "90"}},
		{"failover.instance.timeout.seconds: 8s is too short for a ping every 3s", map[string]string{"failover.instance.timeout.seconds": "8"}},
		{`interval.instance.timeout.seconds: "x" is not`, map[string]string{"interval.instance.timeout.seconds": "x"}},
		{"failover.delay: \"soon\" is neither", map[string]string{"failover.delay": "soon"}},
		{"failover.delay: -1ms is too short", map[string]string{"failover.delay": "-1"}},
		{"failover.observe: \"yes\" is neither true nor false", map[string]string{"failover.observe": "yes"}},
		{"failover.members: an Interlok cluster knows no votes", map[string]string{"failover.members": "3"}},
		{"failover.witness: an Interlok cluster knows no votes", map[string]string{"failover.witness": "a"}},
		{"failover.ttl: 256 is out of range", map[string]string{"failover.ttl": "256"}},
		{"node.id: it is empty", map[string]string{"node.id": ""}},
		{"cluster.name: it is empty", map[string]string{"cluster.name": ""}},
	}
	all := map[string]string{}
	for _, test := range tests {
		if _, _, err := read(test.properties); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got %v, want %q", test.properties, err, test.want)
		}
		for key, value := range test.properties {
			all[key] = value
		}
	}
	all["failover.socket.mode"], all["failover.tcp.port"] = "tcp", "x"
	if _, _, err := read(all); err == nil || strings.Count(err.Error(), "\n") < 9 {
		t.Errorf("not all faults at once: %v", err)
	}
}

func TestConfigWarns(t *testing.T) {
	_, warnings, err := read(map[string]string{
		"failover.jgroups.cluster.name": "x", "failover.preempt": "true", "failover.priority": "7", "failover.key.file": "key",
	})
	if err != nil || len(warnings) != 4 {
		t.Errorf("%q, %v", warnings, err)
	}
}

func FuzzProperties(f *testing.F) {
	f.Add("tcp", "1", "a:1;b:2", "3", "20", "1")
	f.Add("multicast", "", "", "x", "9999999999999999999", "-1")
	f.Fuzz(func(t *testing.T, mode, port, peers, interval, timeout, position string) {
		c, _, err := read(map[string]string{
			"failover.socket.mode": mode, "failover.tcp.port": port, "failover.tcp.peers": peers,
			"failover.ping.interval.seconds": interval, "failover.instance.timeout.seconds": timeout, "failover.secondary.position": position,
		})
		if err == nil && (c.Lease() <= c.Interval || c.Timeout < 3*c.Interval) {
			t.Errorf("the lease of %+v is %v", c, c.Lease())
		}
	})
}
