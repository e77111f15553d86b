package interlok_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/interlok"
	"github.com/understudy-ha/understudy/failover/interlok/interloktest"
	"github.com/understudy-ha/understudy/failover/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quietly() *slog.Logger { return slog.New(slog.DiscardHandler) }

// journal is a log that can be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// bubble is a cluster in memory under synctest.
type bubble struct {
	t       *testing.T
	origin  time.Time
	network *memnet.Network
}

func (b *bubble) clock() time.Duration { return time.Since(b.origin) }

// ours is a running node and its host.
type ours struct {
	*interlok.Node
	end context.CancelFunc
	log *journal

	mu   sync.Mutex
	host election.Host
	last failover.State
}

func (b *bubble) ours(position int) *ours {
	b.t.Helper()
	return b.oursWith(position, b.t.TempDir())
}

func (b *bubble) oursWith(position int, folder string) *ours {
	b.t.Helper()
	const name = "node"
	cfg := interlok.DefaultConfig()
	cfg.NodeID, cfg.Cluster, cfg.Position = name, "orders", position
	store, err := failover.OpenFileStore(folder)
	if err != nil {
		b.t.Fatal(err)
	}
	transport, err := b.network.Join(name)
	if err != nil {
		b.t.Fatal(err)
	}
	o := &ours{log: new(journal), host: election.Host{CanLead: true, AtRest: true}}
	o.Node, err = interlok.NewNode(cfg, interlok.Link{Transport: transport, Host: "192.0.2.7"}, store, o.log.logger(), b.clock)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	go o.report(ctx)
	o.end = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, transport.Close()); err != nil {
			b.t.Error(err)
		}
	})
	b.t.Cleanup(o.end)
	return o
}

// report is the host: it works while it is told that it may.
func (o *ours) report(ctx context.Context) {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		o.mu.Lock()
		host := o.host
		o.mu.Unlock()
		state, err := o.Report(ctx, host)
		if err != nil {
			return
		}
		o.mu.Lock()
		o.last = state
		working := state.Role == election.Master && o.host.CanLead
		o.host.GateOpen, o.host.AtRest = working, !working
		o.mu.Unlock()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (o *ours) told() failover.State {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}

// java is a running simulated Java member.
type java struct {
	mu     sync.Mutex
	member *interloktest.Java
	stop   context.CancelFunc
}

func (b *bubble) java(name string, uuid byte, position int) *java {
	b.t.Helper()
	transport, err := b.network.Join(name)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	j := &java{member: interloktest.NewJava(interloktest.Config{
		Host: "192.0.2.1", Port: "0", UUID: [16]byte{uuid, 6: 0x40, 8: 0x80}, Position: position, Start: b.clock(),
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		j.run(ctx, b, transport)
	}()
	j.stop = sync.OnceFunc(func() { cancel(); <-ended; _ = transport.Close() })
	b.t.Cleanup(j.stop)
	return j
}

func (j *java) run(ctx context.Context, b *bubble, transport failover.Transport) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		j.mu.Lock()
		pings := j.member.Advance(b.clock())
		timer.Reset(j.member.Next() - b.clock())
		j.mu.Unlock()
		for _, ping := range pings {
			if err := transport.Send(ping); err != nil {
				b.t.Error(err)
			}
		}
		select {
		case packet := <-transport.Packets():
			j.mu.Lock()
			err := j.member.Receive(b.clock(), packet.Data)
			exited := j.member.Exited
			j.mu.Unlock()
			if err != nil {
				b.t.Error(err)
			}
			if exited {
				return
			}
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

func (j *java) state() (primary bool, position int, exited bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.member.Primary(), j.member.Position(), j.member.Exited
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func inBubble(t *testing.T, test func(t *testing.T, b *bubble)) {
	synctest.Test(t, func(t *testing.T) {
		test(t, &bubble{t: t, origin: time.Now(), network: memnet.New(1)})
	})
}

// TestNodeAmongJava: it waits beside a Java primary, follows it, leads when that has gone, and keeps Java waiting.
func TestNodeAmongJava(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		first := b.java("first", 0x10, 1)
		pass(15 * time.Second)
		node := b.ours(2)
		pass(30 * time.Second)
		if primary, _, _ := first.state(); !primary {
			t.Fatal("the Java member does not lead")
		}
		status, err := node.Status(t.Context())
		if err != nil || status.State.Role != election.Standby || len(status.Peers) != 1 || status.Received == 0 ||
			status.Peers[0].About.Role != election.Master || status.Peers[0].About.Address != "192.0.2.1:0" ||
			status.State.Leader.Node != status.Peers[0].ID || status.State.Leader.Number == 0 {
			t.Fatalf("status %+v, %v", status, err)
		}
		waiting, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := node.AwaitMaster(waiting); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("await: %v", err)
		}
		cancel()

		first.stop()
		if err := node.AwaitMaster(t.Context()); err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Second)
		state := node.told()
		if state.Role != election.Master || state.Term.Node != "node" || state.Valid < 5*time.Second || state.Valid > 9*time.Second ||
			state.Takeover.Cause != election.Silence || state.Takeover.Detection < 20*time.Second || state.Takeover.Detection > 21*time.Second {
			t.Errorf("state %+v, takeover %+v", state, state.Takeover)
		}
		second, third := b.java("second", 0x20, 0), b.java("third", 0x30, 1)
		pass(10 * time.Minute)
		p1, n1, _ := second.state()
		p2, n2, _ := third.state()
		if p1 || p2 || n1+n2 != 3 {
			t.Errorf("the Java secondaries: %v %d, %v %d", p1, n1, p2, n2)
		}
		if status, err = node.Status(t.Context()); err != nil || len(status.Order) != 2 || status.Lease < 5*time.Second {
			t.Errorf("status %+v, %v", status, err)
		}
		for _, phrase := range []string{
			"Starting Interlok instance in failover mode as a secondary.", "Secondary position 2", "Promoting secondary to position 1",
			"Primary not available, promoting myself to primary.", "Promoting to PRIMARY", "not authenticated",
		} {
			if !strings.Contains(node.log.String(), phrase) {
				t.Errorf("the log lacks %q:\n%s", phrase, node.log)
			}
		}
	})
}

// TestNodeResigns: it goes on as a secondary, Java takes over after its timeout, and the term is kept on disk.
func TestNodeResigns(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		folder := t.TempDir()
		node := b.oursWith(0, folder)
		pass(25 * time.Second)
		java := b.java("java", 0x20, 0)
		pass(20 * time.Second)
		term := node.told().Term
		if term.IsZero() {
			t.Fatalf("state %+v", node.told())
		}
		node.mu.Lock()
		node.host.GateOpen, node.host.AtRest = false, true
		node.mu.Unlock()
		if err := node.Resign(t.Context(), term, "java"); err != nil {
			t.Fatal(err)
		}
		if state, _ := node.State(); state.Role != election.Standby || state.Valid != 0 {
			t.Errorf("state %+v", state)
		}
		pass(26 * time.Second)
		if primary, _, _ := java.state(); !primary {
			t.Error("Java does not lead")
		}
		if !strings.Contains(node.log.String(), "cannot be told who shall lead") {
			t.Error("the successor was taken without a word")
		}
		node.end()
		if _, err := node.Status(t.Context()); !errors.Is(err, failover.ErrStopped) {
			t.Errorf("after the end: %v", err)
		}
		if err := node.AwaitMaster(t.Context()); !errors.Is(err, failover.ErrStopped) {
			t.Errorf("after the end: %v", err)
		}
		if err := node.Run(t.Context()); err == nil {
			t.Error("it ran twice")
		}

		node = b.oursWith(0, folder)
		pass(30 * time.Second)
		java.stop()
		pass(30 * time.Second)
		if again := node.told().Term; again.Number <= term.Number {
			t.Errorf("term %v after %v", again, term)
		}
	})
}

