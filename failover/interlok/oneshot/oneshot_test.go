package oneshot_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/failover/interlok/oneshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, options oneshot.Options) *oneshot.Transport {
	t.Helper()
	options.Size = 4
	if options.Listen == "" {
		options.Listen = "127.0.0.1:0"
	}
	transport, err := oneshot.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = transport.Close() })
	return transport
}

// TestConnectionPerDatagram: each is written at once, in a connection that ends with it, and read whatever the other
// side's habits are.
func TestConnectionPerDatagram(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	a := open(t, oneshot.Options{Peers: []string{listener.Addr().String()}})
	for _, text := range []string{"one.", "two."} {
		if err := a.Send([]byte(text)); err != nil {
			t.Fatal(err)
		}
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(conn)
		if err != nil || string(data) != text {
			t.Errorf("%q, %v", data, err)
		}
		_ = conn.Close()
	}

	for _, write := range []string{"whol", "longer", "sho", "open"} {
		conn, err := net.Dial("tcp", a.Address().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(write)); err != nil {
			t.Fatal(err)
		}
		if write != "open" { // Whoever has sent enough is heard although the connection stays.
			_ = conn.Close()
		}
		packet := <-a.Packets()
		if want := write[:min(len(write), 5)]; string(packet.Data) != want || packet.Source == "" || packet.Received.IsZero() {
			t.Errorf("%+v, want %q", packet, want)
		}
		_ = conn.Close()
	}
}

func TestSizes(t *testing.T) {
	a := open(t, oneshot.Options{})
	if err := a.Send([]byte("three")); err == nil {
		t.Error("five bytes were sent")
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := a.Send([]byte("four")); err == nil {
		t.Error("sent although closed")
	}
	if _, ok := <-a.Packets(); ok {
		t.Error("a packet after the end")
	}
}

// TestSlowPeer: a peer that does not answer holds up no other, and gets the latest only.
func TestSlowPeer(t *testing.T) {
	b := open(t, oneshot.Options{})
	slow := make(chan struct{})
	var got bytes.Buffer
	a := open(t, oneshot.Options{
		Peers: []string{"192.0.2.1:1", b.Address().String()},
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			if address != "192.0.2.1:1" {
				var dialer net.Dialer
				return dialer.DialContext(ctx, "tcp", address)
			}
			select {
			case <-slow:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			own, other := net.Pipe()
			go func() {
				_, _ = io.Copy(&got, other)
				slow <- struct{}{}
			}()
			return own, nil
		},
	})
	for _, text := range []string{"1...", "2...", "3...", "4..."} {
		if err := a.Send([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if packet := <-b.Packets(); string(packet.Data) != text {
			t.Errorf("%q, want %q", packet.Data, text)
		}
	}
	slow <- struct{}{}
	<-slow
	slow <- struct{}{}
	<-slow
	if text := got.String(); !strings.HasSuffix(text, "4...") || len(text) != 8 {
		t.Errorf("the slow peer got %q", text)
	}
}

// TestLearn: addresses are learned, names and this node itself are not, and not without bounds.
func TestLearn(t *testing.T) {
	var dialled atomic.Int64
	a := open(t, oneshot.Options{
		Own: "127.0.0.1:1", Peers: []string{"127.0.0.1:1"},
		Dial: func(context.Context, string) (net.Conn, error) {
			dialled.Add(1)
			return nil, errors.New("refused")
		},
	})
	for _, address := range []string{"", "host:1", "127.0.0.1:1", "127.0.0.1:0", "224.0.0.1:5", "127.0.0.1", "[::1%lo]:7"} {
		a.Learn(address)
	}
	if err := a.Send([]byte("none")); err != nil {
		t.Fatal(err)
	}
	for port := range 100 {
		a.Learn(net.JoinHostPort("127.0.0.1", strings.Repeat("1", 1)+string(rune('0'+port%10))+string(rune('0'+port/10))))
	}
	for range 3 {
		a.Learn("127.0.0.1:100")
	}
	if err := a.Send([]byte("many")); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil { // It waits for what was sent.
		t.Fatal(err)
	}
	if count := dialled.Load(); count != 32 {
		t.Errorf("%d peers were sent to", count)
	}
}

// TestNameAndAddress: a peer that is configured by its name and heard by its address is sent to once, as soon as that is
// known.
func TestNameAndAddress(t *testing.T) {
	for _, learnFirst := range []bool{false, true} {
		b := open(t, oneshot.Options{})
		var dialled atomic.Int64
		a := open(t, oneshot.Options{
			Peers: []string{"b.example:4000"},
			Dial: func(ctx context.Context, _ string) (net.Conn, error) {
				dialled.Add(1)
				var dialer net.Dialer
				return dialer.DialContext(ctx, "tcp", b.Address().String())
			},
		})
		send := func(times int) {
			if err := a.Send([]byte("ping")); err != nil {
				t.Fatal(err)
			}
			for range times {
				<-b.Packets()
			}
		}
		first := 1
		if learnFirst {
			a.Learn(b.Address().String())
			first = 2
		}
		send(first)
		a.Learn(b.Address().String())
		send(1)
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if count := int(dialled.Load()); count != first+1 {
			t.Errorf("learned first: %v: %d connections, want %d", learnFirst, count, first+1)
		}
	}
}

// TestLastWords: what was sent before the end arrives.
func TestLastWords(t *testing.T) {
	b := open(t, oneshot.Options{})
	a := open(t, oneshot.Options{Peers: []string{b.Address().String()}})
	if err := a.Send([]byte("bye.")); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if packet := <-b.Packets(); string(packet.Data) != "bye." {
		t.Errorf("%q", packet.Data)
	}
}

func TestPortTaken(t *testing.T) {
	a := open(t, oneshot.Options{})
	if _, err := oneshot.Open(oneshot.Options{Listen: a.Address().String(), Size: 4}); err == nil || !strings.Contains(err.Error(), "same port") {
		t.Errorf("got %v", err)
	}
}
