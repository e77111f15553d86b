package cachesync_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// network carries the mirror between the nodes of a test, in order and without loss as TCP does, but late,
// and not at all across a cut. It runs inside a synctest bubble.
type network struct {
	t      *testing.T
	config cachesync.Config
	log    func(id string) *slog.Logger

	mu     sync.Mutex // guards what follows
	random *rand.Rand
	delay  time.Duration // of one message at most
	nodes  map[string]*node
	cuts   map[[2]string]bool
	healed chan struct{} // closed and replaced when a cut ends
	breaks []func()      // of the streams that are open
	pulls  int
}

// node is one process of a node: what is killed does not come back, another one with the same id does.
type node struct {
	*cachesync.Replicator
	id      string
	net     *network
	changed chan struct{}
	asked   atomic.Pointer[func()] // called when Known has looked
	run     context.CancelFunc     // ends Run
	ended   chan struct{}          // Run has returned
	life    context.Context        // of the streams
	end     context.CancelFunc
}

func newNetwork(t *testing.T, seed uint64, change func(*cachesync.Config)) *network {
	config := cachesync.DefaultConfig()
	if change != nil {
		change(&config)
	}
	return &network{
		t: t, config: config, log: func(string) *slog.Logger { return slog.New(slog.DiscardHandler) },
		random: rand.New(rand.NewPCG(seed, 7)), nodes: make(map[string]*node), cuts: make(map[[2]string]bool), healed: make(chan struct{}),
	}
}

// start begins a process and tells the others of it.
func (n *network) start(id string) *node {
	n.t.Helper()
	config := n.config
	config.NodeID = id
	p := &node{id: id, net: n, changed: make(chan struct{}, 1), ended: make(chan struct{})}
	var err error
	if p.Replicator, err = cachesync.New(config, p, n.log(id)); err != nil {
		n.t.Fatal(err)
	}
	p.life, p.end = context.WithCancel(context.Background())
	running, run := context.WithCancel(context.Background())
	p.run = run
	go func() {
		defer close(p.ended)
		if err := p.Run(running); err != nil {
			n.t.Error(err)
		}
	}()
	n.mu.Lock()
	n.nodes[id] = p
	n.mu.Unlock()
	n.tellAll()
	return p
}

func (n *network) tellAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.nodes {
		select {
		case p.changed <- struct{}{}:
		default:
		}
	}
}

// kill ends a process and waits for it. It has stopped working before its streams break.
func (n *network) kill(p *node) {
	n.mu.Lock()
	if n.nodes[p.id] == p {
		delete(n.nodes, p.id)
	}
	n.mu.Unlock()
	p.run()
	<-p.ended
	p.end()
	n.tellAll()
}

func (n *network) stop() {
	n.mu.Lock()
	nodes := make([]*node, 0, len(n.nodes))
	for _, p := range n.nodes {
		nodes = append(nodes, p)
	}
	n.mu.Unlock()
	for _, p := range nodes {
		n.kill(p)
	}
}

func pair(a, b string) [2]string {
	if a > b {
		a, b = b, a
	}
	return [2]string{a, b}
}

// cut lets nothing pass between two nodes; streams stand still, as TCP does.
func (n *network) cut(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[pair(a, b)] = true
}

func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cuts)
	close(n.healed)
	n.healed = make(chan struct{})
}

// reset breaks every stream.
func (n *network) reset() {
	n.mu.Lock()
	breaks := n.breaks
	n.breaks = nil
	n.mu.Unlock()
	for _, end := range breaks {
		end()
	}
}