// TestNodeConflict: after a partition the Java primary exits, and ours goes on in the same term.
func TestNodeConflict(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		java := b.java("java", 0x10, 1)
		pass(15 * time.Second)
		node := b.ours(2)
		pass(30 * time.Second)
		b.network.Partition("node")
		pass(time.Minute)
		term := node.told().Term
		if primary, _, _ := java.state(); !primary || term.IsZero() {
			t.Fatalf("java leads: %v, ours in %v", primary, term)
		}
		b.network.Heal()
		pass(4 * time.Second)
		if _, _, exited := java.state(); !exited || node.told().Term != term {
			t.Errorf("java exited: %v, ours leads in %v after %v", exited, node.told().Term, term)
		}
	})
}

// TestNodeSilentHost: a host that has gone is not vouched for.
func TestNodeSilentHost(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		node := b.ours(1)
		pass(25 * time.Second)
		if err := node.HostLost(t.Context()); err != nil {
			t.Fatal(err)
		}
		if state, _ := node.State(); state.Role != election.Master || state.Valid != 0 || !strings.Contains(state.Reason, "vouch") {
			t.Errorf("state %+v", state)
		}
	})
}

// TestNodeDrops: what is no ping is counted by cause, and stops nothing.
func TestNodeDrops(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		node := b.ours(1)
		stranger, err := b.network.Join("stranger")
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.Close()
		for _, size := range []int{24, 24, 1, 70, 1400} {
			if err := stranger.Send(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
		}
		pass(25 * time.Second)
		status, err := node.Status(t.Context())
		if err != nil || status.Dropped["interlok-before-3.8"] != 2 || status.Dropped["wrong-size"] != 2 || status.Dropped["malformed"] != 1 ||
			status.State.Role != election.Master || status.Sent == 0 {
			t.Errorf("status %+v, %v", status, err)
		}
		if count := strings.Count(node.log.String(), "upgrade that instance"); count != 2 || strings.Count(node.log.String(), "level=WARN msg=\"ping dropped\"") != 3 {
			t.Errorf("the log has it %d times:\n%s", count, node.log)
		}
	})
}

func TestNotSpoken(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		node := b.ours(1)
		if err := node.Pause(t.Context(), true); !errors.Is(err, interlok.ErrNotSpoken) {
			t.Errorf("pause: %v", err)
		}
		if err := node.Pause(t.Context(), false); err != nil {
			t.Errorf("resume: %v", err)
		}
		if _, err := node.ChangeMembers(t.Context(), "a", "b"); !errors.Is(err, interlok.ErrNotSpoken) {
			t.Errorf("members: %v", err)
		}
	})
}

func TestNewNodeRefuses(t *testing.T) {
	store, err := failover.OpenFileStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := interlok.NewNode(interlok.DefaultConfig(), interlok.Link{}, store, quietly(), nil); err == nil {
		t.Error("no id, no cluster, and no error")
	}
	if _, err := interlok.Open(interlok.DefaultConfig(), quietly()); err == nil {
		t.Error("opened")
	}
}
