package tcp_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/tcp"
)

// TestForm: the bytes on the wire are what other versions and programs rely on.
func TestForm(t *testing.T) {
	hello := tcp.Hello(7, "192.0.2.7:2710")
	want := "USTC\x01\x01\x07" + strings.Repeat("\x00", 15) + "\x0e192.0.2.7:2710"
	if string(hello) != want {
		t.Errorf("hello:\n%q, want\n%q", hello, want)
	}
	frames := tcp.Frames([]byte("ab"), nil, []byte{})
	if want := "\x00\x00\x00\x02ab\xff\xff\xff\xff\x00\x00\x00\x00"; string(frames) != want {
		t.Errorf("frames:\n%q, want\n%q", frames, want)
	}
}

func TestHelloRefused(t *testing.T) {
	good := string(tcp.Hello(7, "192.0.2.7:2710"))
	for name, test := range map[string]struct{ hello, want string }{
		"other protocol":  {"GET / HTTP/1.1\r\n\r\n", "does not speak this protocol"},
		"later version":   {"USTC\x03\x02" + good[6:], "another version of the protocol: 3, and needs at least 2; this node has 1 and 1"},
		"version nought":  {"USTC\x00\x00" + good[6:], "another version"},
		"name":            {good[:22] + "\x0elocalhost:2710", "does not speak this protocol"},
		"multicast":       {good[:22] + "\x0e224.0.0.1:2710", "does not speak this protocol"},
		"endless address": {good[:22] + "\xff" + strings.Repeat("1", 255), "does not speak this protocol"},
		"cut off":         {good[:len(good)-1], "wait for its hello"},
		"nothing":         {"", "wait for its hello"},
	} {
		if _, _, err := tcp.ReadHello(strings.NewReader(test.hello)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func FuzzHello(f *testing.F) {
	f.Add(tcp.Hello(7, "192.0.2.7:2710"))
	f.Add(tcp.Hello(0, "[2001:db8::7]:1"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("USTC\xff\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		address, form, err := tcp.ReadHello(r)
		if err != nil {
			return
		}
		if _, err := failover.ParseAddress(address); err != nil {
			t.Errorf("a hello with a bad address was taken: %v", err)
		}
		// What was understood means the same when it is said again.
		again, _, err := tcp.ReadHello(bytes.NewReader(form))
		if err != nil || again != address {
			t.Errorf("said again: %q, %v; want %q", again, err, address)
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add(tcp.Frames([]byte("ab"), nil, []byte{}, bytes.Repeat([]byte{1}, 5000)))
	f.Add([]byte{0, 0, 0, 9, 1})
	f.Add([]byte{0, 1, 0, 0, 1})
	f.Add([]byte{0xff, 0xff, 0xff, 0xfe})
	f.Fuzz(func(t *testing.T, data []byte) {
		datagrams, err := tcp.ReadFrames(bytes.NewReader(data))
		if err == nil {
			t.Fatal("a stream that ends has no error")
		}
		form := tcp.Frames(datagrams...)
		if !bytes.HasPrefix(data, form) {
			t.Errorf("read %q from %q", form, data)
		}
		if errors.Is(err, io.EOF) && len(form) != len(data) {
			t.Errorf("a stream that broke off in the middle was taken as ended: %d of %d bytes", len(form), len(data))
		}
		for _, datagram := range datagrams {
			if len(datagram) > failover.MaxDatagram {
				t.Errorf("a datagram of %d bytes was taken", len(datagram))
			}
		}
	})
}
