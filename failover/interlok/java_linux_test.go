package interlok_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/interlok"
)

// classpathVariable names the classes of interlok-failover and what they need (slf4j, commons-lang3), or their jars.
// insideVariable is set in the process that runs in a network namespace.
const (
	classpathVariable = "INTERLOK_CLASSPATH"
	insideVariable    = "UNDERSTUDY_INTERLOK_INSIDE"
)

// The times of this test. Java takes whole seconds, and sleeps and polls for 5 s whatever is set.
const (
	javaInterval = 1
	javaTimeout  = 6
)

// TestRealJava plays through a mixed cluster with the real interlok-failover, in a network namespace of its own. It is
// run by hand, since it needs Java, root and its classes:
//
//	INTERLOK_CLASSPATH=interlok-failover.jar:interlok-core.jar:slf4j-api.jar:commons-lang3.jar go test -run RealJava -v .
func TestRealJava(t *testing.T) {
	classpath := os.Getenv(classpathVariable)
	if classpath == "" {
		t.Skip(classpathVariable + " does not name the classes of interlok-failover")
	}
	if os.Getenv(insideVariable) == "" {
		enterNamespace(t)
		return
	}
	classes := compileMember(t, classpath)
	t.Run("multicast", func(t *testing.T) {
		cfg := interlok.DefaultConfig()
		cfg.Group, cfg.GroupPort, cfg.Interface, cfg.TTL = netip.MustParseAddr("224.0.0.4"), 4446, "lo", 1
		playWithJava(t, classes, cfg, func(int) []string {
			return []string{"failover.multicast.group=224.0.0.4", "failover.multicast.port=4446", "failover.tcp.host=127.0.0.1"}
		})
	})
	t.Run("tcp", func(t *testing.T) {
		cfg := interlok.DefaultConfig()
		cfg.Mode, cfg.Host, cfg.Port = interlok.TCP, "127.0.0.1", 4100
		cfg.Peers = []string{"127.0.0.1:4101", "127.0.0.1:4102", "127.0.0.1:4103"}
		playWithJava(t, classes, cfg, func(number int) []string {
			return []string{
				"failover.socket.mode=tcp", "failover.tcp.host=127.0.0.1", fmt.Sprintf("failover.tcp.port=%d", 4100+number),
				"failover.tcp.peers=127.0.0.1:4100",
			}
		})
	})
}

// enterNamespace runs this test again where only the loopback interface is, so that nothing can leave it.
func enterNamespace(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := `ip link set lo up && ip link set lo multicast on && ip route add 224.0.0.0/4 dev lo && exec "$0" -test.run '^TestRealJava$' -test.v`
	command := exec.Command("unshare", "-n", "sh", "-c", script, self)
	command.Env = append(os.Environ(), insideVariable+"=1")
	output, err := command.CombinedOutput()
	t.Logf("%s", output)
	if err != nil {
		t.Errorf("in the namespace: %v", err)
	}
}

func compileMember(t *testing.T, classpath string) string {
	t.Helper()
	folder := t.TempDir()
	output, err := exec.Command("javac", "-d", folder, "-cp", classpath, filepath.Join("testdata", "Member.java")).CombinedOutput()
	if err != nil {
		t.Fatalf("javac: %v\n%s", err, output)
	}
	return folder + ":" + classpath
}

// member is a Java process. What it says comes line by line.
type member struct {
	t       *testing.T
	process *exec.Cmd
	lines   chan string
	kill    func()
}

func startMember(t *testing.T, classpath string, properties ...string) *member {
	t.Helper()
	properties = append(properties, fmt.Sprintf("failover.ping.interval.seconds=%d", javaInterval),
		fmt.Sprintf("failover.instance.timeout.seconds=%d", javaTimeout))
	arguments := append([]string{"-Djava.net.preferIPv4Stack=true", "-cp", classpath, "Member"}, properties...)
	m := &member{t: t, process: exec.Command("java", arguments...), lines: make(chan string, 100)}
	m.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m.process.Stderr = io.Discard
	output, err := m.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.process.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		scanner := bufio.NewScanner(output)
		for scanner.Scan() {
			t.Logf("%s: java %d says %q", time.Now().Format("05.000"), m.process.Process.Pid, scanner.Text())
			m.lines <- scanner.Text()
		}
		close(m.lines)
		_ = m.process.Wait()
	}()
	m.kill = sync.OnceFunc(func() {
		_ = m.process.Process.Kill()
		for range m.lines { // So that the reader ends.
			continue
		}
		<-ended
	})
	t.Cleanup(m.kill)
	return m
}

