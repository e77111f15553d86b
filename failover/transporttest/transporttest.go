// Package transporttest is what every failover.Transport has to pass, and how fast one is.
package transporttest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/understudy-ha/understudy/failover"
)

// Run checks a kind of transport. It closes what it opens. What a transport can do beyond failover.Transport, as a
// Unicaster or Learner, is checked too.
func Run(t *testing.T, network func(t *testing.T) (join func(name string) failover.Transport)) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, func(string) failover.Transport)
	}{
		{"everybody hears", everybodyHears},
		{"own buffers", ownBuffers},
		{"sizes", sizes},
		{"slow receiver", slowReceiver},
		{"close", closes},
		{"last words", lastWords},
		{"close while in use", closesInUse},
		{"unicast", unicast},
		{"unicast to nobody", unicastToNobody},
		{"bad addresses", badAddresses},
		{"learn", learns},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, network(t)) })
	}
}

// next returns the next datagram of others: a transport may let its own be heard, marked here by the first letters.
func next(t testing.TB, transport failover.Transport, own string) failover.Packet {
	t.Helper()
	for packet := range transport.Packets() {
		if own == "" || !strings.HasPrefix(string(packet.Data), own) {
			return packet
		}
	}
	t.Fatal("the transport has ended")
	return failover.Packet{}
}

func everybodyHears(t *testing.T, join func(string) failover.Transport) {
	a, b, c := join("a"), join("b"), join("c")
	defer closeAll(t, a, b, c)
	send(t, a, "from a")
	send(t, b, "from b")
	send(t, c, "from c")
	for _, receiver := range []struct {
		transport failover.Transport
		own       string
	}{{a, "from a"}, {b, "from b"}, {c, "from c"}} {
		got := map[string]bool{}
		for len(got) < 2 {
			packet := next(t, receiver.transport, receiver.own)
			got[string(packet.Data)] = true
			if packet.Received.IsZero() || packet.Source == "" {
				t.Errorf("packet without time or source: %+v", packet)
			}
		}
		for _, want := range []string{"from a", "from b", "from c"} {
			if want != receiver.own && !got[want] {
				t.Errorf("the one who is not %q received %v", receiver.own, got)
			}
		}
	}
}

func ownBuffers(t *testing.T, join func(string) failover.Transport) {
	a, b, c := join("a"), join("b"), join("c")
	defer closeAll(t, a, b, c)
	datagram := []byte("first")
	if err := a.Send(datagram); err != nil {
		t.Fatal(err)
	}
	copy(datagram, "XXXXX")
	first := next(t, b, "")
	send(t, a, "other")
	second := next(t, b, "")
	if string(first.Data) != "first" || string(second.Data) != "other" {
		t.Errorf("received %q and %q: a buffer was used twice", first.Data, second.Data)
	}
	first.Data[0] = '!'
	got := []string{string(next(t, c, "").Data), string(next(t, c, "").Data)}
	if slices.Sort(got); !slices.Equal(got, []string{"first", "other"}) { // One may overtake the other.
		t.Errorf("received %q: a buffer is shared between receivers", got)
	}
}

func sizes(t *testing.T, join func(string) failover.Transport) {
	a, b := join("a"), join("b")
	defer closeAll(t, a, b)
	tooLarge := make([]byte, failover.MaxDatagram+1)
	if err := a.Send(tooLarge); err == nil || !strings.Contains(err.Error(), fmt.Sprint(failover.MaxDatagram)) {
		t.Errorf("sending %d bytes: %v, want an error that tells the limit", len(tooLarge), err)
	}
	unicaster, canUnicast := a.(failover.Unicaster)
	if canUnicast {
		if err := unicaster.SendTo(b.(failover.Unicaster).Address(), tooLarge); err == nil {
			t.Errorf("%d bytes were sent to one node", len(tooLarge))
		}
	}
	for _, size := range []int{0, 1, 1400, 16 << 10, failover.MaxDatagram} {
		want := bytes.Repeat([]byte{7}, size)
		if err := a.Send(want); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if got := next(t, b, ""); !bytes.Equal(got.Data, want) {
			t.Errorf("%d bytes: received %d others", size, len(got.Data))
		}
		if !canUnicast {
			continue
		}
		if err := unicaster.SendTo(b.(failover.Unicaster).Address(), want); err != nil {
			t.Fatalf("%d bytes to one node: %v", size, err)
		}
		if got := next(t, b, ""); !bytes.Equal(got.Data, want) {
			t.Errorf("%d bytes to one node: received %d others", size, len(got.Data))
		}
	}
}

