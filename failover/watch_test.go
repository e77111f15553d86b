package failover_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/memnet"
)

// ports are the liveness sockets of the hosts in a bubble, by address.
type ports struct {
	mu     sync.Mutex // guards all below
	hellos map[string]string
	conns  map[string][]net.Conn
	dials  int
	// dead are addresses from which no answer comes; resets is how many connections are reset before one is refused.
	dead   map[string]bool
	resets int
}

func newPorts() *ports {
	return &ports{hellos: map[string]string{}, conns: map[string][]net.Conn{}, dead: map[string]bool{}}
}

func hello(process uint64, node, cluster string) string {
	return fmt.Sprintf("UNDERSTUDY-LIVENESS\t1\t%016x\t%s\t%s\n", process, node, cluster)
}

// open makes a host listen; close ends its connections and refuses further ones.
func (p *ports) open(address, hello string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hellos[address] = hello
}

func (p *ports) close(address string) {
	p.mu.Lock()
	delete(p.hellos, address)
	p.mu.Unlock()
	p.hangUp(address)
}

func (p *ports) hangUp(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns[address] {
		_ = conn.Close()
	}
	p.conns[address] = nil
}

// vanish is a network that swallows everything: nothing is refused, nothing is closed.
func (p *ports) vanish(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead[address] = true
}

func (p *ports) dialled() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dials
}

func (p *ports) dial(ctx context.Context, address string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials++
	fail := func(errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}
	}
	text, listens := p.hellos[address]
	switch {
	case p.dead[address]:
		p.mu.Unlock()
		<-ctx.Done()
		p.mu.Lock()
		return nil, ctx.Err()
	case !listens && p.resets > 0:
		p.resets--
		return nil, fail(syscall.ECONNRESET)
	case !listens:
		return nil, fail(syscall.ECONNREFUSED)
	}
	ours, theirs := net.Pipe()
	p.conns[address] = append(p.conns[address], theirs)
	go func() { _, _ = theirs.Write([]byte(text)) }() // Ends with the connection.
	return ours, nil
}

// watched is a cluster of two, b leading, in which a watches b's host.
type watched struct {
	*ports
	a, b    *member
	address string
}

func watchTwo(t *testing.T, said string) *watched {
	t.Helper()
	w := &watched{ports: newPorts(), address: "10.0.0.2:4711"}
	w.open(w.address, said)
	network := memnet.New(1)
	network.SetFaults(memnet.Faults{Delay: time.Millisecond})
	w.a = joinWith(t, network, "a", &memoryStore{}, &lines{}, w.dial)
	w.b = joinWith(t, network, "b", &memoryStore{}, &lines{}, w.dial)
	host := ready()
	host.Liveness = election.Liveness{Address: w.address, Process: 7}
	w.b.setHost(host)
	pass(10 * delay)
	if w.b.role() != election.Master {
		t.Fatalf("b is %v", w.b.role())
	}
	return w
}

// crash ends b's node without a word; its host's port stays as it is.
func (w *watched) crash(t *testing.T) {
	t.Helper()
	if err := w.b.stop(); err != nil {
		t.Fatal(err)
	}
}

// TestEvidence: closed and refused means gone, whatever the delay; everything else means nothing.
func TestEvidence(t *testing.T) {
	const own = 7
	for name, test := range map[string]struct {
		said    string
		happens func(w *watched)
		gone    bool
	}{
		"refused": {hello(own, "b", "orders"), func(w *watched) { w.close(w.address) }, true},
		"reset first": {hello(own, "b", "orders"), func(w *watched) {
			w.resets = 3
			w.close(w.address)
		}, true},
		"another process": {hello(own, "b", "orders"), func(w *watched) {
			w.open(w.address, hello(8, "b", "orders"))
			w.hangUp(w.address)
		}, true},
		"no answer": {hello(own, "b", "orders"), func(w *watched) {
			w.vanish(w.address)
			w.hangUp(w.address)
		}, false},
		"hung up only":    {hello(own, "b", "orders"), func(w *watched) { w.hangUp(w.address) }, false},
		"frozen":          {hello(own, "b", "orders"), func(*watched) {}, false},
		"never met":       {"", func(w *watched) { w.close(w.address) }, false},
		"a stranger":      {"SSH-2.0-OpenSSH_9.2\n", func(w *watched) { w.close(w.address) }, false},
		"another node":    {hello(own, "c", "orders"), func(w *watched) { w.close(w.address) }, false},
		"another cluster": {hello(own, "b", "bills"), func(w *watched) { w.close(w.address) }, false},
		"old process":     {hello(6, "b", "orders"), func(w *watched) { w.close(w.address) }, false},
		"a stranger later": {hello(own, "b", "orders"), func(w *watched) {
			w.open(w.address, "220 smtp\n")
			w.hangUp(w.address)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watchTwo(t, test.said)
				w.crash(t)
				test.happens(w)
				pass(delay) // far less than delay × retries
				if got := w.a.role() == election.Master; got != test.gone {
					t.Errorf("after %v a is %v: %s", delay, w.a.role(), mustState(w.a).Reason)
				}
				pass(5 * delay)
				if w.a.role() != election.Master {
					t.Errorf("silence has not made a the master: %+v", mustState(w.a))
				}
				if cause := "the master's process is gone"; strings.Contains(mustState(w.a).Reason, cause) != test.gone {
					t.Errorf("it leads because %q", mustState(w.a).Reason)
				}
			})
		})
	}
}

