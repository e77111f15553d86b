package tcp_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/tcp"
)

// live gives signs of life until the connection or the test ends.
func live(t *testing.T, c net.Conn) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		if _, err := c.Write(tcp.Frames(nil)); err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-t.Context().Done():
			_ = c.Close()
			return
		}
	}
}

// TestBadStrangers: each of them is closed in time, counted, and disturbs nobody.
func TestBadStrangers(t *testing.T) {
	hello := tcp.Hello(9, "198.18.0.9:2710")
	for name, test := range map[string]struct {
		says  []byte
		cause string
		after time.Duration
	}{
		"another protocol":            {[]byte("GET / HTTP/1.1\r\n\r\n"), "not-ours", 0},
		"another version":             {[]byte("USTC\xff\xff" + strings.Repeat("x", 40)), "other-version", 0},
		"says nothing":                {nil, "too-slow", 3 * time.Second},
		"half a hello":                {hello[:9], "too-slow", 3 * time.Second},
		"nothing after its hello":     {hello, "too-slow", 3 * time.Second},
		"a huge frame":                {append(hello[:len(hello):len(hello)], 0x7f, 0xff, 0xff, 0xff), "too-large", 0},
		"one byte too much":           {append(hello[:len(hello):len(hello)], 0, 0, 0xff, 0xe4), "too-large", 0},
		"half a length":               {append(hello[:len(hello):len(hello)], 0, 0), "too-slow", 3 * time.Second},
		"half a frame":                {append(hello[:len(hello):len(hello)], 0, 0, 0xff, 0, 1, 2, 3), "too-slow", 3 * time.Second},
		"a hello, a frame, then less": {append(hello[:len(hello):len(hello)], 0, 0, 0, 1, 'x', 0), "too-slow", 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric()
				a, b := start(t, f, ipA, atB), start(t, f, ipB, atA)
				pass(time.Second)
				c, err := f.dial(t.Context(), mustAddr("198.18.0.9"), mustAddrPort(atA))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				go func() { _, _ = c.Write(test.says) }()
				go func() { _, _ = io.Copy(io.Discard, c) }() // It reads all that it is sent.
				if test.after > 0 {
					pass(test.after - time.Millisecond)
					if n := a.Refused()[test.cause]; n != 0 {
						t.Errorf("closed too early")
					}
					time.Sleep(2 * time.Millisecond)
				}
				synctest.Wait()
				if n := a.Refused()[test.cause]; n != 1 {
					t.Errorf("%d connections were refused as %s: %v", n, test.cause, a.Refused())
				}
				heard(a)
				say(t, b, "still")
				expect(t, a, "still")
			})
		})
	}
}

// TestSlowReader: who does not read is closed, and meanwhile only the datagrams for him are dropped.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		listener, err := f.listen(mustAddrPort("198.18.0.9:2710"))
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		a, b := start(t, f, ipA, atB, "198.18.0.9:2710"), start(t, f, ipB, atA)
		slow, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := tcp.ReadHello(slow); err != nil {
			t.Fatal(err)
		}
		if _, err := slow.Write(tcp.Hello(9, "198.18.0.9:2710")); err != nil {
			t.Fatal(err)
		}
		pass(500 * time.Millisecond)
		if p := status(t, a, "198.18.0.9:2710"); !p.Connected {
			t.Fatalf("%+v", p)
		}
		const many = 2 * tcp.OutboxDatagrams
		for i := range many {
			say(t, a, fmt.Sprint(i))
			expect(t, b, fmt.Sprint(i))
		}
		if p := status(t, a, "198.18.0.9:2710"); p.Dropped == 0 || p.Dropped > tcp.OutboxDatagrams {
			t.Errorf("%d of %d were dropped", p.Dropped, many)
		}
		go live(t, slow) // But it does not read.
		pass(2 * time.Second)
		if !status(t, a, "198.18.0.9:2710").Connected {
			t.Error("closed too early")
		}
		pass(3 * time.Second)
		if p := status(t, a, "198.18.0.9:2710"); p.Connected || !strings.Contains(p.Fault.Error(), "does not") {
			t.Errorf("%+v", p)
		}
	})
}

// TestStolenAddress: a stranger who says that he listens where a peer does, from another host, takes nothing from it.
func TestStolenAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		a := start(t, f, ipA, atB)
		thief := stranger(t, f, "198.18.0.9", atA, tcp.Hello(9, atB))
		go func() { _, _ = io.Copy(io.Discard, thief) }()
		pass(time.Second)
		say(t, a, "for b")
		b := start(t, f, ipB, atA)
		pass(100 * time.Millisecond)
		expect(t, b, "for b")
	})
}

