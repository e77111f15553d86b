// Package peer is how the nodes of a cluster find each other and carry the mirror: announcements by datagram,
// one gRPC port per node, one stream from the master to each standby. A Hub is a cachesync.Peers and serves
// a cachesync.Replicator to the others.
package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	"github.com/understudy-ha/understudy/cachesync/translate"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// Datagrams carries announcements to everybody and back. What this node sends may come back to it.
type Datagrams interface {
	// Send hands one datagram over. It may be lost.
	Send(data []byte) error
	// Packets gives what others have sent. Each slice belongs to the receiver. The channel is closed when
	// nothing will come any more.
	Packets() <-chan []byte
	Close() error
}

// Replica is the standby that a Hub serves; a *cachesync.Replicator is one.
type Replica interface {
	Accept(hello cachesync.Hello) (*cachesync.Session, error)
	Offer(hello cachesync.Hello, beyond *ledger.Log) (*ledger.Snapshot, error)
	// Word is what the others are told of this node's standing, and whether they are asked for theirs.
	Word() (word cachesync.Word, ask bool)
}

// Config is how a Hub behaves.
type Config struct {
	NodeID, Cluster string
	// BootID is another one for each process.
	BootID string
	// Listen is host:port for the gRPC server; port 0 takes a free one.
	Listen string
	// Advertise is the host that peers are told, if Listen names none that they could use.
	Advertise string
	// Keys are those of the cluster, or none: then everybody is believed. The first one seals, all open.
	Keys []Key
	// Interval is the time between announcements, Forget how long a peer without a connection may be silent.
	Interval, Forget time.Duration
	// Now is the clock of cachesync.Parts.
	Now func() time.Time
}

// DefaultConfig returns the defaults: those of Ehcache's multicast discovery. Names and address are empty.
func DefaultConfig() Config {
	return Config{Interval: time.Second, Forget: 5 * time.Second, Now: time.Now}
}

// Hub is this node's line to its peers.
type Hub struct {
	config    Config
	log       *slog.Logger
	datagrams Datagrams
	listener  net.Listener
	address   string
	peers     *directory
	identity  *identity // nil without keys
	// turnedAway remembers that it was said once that somebody was.
	turnedAway sync.Once
	// What follows belongs to discover.

	replica Replica
	// said is what was told last, sequence the number of that announcement.
	said     cachesync.Word
	sequence uint64
	// asked is when the questions of late were put, by their sequences.
	asked map[uint64]time.Time
	// questions are the last ones of others that are not answered yet.
	questions map[string]uint64
	// complained remembers which causes of drops have been logged.
	complained map[dropCause]bool
}

// Listen opens the port. The datagrams belong to the Hub from now on, also if Listen fails. Nobody is served
// or told before Run; a Hub that is not run is closed with Close.
func Listen(config Config, datagrams Datagrams, log *slog.Logger) (*Hub, error) {
	identity, err := newIdentity(config.Keys, config.NodeID)
	if err != nil {
		return nil, errors.Join(err, datagrams.Close())
	}
	listener, err := net.Listen("tcp", config.Listen)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the mirror's peers on %q (cachesync.listen): %w", config.Listen, err), datagrams.Close())
	}
	h := &Hub{
		config:     config,
		log:        log,
		datagrams:  datagrams,
		listener:   listener,
		address:    listener.Addr().String(),
		identity:   identity,
		asked:      make(map[uint64]time.Time),
		questions:  make(map[string]uint64),
		sequence:   rand.Uint64() >> 1, // not the numbers of an earlier process
		complained: make(map[dropCause]bool),
	}
	h.peers = newDirectory(func(address string, refused *atomic.Bool) (*grpc.ClientConn, error) {
		return dial(address, identity.transport(h.turnAway), refused)
	})
	if config.Advertise != "" {
		_, port, err := net.SplitHostPort(h.address)
		if err != nil {
			return nil, errors.Join(err, h.Close())
		}
		h.address = net.JoinHostPort(config.Advertise, port)
	}
	return h, nil
}

// Address is host:port where peers reach this node.
func (h *Hub) Address() string { return h.address }

// Dropped counts the datagrams and streams of strangers by the cause of their refusal.
func (h *Hub) Dropped() map[string]uint64 { return h.peers.drops() }

// Close releases a Hub that is not run.
func (h *Hub) Close() error {
	err := h.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	h.peers.close()
	return errors.Join(err, h.datagrams.Close())
}

// Run serves the replica and announces this node until ctx ends, then says goodbye and closes everything. It
// is called once. An error means that the port was lost, or that something could not be closed.
func (h *Hub) Run(ctx context.Context, replica Replica) error {
	server := newServer(&service{hub: h, replica: replica}, h.identity.transport(h.turnAway))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() {
		defer cancel()
		served <- server.Serve(h.listener)
	}()
	h.replica = replica
	h.discover(ctx)
	h.announce(false, true)
	server.Stop()
	err := <-served
	if errors.Is(err, grpc.ErrServerStopped) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("serve the mirror's peers on %s: %w", h.address, err)
	}
	return errors.Join(err, h.Close())
}