// TestEvidenceContradicted: a refusal that somebody forged costs a claim; the master objects, and stays.
func TestEvidenceContradicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchTwo(t, hello(7, "b", "orders"))
		w.close(w.address)
		pass(10 * delay)
		if w.a.role() != election.Standby || w.b.role() != election.Master {
			t.Errorf("a is %v, b is %v", w.a.role(), w.b.role())
		}
		if log := w.a.log.messages(); strings.Count(log, "does a firewall reset connections?") != 1 {
			t.Errorf("a says:\n%s", log)
		}
		// Once more only when the process has been met again.
		w.open(w.address, hello(7, "b", "orders"))
		pass(3 * delay)
		if status, err := w.a.Status(t.Context()); err != nil || !status.WatchConnected || status.Watched.Term.Node != "b" {
			t.Errorf("status %+v, %v", status, err)
		}
		w.crash(t)
		w.close(w.address)
		pass(delay)
		if w.a.role() != election.Master {
			t.Errorf("a is %v", w.a.role())
		}
	})
}

// TestWatchIsPatient: a port that answers nothing useful, or hangs up at once, is not asked all the time.
func TestWatchIsPatient(t *testing.T) {
	for name, said := range map[string]string{"stranger": "hello\n", "nothing": ""} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watchTwo(t, said)
				before := w.dialled()
				pass(100 * delay)
				if n := w.dialled() - before; n < 40 || n > 101 {
					t.Errorf("%d attempts in 100 delays", n)
				}
			})
		})
	}
	t.Run("hangs up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := watchTwo(t, hello(7, "b", "orders"))
			before := w.dialled()
			for range 1000 {
				w.hangUp(w.address)
				pass(delay / 10)
			}
			if n := w.dialled() - before; n > 250 {
				t.Errorf("%d attempts in 100 delays", n)
			}
		})
	})
}

// TestWatchRefusesAddresses: no datagram makes a node ask a name server, or connect to nowhere.
func TestWatchRefusesAddresses(t *testing.T) {
	for _, address := range []string{"db.example.com:80", "0.0.0.0:80", "[::]:80", "230.0.0.1:80", "10.0.0.1:0", "[fe80::1%lo]:80", "nonsense"} {
		synctest.Test(t, func(t *testing.T) {
			p := newPorts()
			network := memnet.New(1)
			a := joinWith(t, network, "a", &memoryStore{}, &lines{}, p.dial)
			b := joinWith(t, network, "b", &memoryStore{}, &lines{}, p.dial)
			host := ready()
			host.Liveness = election.Liveness{Address: address, Process: 7}
			b.setHost(host)
			pass(20 * delay)
			if n := p.dialled(); n > 0 {
				t.Errorf("%s was dialled %d times", address, n)
			}
			if !strings.Contains(a.log.messages(), "cannot be watched") {
				t.Errorf("%s: a says:\n%s", address, a.log.messages())
			}
		})
	}
}

// TestWatchTheNetwork: the same with real sockets.
func TestWatchTheNetwork(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dial := failover.NetDialer()
	conn, err := dial(t.Context(), listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if conn, err := dial(t.Context(), listener.Addr().String()); err == nil {
		conn.Close()
		t.Error("a closed port answers")
	} else if !failover.IsRefused(err) {
		t.Errorf("a refusal is not recognised: %v", err)
	}
}

// TestHostLost: the plugin of a master whose host has died must not speak for it any more, nor object to a claim.
func TestHostLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		a := join(t, network, "a", &memoryStore{}, &lines{})
		pass(10 * delay)
		if a.role() != election.Master {
			t.Fatalf("a is %v", a.role())
		}
		a.hush()
		if err := a.HostLost(t.Context()); err != nil {
			t.Fatal(err)
		}
		before, err := a.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b := join(t, network, "b", &memoryStore{}, &lines{})
		pass(2 * delay)
		after, err := a.Status(t.Context())
		if err != nil || after.State.Valid != 0 || after.Sent != before.Sent {
			t.Errorf("it spoke %d times, and says %+v, %v", after.Sent-before.Sent, after.State, err)
		}
		pass(10 * delay)
		if b.role() != election.Master {
			t.Errorf("b is %v: %s", b.role(), mustState(b).Reason)
		}
	})
}
