package cachesync_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
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
	delay  time.Duration               // of one message at most
	late   map[[2]string]time.Duration // of each message of a stream from the first to the second, besides
	nodes  map[string]*node
	cuts   map[[2]string]bool
	healed chan struct{} // closed and replaced when a cut ends
	breaks []func()      // of the streams that are open
	pulls  int
	words  map[[2]string]heard // by who has heard whom
	disks  map[string]*disk    // of the nodes that keep their table
	mutant mutant
	// recorder stands for the quorum; nil without.
	recorder cachesync.Recorder
}

// mutant is a rule that the network breaks, to see that it is noticed.
type mutant string

const (
	sound mutant = ""
	// dropRecords: standbys are not told what the in-sync set is, and acknowledge it all the same.
	dropRecords mutant = "drop the record"
	// commitEarly: a record is acknowledged before the standby has it.
	commitEarly mutant = "commit before recording"
	// neverOut: standbys believe to be in sync however long they have heard nothing.
	neverOut mutant = "forget the self-exclusion"
)

// heard is what somebody has said of its standing, and when.
type heard struct {
	word cachesync.Word
	at   time.Time
}

// node is one process of a node: what is killed does not come back, another one with the same id does.
type node struct {
	*cachesync.Replicator
	id      string
	net     *network
	store   *diskStore // nil in memory
	changed chan struct{}
	asked   atomic.Pointer[func()] // called when Known has looked
	run     context.CancelFunc     // ends Run
	ended   chan struct{}          // Run has returned
	// suspended is for how long its machine was, in nanoseconds.
	suspended atomic.Int64
	life      context.Context // of the streams
	end       context.CancelFunc
}

func newNetwork(t *testing.T, seed uint64, change func(*cachesync.Config)) *network {
	config := cachesync.DefaultConfig()
	if change != nil {
		change(&config)
	}
	return &network{
		t: t, config: config, log: func(string) *slog.Logger { return slog.New(slog.DiscardHandler) },
		random: rand.New(rand.NewPCG(seed, 7)), nodes: make(map[string]*node), cuts: make(map[[2]string]bool), healed: make(chan struct{}),
		words: make(map[[2]string]heard), disks: make(map[string]*disk), late: make(map[[2]string]time.Duration),
	}
}

// start begins a process and tells the others of it.
func (n *network) start(id string) *node {
	n.t.Helper()
	config := n.config
	config.NodeID = id
	if n.mutant == neverOut && id != "a" {
		config.LagTimeout = time.Hour
	}
	p := &node{id: id, net: n, changed: make(chan struct{}, 1), ended: make(chan struct{})}
	parts := cachesync.Parts{Peers: p, Recorder: n.recorder, Log: n.log(id), Now: p.now}
	if d := n.disks[id]; d != nil {
		p.store = d.open(n)
		parts.Store = p.store
	}
	var err error
	if p.Replicator, err = cachesync.New(config, parts); err != nil {
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
	go p.speak(running)
	n.mu.Lock()
	n.nodes[id] = p
	n.mu.Unlock()
	n.tellAll()
	return p
}

// now is the clock of a node's machine.
func (p *node) now() time.Time { return time.Now().Add(time.Duration(p.suspended.Load())) }

// gossip is how often the nodes say what their standing is.
const gossip = 50 * time.Millisecond

// speak tells everybody of this node's standing until it ends.
func (p *node) speak(ctx context.Context) {
	tick := time.NewTicker(gossip)
	defer tick.Stop()
	for {
		word, _ := p.Word()
		p.net.mu.Lock()
		for id := range p.net.nodes {
			if !p.net.cuts[pair(p.id, id)] {
				p.net.words[[2]string{id, p.id}] = heard{word, time.Now()}
			}
		}
		p.net.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
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

// describe says who lives and what is cut.
func (n *network) describe() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fmt.Sprint("alive ", slices.Sorted(maps.Keys(n.nodes)), " cut ", slices.SortedFunc(maps.Keys(n.cuts), func(a, b [2]string) int {
		return strings.Compare(a[0]+a[1], b[0]+b[1])
	}))
}

// kill ends a process and waits for it. It has stopped working before its streams break.
func (n *network) kill(p *node) {
	n.mu.Lock()
	if n.nodes[p.id] == p {
		delete(n.nodes, p.id)
	}
	n.mu.Unlock()
	if p.store != nil {
		p.store.dead.Store(true) // what is not on the disk by now never will be
	}
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

// slow makes each message of a stream from one node to another so late.
func (n *network) slow(from, to string, late time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.late[[2]string{from, to}] = late
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
	late := n.late[[2]string{from, to}]
	if n.delay > 0 {
		late += time.Duration(n.random.Int64N(int64(n.delay)))
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
	return nil, cachesync.ErrGone
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
		if id == p.id {
			continue
		}
		said := p.net.words[[2]string{p.id, id}]
		peers = append(peers, cachesync.Peer{ID: id, Word: said.word, Asked: said.at})
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
func (p *node) Replicate(ctx context.Context, peer string, hello cachesync.Hello) (cachesync.Stream, cachesync.Answer, error) {
	to, err := p.net.find(peer)
	if err != nil {
		return nil, cachesync.Answer{}, err
	}
	ctx, cancel := together(ctx, p.life, to.life)
	if err := p.net.pass(ctx, p.id, peer); err != nil {
		return nil, cachesync.Answer{}, err
	}
	session, err := to.Accept(hello)
	if err != nil {
		cancel()
		return nil, cachesync.Answer{}, err
	}
	if err := p.net.pass(ctx, peer, p.id); err != nil {
		session.Close()
		return nil, cachesync.Answer{}, err
	}
	s := &memStream{net: p.net, position: session.Answer().Position, ctx: ctx, requests: make(chan any, 4), acks: make(chan ledger.Position, 64), failed: make(chan error, 1)}
	go s.serve(session, cancel, p.id, peer)
	p.net.mu.Lock()
	p.net.breaks = append(p.net.breaks, cancel)
	p.net.mu.Unlock()
	return s, session.Answer(), nil
}

// Pull implements cachesync.Peers.
func (p *node) Pull(ctx context.Context, peer string, hello cachesync.Hello, beyond *ledger.Log, chunk func(*ledger.Chunk) error) error {
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
	snapshot, err := to.Offer(hello, beyond)
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
	position ledger.Position // that was acknowledged last
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
		early := s.mutate(request)
		if early {
			s.acks <- s.position
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
		s.position = position
		if !early {
			s.acks <- position
		}
	}
}

// mutate breaks a rule, and reports whether the message is acknowledged before it has arrived.
func (s *memStream) mutate(request any) bool {
	batch, ok := request.(*cachesync.Batch)
	if !ok || batch.Record == nil {
		return false
	}
	switch s.net.mutant {
	case dropRecords:
		if batch.Record.Version > 2 {
			batch.Record = nil
		}
	case commitEarly:
		return len(batch.Entries) == 0
	}
	return false
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
	if b.Record != nil {
		record := *b.Record
		batch.Record = &record
	}
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