// TestManyConnections: strangers from one host or from many get a bounded number of connections, and a peer gets in.
func TestManyConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		f.cutOff(ipA, ipB) // So b has to get in.
		a := start(t, f, ipA, atB)
		// Each has said hello, and gives signs of life for ever.
		visit := func(from string) net.Conn {
			c, err := f.dial(t.Context(), mustAddr(from), mustAddrPort(atA))
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, c) }()
			go func() {
				if _, err := c.Write(tcp.Hello(9, "198.18.0.9:2710")); err == nil {
					live(t, c)
				}
			}()
			return c
		}
		var all []net.Conn
		for range 100 {
			all = append(all, visit("198.18.0.9"))
		}
		pass(10 * time.Second)
		if n := a.Refused()["too-many"]; n != 100-tcp.MaxPerHost {
			t.Errorf("%d of 100 connections from one host were refused", n)
		}
		for i := range 1000 {
			all = append(all, visit(fmt.Sprintf("198.18.%d.%d", 1+i/250, 1+i%250)))
			synctest.Wait()
		}
		pass(10 * time.Second)
		if n := a.Refused()["too-many"]; n != 1100-tcp.MaxAccepted {
			t.Errorf("%d of 1100 connections were refused", n)
		}
		b := start(t, f, ipB, atA)
		pass(5 * time.Second)
		say(t, b, "from b")
		say(t, a, "from a")
		expect(t, a, "from b")
		expect(t, b, "from a")
		for _, c := range all {
			_ = c.Close()
		}
	})
}

// TestThousandsOfSockets does the same with the system's connections: they are refused, and leave nothing behind.
func TestThousandsOfSockets(t *testing.T) {
	a := open(t, tcp.Options{Host: "127.0.0.1"})
	b := open(t, tcp.Options{Host: "127.0.0.1", Peers: []string{a.Address()}})
	defer func() { _, _ = a.Close(), b.Close() }()
	exchange := func(text string) {
		if err := b.Send([]byte(text)); err != nil {
			t.Fatal(err)
		}
		for packet := range a.Packets() {
			if string(packet.Data) == text {
				return
			}
		}
	}
	exchange("before")
	for range 20 {
		var some []net.Conn
		for range 100 {
			c, err := net.Dial("tcp", a.Address())
			if err != nil {
				continue // Refused so soon that even dialling has noticed.
			}
			_, _ = c.Write(tcp.Hello(9, "127.0.0.9:2710"))
			some = append(some, c)
		}
		exchange("meanwhile")
		for _, c := range some {
			_ = c.Close()
		}
	}
	exchange("after")
	if a.Refused()["too-many"] == 0 {
		t.Error("nobody was refused")
	}
}

// TestFloodTakesTurns: one that sends as fast as it can does not push others away, because the connections take turns.
func TestFloodTakesTurns(t *testing.T) {
	a := open(t, tcp.Options{Host: "127.0.0.1"})
	b := open(t, tcp.Options{Host: "127.0.0.1", Peers: []string{a.Address()}})
	defer func() { _, _ = a.Close(), b.Close() }()
	flood, err := net.Dial("tcp", a.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer flood.Close()
	if _, err := flood.Write(tcp.Hello(9, "127.0.0.9:2710")); err != nil {
		t.Fatal(err)
	}
	go func() {
		frames := tcp.Frames([]byte("flood"), []byte("flood"), []byte("flood"))
		for {
			if _, err := flood.Write(frames); err != nil {
				return
			}
		}
	}()
	<-a.Packets() // The flood has begun.
	for i := range 100 {
		text := fmt.Sprint("heartbeat ", i)
		if err := b.Send([]byte(text)); err != nil {
			t.Fatal(err)
		}
		for packet := range a.Packets() {
			if string(packet.Data) == text {
				break
			}
		}
	}
}

// TestClosesWithSlowPeers: a peer that does not read does not keep Close from ending.
func TestClosesWithSlowPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		listener, err := f.listen(mustAddrPort(atB))
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		a := start(t, f, ipA, atB, atC)
		silent, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		say(t, a, strings.Repeat("x", failover.MaxDatagram))
		before := time.Now()
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(before); took > 250*time.Millisecond { // In a bubble: exact.
			t.Errorf("took %v", took)
		}
	})
}

// TestLastWords: what was said before Close is sent, to a peer that takes its time too.
func TestLastWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		listener, err := f.listen(mustAddrPort(atB))
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		a := start(t, f, ipA, atB)
		peer, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := tcp.ReadHello(peer); err != nil {
			t.Fatal(err)
		}
		if _, err := peer.Write(tcp.Hello(9, atB)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range 3 {
			if err := a.Send(fmt.Append(nil, "I resign ", i)); err != nil {
				t.Fatal(err)
			}
		}
		closed := make(chan error, 1)
		go func() { closed <- a.Close() }()
		pass(100 * time.Millisecond)
		datagrams, _ := tcp.ReadFrames(peer)
		var got []string
		for _, datagram := range datagrams {
			got = append(got, string(datagram))
		}
		if want := "[I resign 0 I resign 1 I resign 2]"; fmt.Sprint(got) != want {
			t.Errorf("heard %v, want %s", got, want)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}
