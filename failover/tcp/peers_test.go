package tcp_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/failover/tcp"
)

const (
	ipA, ipB, ipC = "198.18.0.1", "198.18.0.2", "2001:db8::3"
	atA, atB, atC = "198.18.0.1:2710", "198.18.0.2:2710", "[2001:db8::3]:2710"
)

func say(t *testing.T, transport *tcp.Transport, text string) {
	t.Helper()
	if err := transport.Send([]byte(text)); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func expect(t *testing.T, transport *tcp.Transport, want ...string) {
	t.Helper()
	if got := heard(transport); !slices.Equal(got, want) {
		t.Errorf("%s heard %q, want %q", transport.Address(), got, want)
	}
}

// TestLaterPeer: who comes later is connected in both directions as soon as it has dialled, and hears nothing old.
func TestLaterPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		a := start(t, f, ipA, atB)
		say(t, a, "long ago")
		pass(time.Minute)
		say(t, a, "just now")
		b := start(t, f, ipB, atA)
		pass(100 * time.Millisecond)
		if p := status(t, a, atB); !p.Connected || p.Fault != nil || p.Dropped != 1 {
			t.Errorf("%+v", p)
		}
		expect(t, b, "just now")
		say(t, a, "from a")
		say(t, b, "from b")
		expect(t, a, "from b")
		expect(t, b, "from a")
	})
}

// TestRestartedPeer: a peer that ends is noticed, and found again when it is back.
func TestRestartedPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		a, b := start(t, f, ipA, atB), start(t, f, ipB)
		pass(time.Second)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if p := status(t, a, atB); p.Connected || p.Fault == nil {
			t.Errorf("after its end: %+v", p)
		}
		b = start(t, f, ipB)
		pass(3 * time.Second)
		say(t, a, "again")
		expect(t, b, "again")
	})
}

// TestOneSideDials: a firewall that lets only one of the two dial stops neither.
func TestOneSideDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		f.cutOff(ipA, ipB)
		a, b := start(t, f, ipA, atB), start(t, f, ipB, atA)
		pass(10 * time.Second)
		if p := status(t, a, atB); p.Connected || p.Answers != 1 {
			t.Errorf("%+v", p)
		}
		say(t, a, "from a")
		say(t, b, "from b")
		if err := a.SendTo(b.Address(), []byte("to b")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		expect(t, a, "from b")
		expect(t, b, "from a", "to b")
	})
}

// TestIdleConnectionsLast: signs of life keep connections over which nothing is said.
func TestIdleConnectionsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		a, b := start(t, f, ipA, atB), start(t, f, ipB, atA)
		pass(time.Hour)
		if n := f.dialled(); n > 4 { // The first attempt of a may have been too early.
			t.Errorf("%d connections were dialled", n)
		}
		if p := status(t, a, atB); p.For < 59*time.Minute || !p.Connected {
			t.Errorf("%+v", p)
		}
		say(t, a, "still")
		expect(t, b, "still")
	})
}

// TestNamesAreLookedUpAnew: a peer whose name gets another address is found there, and a resolver that hangs holds nobody
// up.
func TestNamesAreLookedUpAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		var mu sync.Mutex // guards where and hangs
		where, hangs := ipB, false
		resolver := func(ip string, hanging bool) {
			mu.Lock()
			defer mu.Unlock()
			where, hangs = ip, hanging
		}
		lookup := func(ctx context.Context, name string) ([]netip.Addr, error) {
			if name != "b.example" {
				return nil, errors.New("no such host")
			}
			mu.Lock()
			ip, hanging := where, hangs
			mu.Unlock()
			if hanging {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return []netip.Addr{netip.MustParseAddr("198.18.9.9"), netip.MustParseAddr(ip)}, nil
		}
		a := startWith(t, f, ipA, tcp.Options{Peers: []string{"b.example:2710"}, Lookup: lookup})
		b := start(t, f, ipB)
		pass(5 * time.Second)
		say(t, a, "first place")
		expect(t, b, "first place")
		resolver(ipB, true)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		before := time.Now()
		say(t, a, "into the void")
		if waited := time.Since(before); waited != 0 {
			t.Errorf("sending took %v while a name was looked up", waited)
		}
		pass(10 * time.Second)
		if p := status(t, a, "b.example:2710"); p.Fault == nil || !strings.Contains(p.Fault.Error(), "look up b.example") {
			t.Errorf("%+v", p)
		}
		resolver(ipC, false)
		c := start(t, f, ipC)
		pass(10 * time.Second)
		say(t, a, "second place")
		expect(t, c, "second place")
	})
}

// TestOwnNameAmongPeers: the same list on all nodes, by name or address, makes nobody hear himself.
func TestOwnNameAmongPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		names := map[string]string{"a.example": ipA, "virtual.example": "198.18.0.100"}
		lookup := func(_ context.Context, name string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr(names[name])}, nil
		}
		a := startWith(t, f, ipA, tcp.Options{Lookup: lookup, Peers: []string{"a.example:2710", atA, "virtual.example:2710", atB}})
		// The virtual address leads to a, which cannot know that before it has met itself.
		f.mu.Lock()
		f.listeners[netip.MustParseAddrPort("198.18.0.100:2710")] = f.listeners[netip.MustParseAddrPort(atA)]
		f.mu.Unlock()
		b := start(t, f, ipB)
		pass(10 * time.Second)
		say(t, a, "once")
		expect(t, a)
		expect(t, b, "once")
		for _, name := range []string{"a.example:2710", atA, "virtual.example:2710"} {
			if p := status(t, a, name); !p.Self || p.Connected {
				t.Errorf("%s: %+v", name, p)
			}
		}
	})
}

