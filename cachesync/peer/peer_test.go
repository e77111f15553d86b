package peer_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	"github.com/understudy-ha/understudy/cachesync/peer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// air carries datagrams between the members of a test, and back to the sender, as multicast does.
type air struct {
	mu      sync.Mutex
	members map[*member]bool
}

type member struct {
	air     *air
	packets chan []byte
	once    sync.Once
}

func newAir() *air { return &air{members: make(map[*member]bool)} }

func (a *air) join() *member {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := &member{air: a, packets: make(chan []byte, 256)}
	a.members[m] = true
	return m
}

// Send implements peer.Datagrams.
func (m *member) Send(data []byte) error {
	m.air.mu.Lock()
	defer m.air.mu.Unlock()
	for other := range m.air.members {
		select {
		case other.packets <- append([]byte(nil), data...):
		default:
		}
	}
	return nil
}

// Packets implements peer.Datagrams.
func (m *member) Packets() <-chan []byte { return m.packets }

// Close implements peer.Datagrams.
func (m *member) Close() error {
	m.once.Do(func() {
		m.air.mu.Lock()
		defer m.air.mu.Unlock()
		delete(m.air.members, m)
		close(m.packets)
	})
	return nil
}

// node is a whole mirror: hub and replicator, over loopback TCP.
type node struct {
	*cachesync.Replicator
	hub  *peer.Hub
	id   string
	stop func()
}

// startNode starts a node that keeps its table in memory; change may be nil.
func startNode(t testing.TB, a *air, id string, change func(*peer.Config, *cachesync.Config)) *node {
	t.Helper()
	return startStored(t, a, id, nil, change)
}

// startStored starts a node with a store, which is closed when the test is over.
func startStored(t testing.TB, a *air, id string, kept cachesync.Store, change func(*peer.Config, *cachesync.Config)) *node {
	t.Helper()
	config := peer.DefaultConfig()
	config.NodeID, config.Cluster, config.BootID, config.Listen = id, "test", fmt.Sprint(id, "-", time.Now().UnixNano()), "127.0.0.1:0"
	config.Interval = 50 * time.Millisecond
	mirror := cachesync.DefaultConfig()
	mirror.NodeID = id
	if change != nil {
		change(&config, &mirror)
	}
	log := slog.New(slog.DiscardHandler)
	hub, err := peer.Listen(config, a.join(), log)
	if err != nil {
		t.Fatal(err)
	}
	replicator, err := cachesync.New(mirror, cachesync.Parts{Peers: hub, Store: kept, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	replicating, endReplicator := context.WithCancel(context.Background())
	serving, endHub := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := replicator.Run(replicating); err != nil {
			t.Error(err)
		}
	})
	hubEnded := make(chan error, 1)
	go func() { hubEnded <- hub.Run(serving, replicator) }()
	n := &node{Replicator: replicator, hub: hub, id: id}
	n.stop = sync.OnceFunc(func() {
		endReplicator()
		running.Wait()
		endHub()
		if err := <-hubEnded; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(n.stop)
	return n
}

// await blocks until a node's state is as wanted.
func await(t testing.TB, n *node, what string, want func(cachesync.State) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	reached := false
	err := n.Watch(ctx, func(s cachesync.State) {
		if want(s) {
			reached = true
			cancel()
		}
	})
	if err != nil || !reached {
		t.Fatalf("%s never came to be %s: %+v, %v", n.id, what, n.State(), err)
	}
}

// awaitPeers blocks until a node has connections to so many peers.
func awaitPeers(t testing.TB, n *node, count int) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		connected := 0
		for _, p := range n.hub.Known() {
			if p.Connected {
				connected++
			}
		}
		if connected == count {
			return
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("%s knows %+v, want %d connected peers", n.id, n.hub.Known(), count)
		}
	}
}

func lead(t testing.TB, n *node, number uint64) cachesync.Lead {
	t.Helper()
	lead, err := n.Lead(context.Background(), ledger.Term{Number: number, Node: n.id})
	if err != nil {
		t.Fatal(err)
	}
	return lead
}

// commit waits until a change of the first term is committed.
func commit(t testing.TB, n *node, op ledger.Op) {
	t.Helper()
	told := make(chan cachesync.Result, 1)
	n.Commit(ledger.Term{Number: 1, Node: n.id}, op, false, func(r cachesync.Result, _ error) { told <- r })
	if r := <-told; r != cachesync.Committed {
		t.Fatalf("%v of %s: %v", op.Kind, op.MessageID, r)
	}
}

func inSync(s cachesync.State) bool { return s.InSync }