// discover announces this node and listens to the others until ctx ends.
func (h *Hub) discover(ctx context.Context) {
	tick := time.NewTicker(h.config.Interval)
	defer tick.Stop()
	// What has changed is told soon: others judge their own standing by it.
	look := time.NewTicker(h.config.Interval / 10)
	defer look.Stop()
	lastAnswer := time.Now()
	packets := h.datagrams.Packets()
	h.announce(true, false)
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			h.peers.forget(now, h.config.Forget)
			h.announce(false, false)
		case <-look.C:
			if word, ask := h.replica.Word(); ask || word != h.said || len(h.questions) > 0 {
				h.announce(ask, false)
			}
		case data, open := <-packets:
			if !open {
				h.log.Error("mirror: discovery has failed, no new peers will be found until this node is restarted")
				packets = nil // who is connected stays so
				continue
			}
			// Whoever asks is answered, but nobody can make this node shout.
			if h.hear(ctx, data) && time.Since(lastAnswer) >= h.config.Interval/20 {
				lastAnswer = time.Now()
				h.announce(false, false)
			}
		}
	}
}

// announce tells everybody that this node is there, asks them to do so too, or says goodbye.
func (h *Hub) announce(ask, leaving bool) {
	h.said, _ = h.replica.Word()
	h.sequence++
	message := &mirrorv1.Announcement{
		Magic: magic, Version: version, MinVersion: minVersion,
		Cluster: h.config.Cluster, NodeId: h.config.NodeID, BootId: h.config.BootID, Address: h.address,
		Ask: ask, Leaving: leaving,
		SetTerm: translate.FromTerm(h.said.Term), SetVersion: h.said.Version, Attached: h.said.Attached, Sequence: h.sequence,
	}
	for id, sequence := range h.questions {
		message.Answers = append(message.Answers, &mirrorv1.Answered{NodeId: id, Sequence: sequence})
	}
	clear(h.questions)
	if ask {
		h.remember(h.config.Now())
	}
	data, err := proto.Marshal(message)
	if err == nil {
		err = h.datagrams.Send(h.identity.seal(data))
	}
	if err != nil {
		h.complain("send", fmt.Errorf("announce this node to the mirror's peers: %w", err))
	}
}

// remember notes when the announcement that is about to be sent has asked.
func (h *Hub) remember(now time.Time) {
	for sequence, at := range h.asked {
		if now.Sub(at) > h.config.Forget {
			delete(h.asked, sequence)
		}
	}
	h.asked[h.sequence] = now
}

// maxQuestions bounds what is answered at a time; an announcement must fit into a datagram.
const maxQuestions = 16

// answered notes a question and returns when this node has asked what the announcement answers.
func (h *Hub) answered(a *mirrorv1.Announcement) time.Time {
	if a.Ask && a.Sequence != 0 && len(h.questions) < maxQuestions {
		h.questions[a.NodeId] = a.Sequence
	}
	for _, answer := range a.Answers {
		if answer.GetNodeId() == h.config.NodeID {
			return h.asked[answer.GetSequence()]
		}
	}
	return time.Time{}
}

// hear takes a datagram of anybody and reports whether it asks for an announcement.
func (h *Hub) hear(ctx context.Context, data []byte) (asked bool) {
	var a *mirrorv1.Announcement
	data, err := h.identity.open(data)
	if err == nil {
		a, err = decodeAnnouncement(data, h.config.Cluster)
	}
	if err == nil && a.NodeId == h.config.NodeID {
		if a.BootId == h.config.BootID {
			return false // this node's own
		}
		err = dropf(dropDuplicate, "this node's id %s is used at %s too: give one of them another node.id", a.NodeId, a.Address)
	}
	if err == nil {
		err = h.peers.heard(ctx, a, h.answered(a), time.Now(), 5*h.config.Interval/2)
	}
	if err == nil {
		return a.Ask
	}
	var drop *dropError
	if errors.As(err, &drop) {
		h.peers.drop(drop.cause)
		if drop.cause == dropDuplicate || drop.cause == dropVersion || drop.cause == dropForged || drop.cause == dropCrowd {
			h.complain(drop.cause, err)
		}
	}
	return false
}

// turnAway counts a connection whose other end does not have the cluster's key. It says so once.
func (h *Hub) turnAway(err error) {
	h.peers.drop(dropForged)
	h.turnedAway.Do(func() { h.log.Warn("mirror: a connection is not authentic", "error", err) })
}

// complain logs each cause once.
func (h *Hub) complain(cause dropCause, err error) {
	if !h.complained[cause] {
		h.complained[cause] = true
		h.log.Warn("mirror: discovery", "cause", string(cause), "error", err)
	}
}

// Known implements cachesync.Peers.
func (h *Hub) Known() []cachesync.Peer { return h.peers.known() }

// Changed implements cachesync.Peers. There is one channel, for one reader.
func (h *Hub) Changed() <-chan struct{} { return h.peers.changed }
