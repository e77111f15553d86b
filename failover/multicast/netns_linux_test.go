package multicast_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/multicast"
)

const insideVariable = "MULTICAST_TEST_INSIDE_NAMESPACE"

// inside runs the calling test again in a network namespace of its own, which ends with it, and returns true there.
func inside(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideVariable) != "" {
		return true
	}
	if _, err := exec.LookPath("ip"); err != nil || os.Getuid() != 0 {
		t.Skip("needs root and iproute2 for a network namespace")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	output, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("network namespaces are not allowed here")
	}
	if err != nil || strings.Contains(string(output), "--- SKIP") {
		t.Errorf("in the namespace: %v\n%s", err, output)
	}
	return false
}

func ip(t *testing.T, command string) {
	t.Helper()
	if output, err := exec.CommandContext(t.Context(), "ip", strings.Fields(command)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", command, err, output)
	}
}

// device makes a pair of interfaces, of which one end, under0, has the address 10.88.0.1.
func device(t *testing.T) {
	t.Helper()
	ip(t, "link add under0 type veth peer name under1")
	ip(t, "address add 10.88.0.1/24 dev under0")
	ip(t, "link set under1 up")
	ip(t, "link set under0 up")
}

// untilHeard sends until the datagram arrives, whatever sending says.
func untilHeard(t *testing.T, to *multicast.Transport, text string, send func([]byte) error) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		_ = send([]byte(text))
		select {
		case packet, ok := <-to.Packets():
			if !ok {
				t.Fatal("the transport has ended")
			}
			if string(packet.Data) == text {
				return
			}
		case <-again.C:
		}
	}
}

// TestInterfaceComesBack: an interface that is down, made anew, or gets another address is followed, whatever it was
// named by; errors of sending end nothing.
func TestInterfaceComesBack(t *testing.T) {
	t.Parallel()
	if !inside(t) {
		return
	}
	ip(t, "link set lo up")
	for i, spec := range []string{"under0", "10.88.0.0/16"} {
		t.Run(spec, func(t *testing.T) {
			device(t)
			cfg := multicast.Config{Group: netip.AddrFrom4([4]byte{239, 255, 78, byte(i + 1)}), Port: 2710, Interface: spec, TTL: 1}
			a, b := open(t, cfg), open(t, cfg)
			defer func() { _, _ = a.Close(), b.Close() }()
			both := func(when string) {
				untilHeard(t, b, when+", to all", a.Send)
				untilHeard(t, b, when+", to b", func(d []byte) error { return a.SendTo(b.Address(), d) })
			}
			both("at first")

			ip(t, "link set under0 down")
			if err := a.Send([]byte("into the void")); err == nil {
				t.Error("sending through an interface that is down is no error")
			}
			ip(t, "link set under0 up")
			both("after down and up")

			ip(t, "link delete under0")
			err := a.Send([]byte("into the void"))
			if err == nil || !strings.Contains(err.Error(), "check that the interface is up") {
				t.Errorf("sending through an interface that is gone: %v", err)
			}
			device(t)
			both("after it was made anew")

			before := b.Address()
			ip(t, "address add 10.88.7.7/24 dev under0")
			ip(t, "address delete 10.88.0.1/24 dev under0")
			again := time.NewTicker(10 * time.Millisecond)
			defer again.Stop()
			for a.Address() == before || !strings.HasPrefix(b.Address(), "10.88.7.7:") {
				<-again.C
			}
			both("with another address")
			if got, want := port(t, b.Address()), port(t, before); got != want {
				t.Errorf("the port changed from %d to %d although it was free", want, got)
			}
			ip(t, "link delete under0")
		})
	}
}

func port(t *testing.T, address string) uint16 {
	t.Helper()
	parsed, err := failover.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Port()
}

// TestTwentyLives: a system allows a socket some twenty memberships; an interface that is made anew more often is joined
// all the same.
func TestTwentyLives(t *testing.T) {
	t.Parallel()
	if !inside(t) {
		return
	}
	ip(t, "link set lo up")
	device(t)
	a := open(t, multicast.Config{Group: netip.AddrFrom4([4]byte{239, 255, 78, 9}), Port: 2710, Interface: "under0", TTL: 1})
	defer a.Close()
	for i := range 25 {
		untilHeard(t, a, fmt.Sprint("life ", i), a.Send)
		ip(t, "link delete under0")
		device(t)
	}
	untilHeard(t, a, "the last life", a.Send)
}

// TestNoLoopback: without it neither this node nor another one of the machine hears multicast, but unicast. (The loopback
// interface itself brings everything back, whatever is asked for.)
func TestNoLoopback(t *testing.T) {
	t.Parallel()
	if !inside(t) {
		return
	}
	ip(t, "link set lo up")
	device(t)
	cfg := multicast.Config{Group: netip.AddrFrom4([4]byte{239, 255, 78, 10}), Port: 2710, Interface: "under0", TTL: 1}
	b := open(t, cfg)
	cfg.NoLoopback = true
	a := open(t, cfg)
	defer func() { _, _ = a.Close(), b.Close() }()
	for _, err := range []error{a.Send([]byte("multicast")), a.SendTo(b.Address(), []byte("to b")), a.SendTo(a.Address(), []byte("to a"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if packet := <-b.Packets(); string(packet.Data) != "to b" {
		t.Errorf("b heard %q", packet.Data)
	}
	if packet := <-a.Packets(); string(packet.Data) != "to a" {
		t.Errorf("a heard %q", packet.Data)
	}
}
