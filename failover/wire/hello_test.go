package wire_test

import (
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/failover/wire"
)

func TestParseHello(t *testing.T) {
	good := wire.Hello{Process: 0x2a, NodeID: "orders 1", Cluster: "Orders (test)"}
	for _, line := range []string{
		"UNDERSTUDY-LIVENESS\t1\t000000000000002a\torders 1\tOrders (test)\n",
		"UNDERSTUDY-LIVENESS\t1\t2a\torders 1\tOrders (test)",
		"UNDERSTUDY-LIVENESS\t1\t2a\torders 1\tOrders (test)\tsomething later\n",
	} {
		if got, err := wire.ParseHello(line); err != nil || got != good {
			t.Errorf("%q: %+v, %v", line, got, err)
		}
	}
	for line, want := range map[string]string{
		"":                                       "not that of a host",
		"SSH-2.0-OpenSSH_9.2\n":                  "not that of a host",
		"UNDERSTUDY-LIVENESS\t1\t2a\ta\n":        "not that of a host",
		"UNDERSTUDY-LIVENESS\t2\t2a\ta\tc\n":     `it has version "2"`,
		"UNDERSTUDY-LIVENESS\t1\t0\ta\tc\n":      "is no process",
		"UNDERSTUDY-LIVENESS\t1\txy\ta\tc\n":     "is no process",
		"UNDERSTUDY-LIVENESS\t1\t2a\t\tc\n":      "node id",
		"UNDERSTUDY-LIVENESS\t1\t2a\ta\t\n":      "cluster",
		"UNDERSTUDY-LIVENESS\t1\t2a\ta\tc\x00\n": "cannot be printed",
		"UNDERSTUDY-LIVENESS\t1\t2a\ta\t" + strings.Repeat("c", 2000) + "\n": "at most 1024",
	} {
		if _, err := wire.ParseHello(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", line, err, want)
		}
	}
}

func FuzzParseHello(f *testing.F) {
	f.Add("UNDERSTUDY-LIVENESS\t1\t2a\torders 1\tOrders (test)\n")
	f.Fuzz(func(t *testing.T, line string) {
		hello, err := wire.ParseHello(line)
		if err == nil && (hello.Process == 0 || wire.ValidID(hello.NodeID) != nil || wire.ValidID(hello.Cluster) != nil) {
			t.Errorf("%q was taken as %+v", line, hello)
		}
	})
}