func TestMirrorOverLoopback(t *testing.T) {
	a := newAir()
	one, two, three := startNode(t, a, "one", nil), startNode(t, a, "two", nil), startNode(t, a, "three", nil)
	for _, n := range []*node{one, two, three} {
		awaitPeers(t, n, 2)
	}
	lead(t, one, 1)
	if s := one.State(); s.InSyncStandbys != 2 {
		t.Fatalf("the master says %+v", s)
	}
	// One of everything, with all fields, and a payload that needs more than one HTTP/2 window.
	large := make([]byte, 9<<20)
	for i := range large {
		large[i] = byte(i)
	}
	commit(t, one, ledger.Op{Kind: ledger.Received, MessageID: "large", WorkflowID: "w", Payload: large, UnixMilli: 1000})
	commit(t, one, ledger.Op{Kind: ledger.Received, MessageID: "m", WorkflowID: "w", Payload: []byte("x"), UnixMilli: 1001})
	commit(t, one, ledger.Op{Kind: ledger.Stepped, MessageID: "m", Step: "s", Payload: []byte{}, UnixMilli: 1002})
	commit(t, one, ledger.Op{Kind: ledger.Producing, MessageID: "m", UnixMilli: 1003})
	commit(t, one, ledger.Op{Kind: ledger.Held, MessageID: "m", Reason: "why", UnixMilli: 1004})
	commit(t, one, ledger.Op{Kind: ledger.Received, MessageID: "done", UnixMilli: 1005})
	commit(t, one, ledger.Op{Kind: ledger.Done, MessageID: "done", UnixMilli: 1006})
	await(t, two, "in sync", inSync)

	// A joiner gets the same by snapshot as the others by log.
	four := startNode(t, a, "four", nil)
	await(t, four, "in sync", inSync)
	one.stop()
	taken := lead(t, four, 2)
	if len(taken.Entries) != 2 || taken.Entries[0].MessageID != "large" || string(taken.Entries[0].Payload) != string(large) {
		t.Fatalf("taken over %d entries", len(taken.Entries))
	}
	got := taken.Entries[1]
	got.Position, got.Arrival = ledger.Position{}, ledger.Position{}
	want := ledger.Entry{
		MessageID: "m", WorkflowID: "w", State: ledger.StateHeld, Step: "s", Payload: []byte{}, Reason: "why",
		ReceivedMilli: 1001, ChangedMilli: 1004, PossibleDuplicate: true,
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("taken over %+v\nwant %+v", got, want)
	}
	if s := four.Status(); s.State.InSyncStandbys != 2 {
		t.Errorf("the new master says %+v", s)
	}
	await(t, two, "in sync with the new master", inSync)
	await(t, three, "in sync with the new master", inSync)
}

func TestNewMasterPullsFromWhoHasMore(t *testing.T) {
	a := newAir()
	one, two := startNode(t, a, "one", nil), startNode(t, a, "two", nil)
	awaitPeers(t, one, 1)
	lead(t, one, 1)
	for i := range 50 {
		commit(t, one, ledger.Op{Kind: ledger.Received, MessageID: fmt.Sprint(i), Payload: make([]byte, 100<<10)})
	}
	three := startNode(t, a, "three", func(_ *peer.Config, c *cachesync.Config) { c.LagTimeout = 5 * time.Second })
	one.stop() // perhaps before three has anything
	awaitPeers(t, three, 1)
	taken := lead(t, three, 2)
	if len(taken.Entries) != 50 {
		t.Errorf("%d entries taken from %q", len(taken.Entries), taken.TakenFrom)
	}
	await(t, two, "in sync", inSync)
}

func TestHigherTermIsCarried(t *testing.T) {
	a := newAir()
	one, two := startNode(t, a, "one", nil), startNode(t, a, "two", nil)
	awaitPeers(t, one, 1)
	awaitPeers(t, two, 1)
	lead(t, one, 1)
	lead(t, two, 2)
	await(t, one, "refused", func(s cachesync.State) bool {
		return s.RefusedBy == ledger.Term{Number: 2, Node: "two"} && s.InSync
	})
	if _, err := one.Lead(t.Context(), ledger.Term{Number: 1, Node: "one"}); err == nil {
		t.Error("an old term was led again")
	}
}

func TestStrangersAreRefused(t *testing.T) {
	a := newAir()
	one := startNode(t, a, "one", nil)
	lead(t, one, 1)
	startNode(t, a, "other", func(c *peer.Config, _ *cachesync.Config) { c.Cluster = "another" })
	twin := startNode(t, a, "one", nil)
	noise := a.join()
	defer func() { _ = noise.Close() }()
	for _, data := range [][]byte{nil, {}, []byte("hello"), make([]byte, 5000), {0x0d, 0x52, 0x49, 0x4d, 0x55}} {
		if err := noise.Send(data); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"other-cluster", "foreign", "broken", "version", "duplicate-id"}
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-poll.C {
		dropped, missing := one.hub.Dropped(), ""
		for _, cause := range want {
			if dropped[cause] == 0 {
				missing = cause
			}
		}
		if missing == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing was dropped as %s: %v", missing, dropped)
		}
	}
	if known := append(one.hub.Known(), twin.hub.Known()...); len(known) != 0 {
		t.Errorf("strangers are known: %+v", known)
	}
}

func TestForgottenAndFoundAgain(t *testing.T) {
	a := newAir()
	quick := func(c *peer.Config, _ *cachesync.Config) { c.Forget = 200 * time.Millisecond }
	one, two := startNode(t, a, "one", quick), startNode(t, a, "two", quick)
	awaitPeers(t, one, 1)
	lead(t, one, 1)
	two.stop() // it says goodbye
	awaitPeers(t, one, 0)
	await(t, one, "alone", func(s cachesync.State) bool { return s.InSyncStandbys == 0 })
	startNode(t, a, "two", quick)
	await(t, one, "together again", func(s cachesync.State) bool { return s.InSyncStandbys == 1 })
}

func TestListenExplains(t *testing.T) {
	config := peer.DefaultConfig()
	config.Listen = "nowhere.invalid:0"
	if _, err := peer.Listen(config, newAir().join(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "cachesync.listen") {
		t.Errorf("error %v", err)
	}
}

func TestCloseWithoutRun(t *testing.T) {
	config := peer.DefaultConfig()
	config.Listen, config.Advertise = "127.0.0.1:0", "192.0.2.7"
	hub, err := peer.Listen(config, newAir().join(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(hub.Address(), "192.0.2.7:") {
		t.Errorf("address %s", hub.Address())
	}
	if err := hub.Close(); err != nil {
		t.Error(err)
	}
	if err := hub.Close(); err != nil {
		t.Errorf("the second time: %v", err)
	}
}
