package netns_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// network is a switch, a namespace with a bridge in it, and hosts, each a namespace with a cable to the switch.
// The hosts' end of a cable is eth0, the switch's end is named after the host.
type network struct {
	t      *testing.T
	prefix string
	hosts  []string
}

// needNetwork skips the test, with the reason, where no network can be made.
func needNetwork(t *testing.T) {
	t.Helper()
	if os.Getenv("UNDERSTUDY_NETNS") == "" {
		t.Skip("network namespaces are made only when UNDERSTUDY_NETNS=1 asks for it, as make e2e does")
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip command: apt-get install iproute2")
	}
}

// newNetwork makes a network for so many hosts, node-1 and so on, or skips the test with the reason.
func newNetwork(t *testing.T, hosts int) *network {
	t.Helper()
	needNetwork(t)
	suffix := make([]byte, 4)
	_, _ = rand.Read(suffix)
	n := &network{t: t, prefix: "us" + hex.EncodeToString(suffix)}

	if out, err := run("netns", "add", n.hub()); err != nil {
		t.Skipf("no network namespaces here: %v: %s", err, out)
	}
	t.Cleanup(func() { n.must("netns", "del", n.hub()) })
	n.must("-n", n.hub(), "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
	n.must("-n", n.hub(), "link", "set", "br0", "up")
	// The other side of a partition; no cable is in it before split.
	n.must("-n", n.hub(), "link", "add", "br1", "type", "bridge", "mcast_snooping", "0")
	n.must("-n", n.hub(), "link", "set", "br1", "up")
	for i := range hosts {
		host := fmt.Sprintf("node-%d", i+1)
		space := n.space(host)
		n.must("netns", "add", space)
		t.Cleanup(func() { n.must("netns", "del", space) })
		n.must("-n", n.hub(), "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", space)
		n.must("-n", n.hub(), "link", "set", host, "master", "br0", "up")
		n.must("-n", space, "link", "set", "lo", "up")
		n.must("-n", space, "address", "add", fmt.Sprintf("10.77.0.%d/24", i+1), "dev", "eth0")
		n.must("-n", space, "link", "set", "eth0", "up")
		n.hosts = append(n.hosts, host)
	}
	return n
}

func (n *network) hub() string              { return n.prefix + "-switch" }
func (n *network) space(host string) string { return n.prefix + "-" + host }

// enter is what stands before a command that runs on the host.
func (n *network) enter(host string) []string {
	return []string{"ip", "netns", "exec", n.space(host)}
}

// cut takes the host's cable out of the switch; the host sees no difference but silence.
func (n *network) cut(host string) { n.must("-n", n.hub(), "link", "set", host, "nomaster") }

// mend puts it back.
func (n *network) mend(host string) { n.must("-n", n.hub(), "link", "set", host, "master", "br0") }

// split puts the cables of these hosts into another switch: they hear each other, and the rest hears the rest. mend puts
// one back.
func (n *network) split(hosts ...string) {
	for _, host := range hosts {
		n.must("-n", n.hub(), "link", "set", host, "master", "br1")
	}
}

// mute drops what comes from the host, deafen what goes to it, and lose a part of everything, in percent. One of them
// at a time, until clear. They happen in the switch: the hosts get no error.
func (n *network) mute(host string)   { n.filter(fmt.Sprintf("iifname %q drop", host)) }
func (n *network) deafen(host string) { n.filter(fmt.Sprintf("oifname %q drop", host)) }
func (n *network) lose(percent int) {
	n.filter(fmt.Sprintf("numgen random mod 100 < %d drop", percent))
}

func (n *network) filter(rule string) {
	n.t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		n.t.Skip("no nft command: apt-get install nftables")
	}
	script := "table bridge faults {\n chain passing {\n type filter hook forward priority 0\n " + rule + "\n }\n}"
	n.must("netns", "exec", n.hub(), "nft", script)
}

// clear takes the rule of mute, deafen or lose away.
func (n *network) clear() { n.must("netns", "exec", n.hub(), "nft", "delete table bridge faults") }

// plug sets the host's interface up or down.
func (n *network) plug(host, state string) { n.must("-n", n.space(host), "link", "set", "eth0", state) }

func (n *network) must(args ...string) {
	n.t.Helper()
	if out, err := run(args...); err != nil {
		n.t.Errorf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// run does not end with the test's context: clearing up comes after that.
func run(args ...string) (string, error) {
	out, err := exec.CommandContext(context.Background(), "ip", args...).CombinedOutput()
	return string(bytes.TrimSpace(out)), err
}