// TestTwins: a node that is listed under two names hears everything once, and under the other name when one fails.
func TestTwins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		a, b := start(t, f, ipA, atB, "198.18.0.22:2710"), start(t, f, ipB)
		f.mu.Lock()
		second := netip.MustParseAddrPort("198.18.0.22:2710")
		f.listeners[second] = f.listeners[netip.MustParseAddrPort(atB)]
		f.mu.Unlock()
		pass(20 * time.Second)
		say(t, a, "once")
		expect(t, b, "once")
		if err := a.SendTo("198.18.0.22:2710", []byte("to one")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		expect(t, b, "to one")
	})
}

// TestLearnedUnderItsName: a node that is configured by name and heard of by its address is one peer.
func TestLearnedUnderItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		ready := make(chan struct{})
		lookup := func(context.Context, string) ([]netip.Addr, error) {
			<-ready
			return []netip.Addr{netip.MustParseAddr(ipB)}, nil
		}
		a := startWith(t, f, ipA, tcp.Options{Lookup: lookup, Peers: []string{"b.example:2710"}})
		b := start(t, f, ipB)
		a.Learn(atB)
		pass(time.Second)
		if n := len(a.Peers()); n != 2 {
			t.Errorf("before the name is known: %d peers", n)
		}
		close(ready)
		pass(5 * time.Second)
		a.Learn(atB)
		if peers := a.Peers(); len(peers) != 1 || !peers[0].Connected {
			t.Errorf("%+v", peers)
		}
		say(t, a, "once")
		expect(t, b, "once")
	})
}

// TestForgets: a learned node is dialled for as long as it is heard of or may come back, and not for ever.
func TestForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		a, b := start(t, f, ipA), start(t, f, ipB)
		a.Learn(atB)
		a.Learn("198.18.7.7:1")
		for range 10 {
			pass(30 * time.Second)
			a.Learn("198.18.8.8:1")
		}
		names := func() (names []string) {
			for _, p := range a.Peers() {
				names = append(names, p.Name)
			}
			return names
		}
		if got := names(); !slices.Equal(got, []string{atB, "198.18.8.8:1"}) {
			t.Errorf("after five minutes: %v", got)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		pass(50 * time.Minute)
		if got := names(); !slices.Equal(got, []string{atB}) {
			t.Errorf("50 minutes after the end of b: %v", got)
		}
		pass(15 * time.Minute)
		if got := names(); len(got) != 0 {
			t.Errorf("65 minutes after the end of b: %v", got)
		}
	})
}

// TestLearnsBounded: whoever can make a node learn cannot make it learn much, nor push away who is connected.
func TestLearnsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		a, b := start(t, f, ipA), start(t, f, ipB)
		a.Learn(atB)
		pass(time.Second)
		for i := range 1000 {
			a.Learn(fmt.Sprintf("198.19.%d.%d:9", i/250, i%250+1))
		}
		pass(time.Second)
		if n := len(a.Peers()); n != tcp.MaxLearned {
			t.Errorf("%d peers were learned", n)
		}
		say(t, a, "still")
		expect(t, b, "still")
		a.Learn("127.0.0.1:2710")
		if err := a.SendTo("127.0.0.1:2710", []byte("x")); err == nil {
			t.Error("a datagram made the node speak to its own machine")
		}
	})
}

// TestLog: what comes and goes is said, a peer that is away once, and one that comes and goes all the time not for ever.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		var text lines
		a := startWith(t, f, ipA, tcp.Options{Peers: []string{atB}, Log: slog.New(slog.NewTextHandler(&text, nil))})
		pass(10 * time.Minute)
		if got := text.count("peer not available"); got != 1 {
			t.Errorf("a peer that is not there was said to be away %d times", got)
		}
		b := start(t, f, ipB)
		pass(5 * time.Second)
		if got := text.count("peer connected"); got != 1 {
			t.Errorf("its coming was said %d times", got)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Second)
		if got := text.count("peer not available"); got != 2 {
			t.Errorf("its going was not said, %d", got)
		}
		before := text.count(`msg="peer`)
		for range 30 {
			b := start(t, f, ipB, atA)
			pass(time.Second)
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
		}
		if got := text.count(`msg="peer`) - before; got < 2 || got > 10 {
			t.Errorf("a minute of coming and going cost %d lines", got)
		}
		if !strings.Contains(text.String(), "connection refused") {
			t.Errorf("the reason is missing:\n%s", text.String())
		}
		_ = a.Close()
	})
}

// lines is what was logged.
type lines struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) count(text string) int { return strings.Count(l.String(), text) }
