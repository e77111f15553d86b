package tcp

import (
	"maps"
	"time"
)

// Peer is what is known of another node, for people and metrics.
type Peer struct {
	// Name is as it was configured, or the address that was learned.
	Name string
	// Configured or else learned.
	Configured bool
	// Self: it is this node. Twin is the name under which the same node is connected already; empty if it is not.
	Self bool
	Twin string
	// Connected: this node has a connection that it has dialled. For is how long it has been so, or not.
	Connected bool
	For       time.Duration
	// Answers is how many connections there are that say they come from this peer.
	Answers int
	// Fault is why it is not connected.
	Fault error
	// Dropped counts datagrams that it was not sent, because it was away or slow.
	Dropped uint64
}

// Peers returns what is known of the other nodes.
func (t *Transport) Peers() []Peer {
	t.mu.RLock()
	defer t.mu.RUnlock()
	peers := make([]Peer, 0, len(t.peers))
	for _, p := range t.peers {
		peer := Peer{
			Name: p.name, Configured: p.configured, Self: p.self, Connected: p.link != nil,
			For: time.Since(p.since), Fault: p.fault, Dropped: p.out.droppedSoFar(),
		}
		if p.twin != nil {
			peer.Twin = p.twin.name
		}
		for _, address := range p.addresses {
			peer.Answers += len(t.accepted[address])
		}
		peers = append(peers, peer)
	}
	return peers
}

// Refused counts the connections of others that were ended, by cause: not-ours, other-version, too-large, too-slow,
// too-many, accept-failed.
func (t *Transport) Refused() map[string]uint64 {
	t.refusalsMutex.Lock()
	defer t.refusalsMutex.Unlock()
	return maps.Clone(t.refusals)
}
