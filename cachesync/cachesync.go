// Package cachesync keeps the table of messages in flight the same on every node of a cluster: the master of
// a term writes, the standbys follow, and who is promoted takes over what the most complete of them has.
//
// A Replicator drives the pure table of package ledger over Peers. How nodes find each other and what they
// speak is no matter of this package; see cachesync/peer.
package cachesync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// Peers is the other nodes of the cluster. All methods may be called from several goroutines.
type Peers interface {
	// Known returns the ids of the peers that are believed to live. It is called with locks held and must not
	// wait for a Replicator.
	Known() []Peer
	// Changed receives a value after Known has changed. Changes in quick succession may be one value.
	Changed() <-chan struct{}
	// Replicate opens a stream to a peer and waits until it has answered the hello. A *RefusedError says that
	// it will not follow, an error that wraps ErrGone that its process has ended. The stream ends with ctx.
	Replicate(ctx context.Context, peer string, hello Hello) (Stream, Answer, error)
	// Pull fetches a peer's whole table, or with beyond only the messages whose arrival is not on that log;
	// chunk gets the parts in order. The peer must have answered a hello of the same term before.
	Pull(ctx context.Context, peer string, hello Hello, beyond *ledger.Log, chunk func(*ledger.Chunk) error) error
}

// ErrGone says that there is nobody at the peer's address any more, or it has said goodbye. Its process has ended.
var ErrGone = errors.New("its process has ended")

// Peer is another node.
type Peer struct {
	ID, Address string
	// Connected: the connection to it stands at the moment.
	Connected bool
	// Word is what it has said last; Asked is when it was asked for that, by the clock of Parts, so that the word is not
	// older. It is zero if the peer was never asked.
	Word  Word
	Asked time.Time
}

// Word is what a node tells everybody about its standing. What it does not say is not known.
type Word struct {
	// Term and Version are those of the last in-sync set that it knows; zero if it knows none.
	Term    ledger.Term
	Version uint64
	// Attached: it is a master or hears one, so that what it knows may change at any time.
	Attached bool
}

// Hello is what the master of a term says first.
type Hello struct {
	Node string
	Term ledger.Term
}

// Answer is what a standby says to a hello.
type Answer struct {
	Position ledger.Position
	// Record is the last in-sync set that it knows.
	Record Record
}

// Batch is a run of log entries. An empty one is a sign of life.
type Batch struct {
	Entries []ledger.LogEntry
	// Member: commits wait for the receiver. Records say the same; builds without them need it.
	Member bool
	// Committed is what every in-sync standby has; it is told to members only.
	Committed ledger.Position
	// Record is a new in-sync set, or nil.
	Record *Record
}

// Stream goes from the master to one standby. One goroutine sends while another receives. Each message sent
// is answered by one acknowledgement. What is sent may be reused when the call has returned. Nothing is
// closed by hand: the stream ends with the context that it was opened with. A send fails with io.EOF if the
// stream has ended, and ReceiveAck says why.
type Stream interface {
	SendChunk(*ledger.Chunk) error
	SendBatch(*Batch) error
	// ReceiveAck returns the standby's position after the next message. A *RefusedError says that the standby
	// follows a higher term now.
	ReceiveAck() (ledger.Position, error)
}

// Recorder has in-sync sets recorded where it takes a quorum. Without one the nodes of the set keep the record.
type Recorder interface {
	// Record returns nil when a majority of the voters has the record on disk. It is called again with a later record
	// when ctx has ended or it has failed.
	Record(ctx context.Context, record Record) error
}

// RefusedError is a peer's answer to a master that it will not follow.
type RefusedError struct {
	// Peer is who refuses.
	Peer string
	// Term is the higher term that it knows; zero if it refuses for another reason.
	Term   ledger.Term
	Reason string
}

func (e *RefusedError) Error() string {
	if e.Term.IsZero() {
		return fmt.Sprintf("peer %s refuses: %s", e.Peer, e.Reason)
	}
	return fmt.Sprintf("peer %s refuses: it follows the higher term %v", e.Peer, e.Term)
}

// Result is the fate of one change.
type Result uint8

// The results.
const (
	Committed Result = iota + 1
	// DoneBefore: the message was finished before; nothing was written.
	DoneBefore
	// NotLeading: this node does not write that term, or no longer. Standbys may have the change all the same.
	NotLeading
	// Invalid: the change makes no sense in the table's state.
	Invalid
	// NoRoom: the store is full. Nothing was written; the same change may be tried again later.
	NoRoom
)

// String gives the result in lower case.
func (r Result) String() string {
	switch r {
	case Committed:
		return "committed"
	case DoneBefore:
		return "done before"
	case NotLeading:
		return "not leading"
	case Invalid:
		return "invalid"
	case NoRoom:
		return "no room"
	}
	return "unknown"
}

// Lead is what a new master takes over.
type Lead struct {
	// Entries are the messages in flight, in the order in which they were received.
	Entries []ledger.Entry
	// Sealed is the last position of the earlier terms.
	Sealed ledger.Position
	// TakenFrom is the peer that had more than this node, or empty.
	TakenFrom string
}

// State is what others must know of a Replicator at any time.
type State struct {
	Position ledger.Position
	// InSync: as a master, everything written is committed; as a standby, this node has all that is committed. It is in
	// the last recorded in-sync set, and its master cannot have recorded one without it.
	InSync, Leading bool
	// RefusedBy is a higher term than the one that this node led. Whoever leads must stand down.
	RefusedBy ledger.Term
	// InSyncStandbys is the number of standbys that a commit waits for.
	InSyncStandbys int
	// RecordTerm and RecordVersion are those of the last in-sync set that this node knows; Recorded: it is in it.
	RecordTerm    ledger.Term
	RecordVersion uint64
	Recorded      bool
	// Alone: as a master, no standby is in sync. Waiting: too few are, and cachesync.alone=wait.
	Alone, Waiting bool
}
