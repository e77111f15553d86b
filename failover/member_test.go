package failover_test

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

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/memnet"
)

const delay = 100 * time.Millisecond

// ready is a host that could lead at any time.
func ready() election.Host { return election.Host{CanLead: true, AtRest: true, InSync: true} }

// member is a node in a bubble with a host that reports twice per delay.
type member struct {
	*failover.Node
	store     *memoryStore
	transport *memnet.Transport
	log       *lines
	stop      func() error

	mu     sync.Mutex // guards host and hushed
	host   election.Host
	hushed bool
}

// hush ends the reports of the host.
func (m *member) hush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hushed = true
}

func (m *member) setHost(host election.Host) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.host = host
}

func (m *member) role() election.Role {
	state, _ := m.State()
	return state.Role
}

func join(t *testing.T, network *memnet.Network, id string, store *memoryStore, log *lines) *member {
	t.Helper()
	return joinWith(t, network, id, store, log, nil)
}

func joinWith(t *testing.T, network *memnet.Network, id string, store *memoryStore, log *lines, dial failover.Dialer) *member {
	t.Helper()
	return joinSet(t, network, id, store, log, dial, func(*failover.Config) {})
}

func joinSet(t *testing.T, network *memnet.Network, id string, store *memoryStore, log *lines, dial failover.Dialer, set func(*failover.Config)) *member {
	t.Helper()
	return joinOver(t, network, id, store, log, dial, set, func(transport *memnet.Transport) failover.Transport { return transport })
}

// joinOver lets the caller put something between the node and its transport.
func joinOver(t *testing.T, network *memnet.Network, id string, store *memoryStore, log *lines, dial failover.Dialer,
	set func(*failover.Config), over func(*memnet.Transport) failover.Transport,
) *member {
	t.Helper()
	transport, err := network.Join(id)
	if err != nil {
		t.Fatal(err)
	}
	cfg := failover.DefaultConfig()
	cfg.NodeID, cfg.Cluster, cfg.Delay, cfg.Retries = id, "orders", delay, 4
	set(&cfg)
	origin := time.Now().Add(-time.Hour)
	clock := func() time.Duration { return time.Since(origin) }
	node, err := failover.NewNode(cfg, over(transport), store, slog.New(slog.NewTextHandler(log, nil)), clock, dial)
	if err != nil {
		t.Fatal(err)
	}
	m := &member{Node: node, store: store, transport: transport, log: log, host: ready()}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var failure error
	running.Go(func() { failure = node.Run(ctx) })
	running.Go(func() { m.speak(ctx) })
	m.stop = sync.OnceValue(func() error {
		cancel()
		running.Wait()
		return errors.Join(failure, transport.Close())
	})
	t.Cleanup(func() {
		if err := m.stop(); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	})
	return m
}

func (m *member) speak(ctx context.Context) {
	ticker := time.NewTicker(delay / 2)
	defer ticker.Stop()
	for {
		m.mu.Lock()
		host, hushed := m.host, m.hushed
		m.mu.Unlock()
		if hushed {
			return
		}
		if _, err := m.Report(ctx, host); err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) messages() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var messages []string
	for line := range strings.Lines(l.text.String()) {
		_, message, _ := strings.Cut(line, "msg=")
		if quoted, ok := strings.CutPrefix(message, `"`); ok {
			message, _, _ = strings.Cut(quoted, `"`)
		} else {
			message, _, _ = strings.Cut(message, " ")
		}
		messages = append(messages, strings.TrimSpace(message))
	}
	return strings.Join(messages, "\n")
}

// memoryStore is a disk that can be full.
type memoryStore struct {
	mu    sync.Mutex // guards all below
	saved failover.Saved
	fails error
}

func (s *memoryStore) Load() (failover.Saved, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved, nil
}

func (s *memoryStore) SaveTerm(term, boot uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return s.fails
	}
	s.saved.Term, s.saved.Boot = term, boot
	return nil
}

func (s *memoryStore) SaveVote(vote election.Vote) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return s.fails
	}
	s.saved.Vote = vote
	return nil
}

func (s *memoryStore) SavePause(pause election.Pause) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved.Pause = pause
	return nil
}

func (s *memoryStore) SaveNodes(nodes []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved.Nodes = nodes
	return nil
}

func (s *memoryStore) SaveBoots(boots map[string]uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved.Boots = boots
	return nil
}

func (s *memoryStore) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = err
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
