package peer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	"github.com/understudy-ha/understudy/cachesync/peer"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// speaker is a replica that only says how it stands.
type speaker struct {
	word cachesync.Word
	ask  bool
}

func (s *speaker) Accept(cachesync.Hello) (*cachesync.Session, error) { return nil, errors.New("no") }

func (s *speaker) Offer(cachesync.Hello, *ledger.Log) (*ledger.Snapshot, error) {
	return nil, errors.New("no")
}

func (s *speaker) Word() (cachesync.Word, bool) { return s.word, s.ask }

// speak runs a hub with a speaker until the test ends.
func speak(t *testing.T, a *air, id string, s *speaker) *peer.Hub {
	t.Helper()
	config := peer.DefaultConfig()
	config.NodeID, config.Cluster, config.BootID, config.Listen = id, "test", fmt.Sprint(id, "-boot"), "127.0.0.1:0"
	config.Interval = 50 * time.Millisecond
	hub, err := peer.Listen(config, a.join(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- hub.Run(ctx, s) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return hub
}

// awaitPeer blocks until what a hub knows of its only peer is as wanted.
func awaitPeer(t *testing.T, hub *peer.Hub, want func(cachesync.Peer) bool) cachesync.Peer {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		known := hub.Known()
		if len(known) == 1 && want(known[0]) {
			return known[0]
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("it knows %+v", known)
		}
	}
}

// Who asks learns how the others stand, and how old that is at most.
func TestWordsAreAnswers(t *testing.T) {
	a := newAir()
	said := cachesync.Word{Term: ledger.Term{Number: 7, Node: "x"}, Version: 3, Attached: true}
	asking := speak(t, a, "one", &speaker{ask: true})
	before := time.Now()
	speak(t, a, "two", &speaker{word: said})
	known := awaitPeer(t, asking, func(p cachesync.Peer) bool { return p.Word == said && !p.Asked.IsZero() })
	if known.Asked.Before(before.Add(-time.Second)) || known.Asked.After(time.Now()) {
		t.Errorf("asked at %v, it was started at %v", known.Asked, before)
	}
	// Asked again and again, it stays fresh.
	awaitPeer(t, asking, func(p cachesync.Peer) bool { return p.Asked.After(known.Asked) })
}

// An announcement that answers no question of this node may have lain in a buffer: it says nothing.
func TestOldWordsAreNotBelieved(t *testing.T) {
	a := newAir()
	silent := speak(t, a, "one", &speaker{})
	stranger := a.join()
	for i := range 3 {
		data, err := proto.Marshal(&mirrorv1.Announcement{
			Magic: 0x554d4952, Version: 1, MinVersion: 1, Cluster: "test", NodeId: "two", BootId: "b", Address: "127.0.0.1:1",
			SetVersion: 9, Sequence: uint64(i + 1), Answers: []*mirrorv1.Answered{{NodeId: "one", Sequence: uint64(i)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := stranger.Send(data); err != nil {
			t.Fatal(err)
		}
	}
	if known := awaitPeer(t, silent, func(cachesync.Peer) bool { return true }); !known.Asked.IsZero() {
		t.Errorf("it believes %+v", known)
	}
}