// pass waits until a message has gone from one node to the other.
func (n *network) pass(ctx context.Context, from, to string) error {
	n.mu.Lock()
	late := time.Duration(0)
	if n.delay > 0 {
		late = time.Duration(n.random.Int64N(int64(n.delay)))
	}
	n.mu.Unlock()
	if late > 0 {
		timer := time.NewTimer(late)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for {
		n.mu.Lock()
		cut, healed := n.cuts[pair(from, to)], n.healed
		n.mu.Unlock()
		if !cut {
			return ctx.Err()
		}
		select {
		case <-healed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *network) find(id string) (*node, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.nodes[id]; p != nil {
		return p, nil
	}
	return nil, errors.New("connection refused")
}

// Known implements cachesync.Peers.
func (p *node) Known() []cachesync.Peer {
	peers := p.others()
	if asked := p.asked.Load(); asked != nil {
		(*asked)()
	}
	return peers
}

func (p *node) others() []cachesync.Peer {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	var peers []cachesync.Peer
	for id := range p.net.nodes {
		if id != p.id {
			peers = append(peers, cachesync.Peer{ID: id})
		}
	}
	return peers
}

// Changed implements cachesync.Peers.
func (p *node) Changed() <-chan struct{} { return p.changed }

// together returns a context that ends with any of its parts.
func together(ctx context.Context, others ...context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	for _, other := range others {
		context.AfterFunc(other, cancel)
	}
	return ctx, cancel
}

// Replicate implements cachesync.Peers.
func (p *node) Replicate(ctx context.Context, peer string, hello cachesync.Hello) (cachesync.Stream, ledger.Position, error) {
	to, err := p.net.find(peer)
	if err != nil {
		return nil, ledger.Position{}, err
	}
	ctx, cancel := together(ctx, p.life, to.life)
	if err := p.net.pass(ctx, p.id, peer); err != nil {
		return nil, ledger.Position{}, err
	}
	session, err := to.Accept(hello)
	if err != nil {
		cancel()
		return nil, ledger.Position{}, err
	}
	if err := p.net.pass(ctx, peer, p.id); err != nil {
		session.Close()
		return nil, ledger.Position{}, err
	}
	s := &memStream{net: p.net, ctx: ctx, requests: make(chan any, 4), acks: make(chan ledger.Position, 64), failed: make(chan error, 1)}
	go s.serve(session, cancel, p.id, peer)
	p.net.mu.Lock()
	p.net.breaks = append(p.net.breaks, cancel)
	p.net.mu.Unlock()
	return s, session.Position(), nil
}

// Pull implements cachesync.Peers.
func (p *node) Pull(ctx context.Context, peer string, hello cachesync.Hello, chunk func(*ledger.Chunk) error) error {
	to, err := p.net.find(peer)
	if err != nil {
		return err
	}
	ctx, cancel := together(ctx, p.life, to.life)
	defer cancel()
	p.net.mu.Lock()
	p.net.pulls++
	p.net.mu.Unlock()
	if err := p.net.pass(ctx, p.id, peer); err != nil {
		return err
	}
	snapshot, err := to.Offer(hello)
	if err != nil {
		return err
	}
	for c := range snapshot.Chunks(100) {
		if err := p.net.pass(ctx, peer, p.id); err != nil {
			return err
		}
		if err := chunk(&c); err != nil {
			return err
		}
	}
	return nil
}

// memStream is both ends of a stream.
type memStream struct {
	net      *network
	ctx      context.Context
	requests chan any
	acks     chan ledger.Position
	failed   chan error
}

// serve is the standby's end.
func (s *memStream) serve(session *cachesync.Session, cancel context.CancelFunc, from, to string) {
	defer cancel()
	defer session.Close()
	for {
		var request any
		select {
		case request = <-s.requests:
		case <-s.ctx.Done():
			s.failed <- errors.New("broken")
			return
		}
		if s.net.pass(s.ctx, from, to) != nil {
			s.failed <- errors.New("broken")
			return
		}
		var position ledger.Position
		var err error
		switch message := request.(type) {
		case *ledger.Chunk:
			position, err = session.Chunk(message)
		case *cachesync.Batch:
			position, err = session.Batch(message)
		}
		if err != nil {
			s.failed <- err
			return
		}
		if s.net.pass(s.ctx, to, from) != nil {
			s.failed <- errors.New("broken")
			return
		}
		s.acks <- position
	}
}

func (s *memStream) send(request any) error {
	select {
	case s.requests <- request:
		return nil
	case <-s.ctx.Done():
		return io.EOF
	}
}

// SendChunk implements cachesync.Stream.
func (s *memStream) SendChunk(c *ledger.Chunk) error {
	chunk := *c
	return s.send(&chunk)
}

// SendBatch implements cachesync.Stream.
func (s *memStream) SendBatch(b *cachesync.Batch) error {
	batch := *b
	batch.Entries = slices.Clone(b.Entries)
	return s.send(&batch)
}

// ReceiveAck implements cachesync.Stream.
func (s *memStream) ReceiveAck() (ledger.Position, error) {
	select {
	case position := <-s.acks:
		return position, nil
	case err := <-s.failed:
		return ledger.Position{}, err
	}
}
