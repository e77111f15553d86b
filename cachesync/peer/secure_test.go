package peer_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	"github.com/understudy-ha/understudy/cachesync/peer"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// key makes a key that is the same for the same letter.
func key(letter byte) (k peer.Key) {
	for i := range k {
		k[i] = letter
	}
	return k
}

// with gives a node the keys of these letters.
func with(letters string) func(*peer.Config, *cachesync.Config) {
	return func(c *peer.Config, _ *cachesync.Config) {
		for _, letter := range []byte(letters) {
			c.Keys = append(c.Keys, key(letter))
		}
	}
}

func TestMirrorWithKeys(t *testing.T) {
	a := newAir()
	one, two := startNode(t, a, "one", with("a")), startNode(t, a, "two", with("a"))
	awaitPeers(t, one, 1)
	lead(t, one, 1)
	commit(t, one, ledger.Op{Kind: ledger.Received, MessageID: "m", Payload: []byte("p")})
	await(t, two, "in sync", inSync)
	one.stop()
	if taken := lead(t, two, 2); len(taken.Entries) != 1 {
		t.Errorf("taken over %+v", taken)
	}
}

// While a key is replaced, nodes with the old one, with both, and with the new one first work together.
func TestKeysAreReplacedNodeByNode(t *testing.T) {
	a := newAir()
	nodes := []*node{
		startNode(t, a, "old", with("a")), startNode(t, a, "both", with("ab")), startNode(t, a, "promoted", with("ba")),
	}
	// The old one does not trust who seals with the new key only.
	awaitPeers(t, nodes[1], 2)
	lead(t, nodes[1], 1)
	await(t, nodes[2], "in sync", inSync)
	await(t, nodes[0], "in sync", inSync)
}

// awaitForged blocks until a node has turned somebody away.
func awaitForged(t *testing.T, n *node) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for n.hub.Dropped()["not-authentic"] == 0 {
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("nobody was turned away: %v", n.hub.Dropped())
		}
	}
}

func TestStrangersAreTurnedAway(t *testing.T) {
	for name, stranger := range map[string]string{"without a key": "", "with another key": "b"} {
		t.Run(name, func(t *testing.T) {
			a := newAir()
			one := startNode(t, a, "one", with("a"))
			other := startNode(t, a, "other", with(stranger))
			awaitForged(t, one)
			if known := one.hub.Known(); len(known) != 0 {
				t.Errorf("it knows %+v", known)
			}
			if stranger != "" {
				awaitForged(t, other)
			}
		})
	}
}

// A stream without the key is refused, whatever it says.
func TestConnectionsOfStrangersAreTurnedAway(t *testing.T) {
	one := startNode(t, newAir(), "one", with("a"))
	conn, err := grpc.NewClient("passthrough:///"+one.hub.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	call, err := mirrorv1.NewPeerServiceClient(conn).Replicate(ctx)
	if err == nil {
		_, err = call.Recv()
	}
	if err == nil {
		t.Error("it is answered")
	}
	awaitForged(t, one)

	raw, err := net.Dial("tcp", one.hub.Address())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Error(err)
	}
	if err := raw.Close(); err != nil {
		t.Error(err)
	}
	if s := one.State(); s.Leading || s.Position != (ledger.Position{}) {
		t.Errorf("it says %+v", s)
	}
}

// Nobody without the key can say goodbye for another node.
func TestForgedGoodbye(t *testing.T) {
	a := newAir()
	one := startNode(t, a, "one", with("a"))
	startNode(t, a, "two", with("a"))
	awaitPeers(t, one, 1)
	two := one.hub.Known()[0]
	forged, err := proto.Marshal(&mirrorv1.Announcement{
		Magic: 0x554d4952, Version: 1, MinVersion: 1, Cluster: "test", NodeId: "two", BootId: "?", Address: two.Address, Leaving: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.join().Send(append(forged, make([]byte, 32)...)); err != nil {
		t.Fatal(err)
	}
	awaitForged(t, one)
	if known := one.hub.Known(); len(known) != 1 {
		t.Errorf("it knows %+v", known)
	}
}

// Who may take part is decided by the keys alone: a node's clock may say anything.
func TestClocksDoNotMatter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 2 {
			if err := peer.Handshake([]peer.Key{key('a')}, []peer.Key{key('a')}); err != nil {
				t.Errorf("%v: %v", time.Now(), err)
			}
			if err := peer.Handshake([]peer.Key{key('a')}, []peer.Key{key('b')}); err == nil {
				t.Errorf("%v: another key is as good", time.Now())
			}
			time.Sleep(150 * 365 * 24 * time.Hour) // the bubble's clock begins with the certificates, and is past their end now
		}
	})
}
