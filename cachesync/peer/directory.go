package peer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/translate"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// maxPeers bounds what strangers can make this node remember.
const maxPeers = 64

// directory is the peers that are believed to live, each with a connection that is kept open: a new master
// has no time to dial, and a connection that is refused tells it at once who is gone.
type directory struct {
	changed chan struct{}
	watches sync.WaitGroup
	dial    func(address string, refused *atomic.Bool) (*grpc.ClientConn, error)

	mu      sync.Mutex // guards what follows and the remotes
	closed  bool
	remotes map[string]*remote
	dropped map[dropCause]uint64
	// left are the ids of those who have said goodbye.
	left map[string]bool
}

// remote is one process of one peer.
type remote struct {
	id, boot, address string
	conn              *grpc.ClientConn
	heard             time.Time
	word              cachesync.Word // what it said last
	asked             time.Time      // when it was asked for that
	ready             bool           // the connection stands
	refused           atomic.Bool    // there is nobody at its address
}

func newDirectory(dial func(address string, refused *atomic.Bool) (*grpc.ClientConn, error)) *directory {
	return &directory{
		dial:    dial,
		changed: make(chan struct{}, 1),
		remotes: make(map[string]*remote),
		dropped: make(map[dropCause]uint64),
		left:    make(map[string]bool),
	}
}

func (d *directory) notify() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

func (d *directory) known() []cachesync.Peer {
	d.mu.Lock()
	defer d.mu.Unlock()
	peers := make([]cachesync.Peer, 0, len(d.remotes))
	for _, r := range d.remotes {
		peers = append(peers, cachesync.Peer{ID: r.id, Address: r.address, Connected: r.ready, Word: r.word, Asked: r.asked})
	}
	slices.SortFunc(peers, func(a, b cachesync.Peer) int { return strings.Compare(a.ID, b.ID) })
	return peers
}

// find returns a peer to talk to.
func (d *directory) find(id string) (*remote, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.remotes[id]
	switch {
	case r != nil:
		return r, nil
	case d.left[id]:
		return nil, fmt.Errorf("peer %s has said goodbye: %w", id, cachesync.ErrGone)
	}
	return nil, fmt.Errorf("peer %s is not known", id)
}

func (d *directory) drop(cause dropCause) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dropped[cause]++
}

func (d *directory) drops() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	counts := make(map[string]uint64, len(d.dropped))
	for cause, n := range d.dropped {
		counts[string(cause)] = n
	}
	return counts
}

// heard books an announcement; connections are kept warm until ctx ends. asked is when this node has put the question
// that it answers, or zero: then it changes nothing of what the peer has said, because it may have lain in a buffer.
// stale is the age at which a process that still has a connection may be replaced by another one of the same id.
func (d *directory) heard(ctx context.Context, a *mirrorv1.Announcement, asked, now time.Time, stale time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	r := d.remotes[a.NodeId]
	same := r != nil && r.boot == a.BootId && r.address == a.Address
	switch {
	case a.Leaving:
		if same {
			if len(d.left) >= maxPeers {
				clear(d.left)
			}
			d.left[r.id] = true
			d.removeLocked(r)
		}
		return nil
	case same:
		r.heard = now
		if r.asked.Before(asked) {
			r.word, r.asked = wordOf(a), asked
		}
		return nil
	case r != nil && r.boot != a.BootId && r.ready && now.Sub(r.heard) < stale:
		return dropf(dropDuplicate, "node id %s is used at %s and at %s: give one of them another node.id", a.NodeId, r.address, a.Address)
	case r == nil && len(d.remotes) >= maxPeers:
		return dropf(dropCrowd, "node %s is one too many: %d peers are known", a.NodeId, maxPeers)
	}
	added := &remote{id: a.NodeId, boot: a.BootId, address: a.Address, heard: now, word: wordOf(a), asked: asked}
	var err error
	if added.conn, err = d.dial(a.Address, &added.refused); err != nil {
		return dropf(dropBroken, "address %q of node %s: %v", a.Address, a.NodeId, err)
	}
	if r != nil {
		d.removeLocked(r)
	}
	r = added
	d.remotes[r.id] = r
	delete(d.left, r.id)
	d.watches.Go(func() { d.keepWarm(ctx, r) })
	d.notify()
	return nil
}

// wordOf is what an announcement says of its sender's standing.
func wordOf(a *mirrorv1.Announcement) cachesync.Word {
	return cachesync.Word{Term: translate.ToTerm(a.SetTerm), Version: a.SetVersion, Attached: a.Attached}
}

// keepWarm holds the connection open until it is closed for good.
func (d *directory) keepWarm(ctx context.Context, r *remote) {
	for changed := true; changed; {
		state := r.conn.GetState()
		d.mu.Lock()
		r.ready = state == connectivity.Ready
		d.mu.Unlock()
		switch state {
		case connectivity.Shutdown:
			return
		case connectivity.Idle:
			r.conn.Connect()
		}
		changed = r.conn.WaitForStateChange(ctx, state)
	}
}

// forget removes who has been silent for too long and has no connection either.
func (d *directory) forget(now time.Time, after time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.remotes {
		if !r.ready && now.Sub(r.heard) >= after {
			d.removeLocked(r)
		}
	}
}

func (d *directory) removeLocked(r *remote) {
	delete(d.remotes, r.id)
	_ = r.conn.Close() // it only fails if it was closed before
	d.notify()
}

// close removes everybody and waits for the watches.
func (d *directory) close() {
	d.mu.Lock()
	d.closed = true
	for _, r := range d.remotes {
		d.removeLocked(r)
	}
	d.mu.Unlock()
	d.watches.Wait()
}
