package tcp_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/failover/tcp"
)

// roleVariable says what the test binary does in a network namespace.
const roleVariable = "TCP_TEST_ROLE"

// again is a command that runs the calling test in a network namespace of its own, which ends with it.
func again(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	return cmd
}

func ip(t *testing.T, command string) {
	t.Helper()
	if output, err := exec.CommandContext(t.Context(), "ip", strings.Fields(command)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", command, err, output)
	}
}

// TestLinkDown: two machines with a cable between them. When it is cut both notice, though nothing says so to them; when
// it is whole again they find each other, and hear nothing that is old.
func TestLinkDown(t *testing.T) {
	t.Parallel()
	switch os.Getenv(roleVariable) {
	case "":
		if _, err := exec.LookPath("ip"); err != nil || os.Getuid() != 0 {
			t.Skip("needs root and iproute2 for network namespaces")
		}
		output, err := again(t, "near").CombinedOutput()
		if errors.Is(err, syscall.EPERM) {
			t.Skip("network namespaces are not allowed here")
		}
		if err != nil {
			t.Fatalf("in the namespace: %v\n%s", err, output)
		}
		t.Logf("in the namespace:\n%s", output)
	case "near":
		linkDown(t)
	case "far":
		echo(t)
	}
}

// echo is the far machine: it answers everything.
func echo(t *testing.T) {
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil { // Until the cable is plugged in.
		t.Fatal(err)
	}
	ip(t, "address add 10.89.0.2/24 dev far0")
	ip(t, "link set far0 up")
	transport := open(t, tcp.Options{Host: "10.89.0.2", Port: 2710, Peers: []string{"10.89.0.1:2710"}})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // Until the near machine has ended.
		_ = transport.Close()
	}()
	for packet := range transport.Packets() {
		if transport.Send(append([]byte("echo of "), packet.Data...)) != nil {
			return
		}
	}
}

func linkDown(t *testing.T) {
	// A switch between them is where the cable is cut: neither machine sees its own interface go down.
	ip(t, "link add switch type bridge")
	ip(t, "link add near0 type veth peer name port0")
	ip(t, "link add far0 type veth peer name port1")
	ip(t, "address add 10.89.0.1/24 dev near0")
	for _, port := range []string{"port0", "port1"} {
		ip(t, "link set "+port+" master switch")
	}
	for _, device := range []string{"switch", "port0", "port1", "near0"} {
		ip(t, "link set "+device+" up")
	}
	far := again(t, "far")
	stdin, err := far.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := far.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stdin.Close()
		if err := far.Wait(); err != nil {
			t.Errorf("the far machine: %v", err)
		}
	}()
	ip(t, fmt.Sprintf("link set far0 netns %d", far.Process.Pid))
	if _, err := stdin.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	transport := open(t, tcp.Options{Host: "10.89.0.1", Port: 2710, Peers: []string{"10.89.0.2:2710"}})
	defer transport.Close()

	const long = 6 * time.Second // More than it takes to give a connection up.
	await(t, transport, "first", func([]string) {})
	for _, outage := range []time.Duration{time.Second, long} {
		ip(t, "link set port1 nomaster")
		if err := transport.Send([]byte("lost")); err != nil {
			t.Fatal(err)
		}
		// The outage itself is what is wanted here; nothing else happens that could be waited for.
		<-time.After(outage)
		if p := transport.Peers()[0]; outage == long && (p.Connected || p.Fault == nil) {
			t.Errorf("%v after the cut the peer counts as connected: %+v", outage, p)
		}
		ip(t, "link set port1 master switch")
		up := time.Now()
		await(t, transport, "after "+outage.String(), func(others []string) {
			if outage == long && slices.Contains(others, "echo of lost") {
				t.Error("what was said before the outage was heard after it")
			}
			t.Logf("cut for %v: heard again %v after it was whole", outage, time.Since(up).Round(time.Millisecond))
		})
	}
}

// await sends four times a second until something of that comes back, and hands over what else was heard.
func await(t *testing.T, transport *tcp.Transport, text string, then func(others []string)) {
	t.Helper()
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	var others []string
	for {
		if err := transport.Send([]byte(text)); err != nil {
			t.Fatal(err)
		}
		for waiting := true; waiting; {
			select {
			case packet := <-transport.Packets():
				if string(packet.Data) == "echo of "+text {
					then(others)
					return
				}
				others = append(others, string(packet.Data))
			case <-ticker.C:
				waiting = false
			}
		}
	}
}