// slowReceiver: whoever does not read must not hold the sender up.
func slowReceiver(t *testing.T, join func(string) failover.Transport) {
	a, b := join("a"), join("b")
	defer closeAll(t, a, b)
	unicaster, canUnicast := a.(failover.Unicaster)
	for i := range 5000 {
		if err := a.Send(fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
		if !canUnicast {
			continue
		}
		if err := unicaster.SendTo(b.(failover.Unicaster).Address(), []byte("one")); err != nil {
			t.Fatal(err)
		}
	}
}

func closes(t *testing.T, join func(string) failover.Transport) {
	a, b, c := join("a"), join("b"), join("c")
	defer closeAll(t, b, c)
	for range 2 {
		if err := a.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	for range a.Packets() { // Ends.
	}
	if err := a.Send([]byte("late")); err == nil {
		t.Error("a closed transport sends")
	}
	if unicaster, ok := a.(failover.Unicaster); ok {
		if err := unicaster.SendTo(b.(failover.Unicaster).Address(), []byte("late")); err == nil {
			t.Error("a closed transport sends to one node")
		}
		if unicaster.Address() == "" {
			t.Error("a closed transport has no address any more")
		}
	}
	if learner, ok := a.(failover.Learner); ok {
		learner.Learn("127.0.0.1:9")
	}
	send(t, b, "still here")
	if packet := next(t, c, ""); string(packet.Data) != "still here" {
		t.Errorf("received %q", packet.Data)
	}
}

// lastWords: who says something and closes at once has been heard.
func lastWords(t *testing.T, join func(string) failover.Transport) {
	a, b := join("a"), join("b")
	defer closeAll(t, b)
	send(t, a, "hello") // They have met.
	next(t, b, "")
	want := map[string]bool{}
	for i := range 3 {
		text := fmt.Sprint("I resign ", i)
		want[text] = true
		send(t, a, text)
	}
	closeAll(t, a)
	for len(want) > 0 {
		packet := next(t, b, "")
		if !want[string(packet.Data)] {
			t.Errorf("received %q", packet.Data)
		}
		delete(want, string(packet.Data))
	}
}

// closesInUse closes members while all that they can do is being done from several goroutines.
func closesInUse(t *testing.T, join func(string) failover.Transport) {
	members := []failover.Transport{join("a"), join("b"), join("c")}
	var using sync.WaitGroup
	begun := make(chan struct{}, 1)
	for _, transport := range members {
		for range 2 {
			using.Go(func() { use(transport, members, begun) })
		}
		using.Go(func() {
			for range transport.Packets() { // Ends.
			}
		})
	}
	<-begun
	var closing sync.WaitGroup
	for _, transport := range members {
		for range 2 {
			closing.Go(func() { closeAll(t, transport) })
		}
	}
	closing.Wait()
	using.Wait()
}

// use does everything with a transport until it is closed, or long enough.
func use(transport failover.Transport, all []failover.Transport, begun chan<- struct{}) {
	unicaster, canUnicast := transport.(failover.Unicaster)
	learner, canLearn := transport.(failover.Learner)
	for i := range 2000 {
		err := transport.Send([]byte("x"))
		if canUnicast && err == nil {
			err = unicaster.SendTo(all[i%len(all)].(failover.Unicaster).Address(), []byte("y"))
		}
		if canLearn {
			learner.Learn(all[i%len(all)].(failover.Unicaster).Address())
		}
		select {
		case begun <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func unicast(t *testing.T, join func(string) failover.Transport) {
	a, b, c := join("a"), join("b"), join("c")
	defer closeAll(t, a, b, c)
	from, ok := a.(failover.Unicaster)
	if !ok {
		t.Skip("no Unicaster")
	}
	seen := map[string]bool{}
	for _, transport := range []failover.Transport{a, b, c} {
		address := transport.(failover.Unicaster).Address()
		if _, err := failover.ParseAddress(address); err != nil || seen[address] {
			t.Errorf("address %q: %v; seen before: %v", address, err, seen[address])
		}
		seen[address] = true
	}
	// c hears what is said to all after b alone has heard its own, so c would have heard that too.
	for i := range 20 {
		text := fmt.Sprint("to b ", i)
		if err := from.SendTo(b.(failover.Unicaster).Address(), []byte(text)); err != nil {
			t.Fatal(err)
		}
		packet := next(t, b, "")
		if string(packet.Data) != text || packet.Received.IsZero() || packet.Source == "" {
			t.Fatalf("received %q, want %q with time and source: %+v", packet.Data, text, packet)
		}
	}
	send(t, a, "to all")
	for _, transport := range []failover.Transport{b, c} {
		if packet := next(t, transport, ""); string(packet.Data) != "to all" {
			t.Errorf("received %q", packet.Data)
		}
	}
	if err := c.(failover.Unicaster).SendTo(from.Address(), []byte("back")); err != nil {
		t.Fatal(err)
	}
	if packet := next(t, a, "to all"); string(packet.Data) != "back" {
		t.Errorf("received %q", packet.Data)
	}
}

// unicastToNobody: that a node has gone is no error, and disturbs nothing.
func unicastToNobody(t *testing.T, join func(string) failover.Transport) {
	a, b, gone := join("a"), join("b"), join("gone")
	defer closeAll(t, a, b)
	from, ok := a.(failover.Unicaster)
	if !ok {
		t.Skip("no Unicaster")
	}
	address := gone.(failover.Unicaster).Address()
	closeAll(t, gone)
	for range 100 {
		if err := from.SendTo(address, []byte("anybody?")); err != nil {
			t.Fatal(err)
		}
	}
	send(t, a, "still here")
	if packet := next(t, b, ""); string(packet.Data) != "still here" {
		t.Errorf("received %q", packet.Data)
	}
}

// bad are addresses that no datagram may make a node send to.
var bad = []string{
	"", "b", "2710", ":2710", "b:2710", "localhost:2710", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536",
	"127.0.0.1:-1", "127.0.0.1:http", "0.0.0.0:2710", "[::]:2710", "::1:2710", "224.0.0.1:2710", "[ff02::1]:2710",
	"255.255.255.255:2710", "[fe80::1%lo]:2710", "127.0.0.1:2710 ", "127.0.0.1:2710\x00", strings.Repeat("1", 1<<16),
}

func badAddresses(t *testing.T, join func(string) failover.Transport) {
	a, b := join("a"), join("b")
	defer closeAll(t, a, b)
	from, ok := a.(failover.Unicaster)
	if !ok {
		t.Skip("no Unicaster")
	}
	learner, canLearn := a.(failover.Learner)
	for _, address := range bad {
		if err := from.SendTo(address, []byte("x")); err == nil {
			t.Errorf("sent to %.40q", address)
		}
		if canLearn {
			learner.Learn(address)
		}
	}
	send(t, a, "still here")
	if packet := next(t, b, ""); string(packet.Data) != "still here" {
		t.Errorf("received %q", packet.Data)
	}
}

// learns: to be told of nodes again and again, and of many that are not there, changes nothing for those who are.
func learns(t *testing.T, join func(string) failover.Transport) {
	a, b := join("a"), join("b")
	defer closeAll(t, a, b)
	learner, ok := a.(failover.Learner)
	if !ok {
		t.Skip("no Learner")
	}
	for i := range 1000 {
		learner.Learn(b.(failover.Unicaster).Address())
		learner.Learn(a.(failover.Unicaster).Address())
		learner.Learn(fmt.Sprintf("127.9.%d.%d:9", i/250, i%250+1))
	}
	for i := range 3 {
		text := fmt.Sprint("once ", i)
		send(t, a, text)
		packet := next(t, b, "")
		for i > 0 && string(packet.Data) == fmt.Sprint("once ", i-1) {
			packet = next(t, b, "") // A datagram may be doubled while nodes meet.
		}
		if string(packet.Data) != text {
			t.Errorf("received %q, want %q", packet.Data, text)
		}
	}
}

func send(t testing.TB, transport failover.Transport, text string) {
	t.Helper()
	if err := transport.Send([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func closeAll(t testing.TB, transports ...failover.Transport) {
	t.Helper()
	for _, transport := range transports {
		if err := transport.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}