// await waits until the member says something, and not something else before.
func (m *member) await(want string, forbidden ...string) {
	m.t.Helper()
	late := time.After(2 * time.Minute)
	for {
		select {
		case line, ok := <-m.lines:
			if !ok {
				m.t.Fatalf("the Java member has ended, and did not say %q", want)
			}
			for _, word := range forbidden {
				if line == word {
					m.t.Fatalf("the Java member says %q", line)
				}
			}
			if line == want {
				return
			}
		case <-late:
			m.t.Fatalf("the Java member did not say %q", want)
		}
	}
}

// cuttable is a transport whose network can be cut.
type cuttable struct {
	failover.Transport
	cut     atomic.Bool
	packets chan failover.Packet
}

func makeCuttable(transport failover.Transport) *cuttable {
	c := &cuttable{Transport: transport, packets: make(chan failover.Packet)}
	go func() {
		defer close(c.packets)
		for packet := range transport.Packets() {
			if !c.cut.Load() {
				c.packets <- packet
			}
		}
	}()
	return c
}

func (c *cuttable) Packets() <-chan failover.Packet { return c.packets }

func (c *cuttable) Send(datagram []byte) error {
	if c.cut.Load() {
		return nil
	}
	return c.Transport.Send(datagram)
}

func playWithJava(t *testing.T, classpath string, cfg interlok.Config, properties func(number int) []string) {
	cfg.NodeID, cfg.Cluster, cfg.Position = "node", "orders", 2
	cfg.Interval, cfg.Timeout = javaInterval*time.Second, javaTimeout*time.Second
	step := func(text string) { t.Logf("%s: %s", time.Now().Format("05.000"), text) }

	step("a Java primary, and ours beside it")
	first := startMember(t, classpath, append(properties(1), "failover.secondary.position=1")...)
	first.await("primary")
	node, network := startCuttable(t, cfg)
	node.await(t, "following", func(s failover.State) bool { return !s.Leader.IsZero() })
	node.await(t, "place 1", func(s failover.State) bool { return strings.Contains(s.Reason, "position 1") })

	step("the Java primary is killed: ours leads")
	killed := time.Now()
	first.kill()
	state := node.await(t, "promotion", func(s failover.State) bool { return s.Role == election.Master })
	step(fmt.Sprintf("ours leads %v after the kill", time.Since(killed)))

	step("a Java secondary waits while ours leads")
	second := startMember(t, classpath, properties(2)...)
	second.await("position 1", "primary")
	select {
	case line := <-second.lines:
		t.Fatalf("the Java secondary says %q", line)
	case <-time.After(4 * javaTimeout * time.Second):
	}

	step("the network is cut: both lead; it heals: the Java member exits, ours stays")
	network.cut.Store(true)
	second.await("primary")
	if now := node.told(); now.Term != state.Term {
		t.Fatalf("state %+v", now)
	}
	network.cut.Store(false)
	second.await("exit")
	if now := node.told(); now.Role != election.Master || now.Term != state.Term {
		t.Errorf("state %+v", now)
	}

	step("a Java member that is started as primary exits as well")
	intruder := startMember(t, classpath, append(properties(3), "primary=true")...)
	intruder.await("exit")
	if now := node.told(); now.Role != election.Master || now.Term != state.Term {
		t.Errorf("state %+v", now)
	}

	step("ours resigns: another Java secondary leads after its timeout")
	third := startMember(t, classpath, append(properties(1), "failover.secondary.position=1")...)
	third.await("position 1", "primary")
	node.mu.Lock()
	node.host.CanLead, node.host.GateOpen, node.host.AtRest = false, false, true
	node.mu.Unlock()
	resigned := time.Now()
	if err := node.Resign(t.Context(), state.Term, ""); err != nil {
		t.Fatal(err)
	}
	third.await("primary")
	step(fmt.Sprintf("the Java member leads %v after the resignation", time.Since(resigned)))
	node.await(t, "following again", func(s failover.State) bool { return !s.Leader.IsZero() })
}

func startCuttable(t *testing.T, cfg interlok.Config) (*ours, *cuttable) {
	t.Helper()
	link, err := interlok.Open(cfg, quietly())
	if err != nil {
		t.Fatal(err)
	}
	network := makeCuttable(link.Transport)
	link.Transport = network
	store, err := failover.OpenFileStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o := &ours{log: new(journal), host: election.Host{CanLead: true, AtRest: true}}
	if o.Node, err = interlok.NewNode(cfg, link, store, o.log.logger(), nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = o.Run(ctx) })
	running.Go(func() { o.report(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := link.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("our log:\n%s", o.log)
	})
	return o, network
}
