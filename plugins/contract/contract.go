// Package contract is the border between the host and its plugins, and the SDK that a plugin's author
// imports: the handshake, the versions, the Go interfaces, and their translation to gRPC
// (github.com/hashicorp/go-plugin). Nothing else in the project speaks gRPC to a plugin.
package contract

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/understudy-ha/understudy/profiler"
)

// Term is the number of one mastership; ordered by number, then by node, never reused.
type Term struct {
	Number uint64
	Node   string
}

// Less reports whether t came before other.
func (t Term) Less(other Term) bool {
	if t.Number != other.Number {
		return t.Number < other.Number
	}
	return t.Node < other.Node
}

// IsZero reports whether t is no term at all.
func (t Term) IsZero() bool { return t == Term{} }

// String gives number:node, the form that log lines and produced messages carry; "none" for the zero term.
func (t Term) String() string {
	if t.IsZero() {
		return "none"
	}
	return strconv.FormatUint(t.Number, 10) + ":" + t.Node
}

// Position is how far a mirror has come: the last applied index and the term that wrote it.
type Position struct {
	Term  Term
	Index uint64
}

// Less orders positions by term, then by index.
func (p Position) Less(other Position) bool {
	if p.Term != other.Term {
		return p.Term.Less(other.Term)
	}
	return p.Index < other.Index
}

// Role is what a node is in its cluster.
type Role uint8

// The roles.
const (
	// RoleStarting listens and asks.
	RoleStarting Role = iota + 1
	RoleStandby
	RoleMaster
)

// String gives the role in lower case.
func (r Role) String() string {
	switch r {
	case RoleStarting:
		return "starting"
	case RoleStandby:
		return "standby"
	case RoleMaster:
		return "master"
	}
	return "unknown"
}

// Premain is what an agent learns before the adapter exists.
type Premain struct {
	NodeID, Cluster string
	// DataDir is the absolute path of a folder below which the agent may keep files.
	DataDir string
	// Options is what followed the = of -agent:NAME=OPTIONS.
	Options string
	// Properties are all of the node's, after defaults, files and -D were merged.
	Properties map[string]string
	// AdapterDigest is the SHA-256 of the adapter file in hex.
	AdapterDigest string
}

// Interest is a kind of component that an agent wants to see.
type Interest struct {
	Kind profiler.Kind
	// Lifecycle asks for Before and After, Steps for the finished steps of messages.
	Lifecycle, Steps bool
}

// Manifest is an agent's answer to Premain.
type Manifest struct {
	Name, Version string
	Interests     []Interest
}

// Agent is a plugin that hangs hooks onto the adapter. The host may call all methods but Premain and
// Shutdown concurrently.
type Agent interface {
	Premain(ctx context.Context, premain Premain) (Manifest, error)
	// Before may block until ctx ends. An error is a veto; its text reaches the log. The host's client returns
	// a veto as *VetoError, so that it can be told from a plugin that did not answer.
	Before(ctx context.Context, at profiler.Joinpoint) error
	After(ctx context.Context, at profiler.Joinpoint, failure error) error
	// Steps takes a batch of finished steps; dropped counts those that the host has dropped since its start.
	// The slice belongs to the callee.
	Steps(ctx context.Context, events []profiler.StepEvent, dropped uint64) error
	// Shutdown is the last call.
	Shutdown(ctx context.Context) error
}

// VetoError is an agent's refusal of a lifecycle change.
type VetoError struct{ Reason string }

func (e *VetoError) Error() string { return "vetoed: " + e.Reason }

// HostReport is how the host is.
type HostReport struct {
	// Clock is the host's own clock; it comes back in RoleReport.EchoClock.
	Clock time.Duration
	// GateOpen: work of Term may be under way.
	GateOpen bool
	Term     Term
	// AtRest: nothing is under way.
	AtRest bool
	// CanLead: the workload could start here; Reason says why not.
	CanLead bool
	Reason  string
	Mirror  Position
	// MirrorInSync: the mirror holds what the master has committed.
	MirrorInSync bool
	// Liveness is where the host's life can be watched; zero if nowhere.
	Liveness Liveness
	// Later is a later term than that of this node, which its mirror has heard of; zero if none.
	Later Term
}

// Liveness is a TCP listener that the host's process owns for as long as it may be working; see
// proto/understudy/failover/v1.
type Liveness struct {
	// Address is an IP address and a port, as other nodes reach them.
	Address string
	// Process is a number that the process has drawn at random: no two have the same.
	Process uint64
}

// Hello is the line that the listener says to whoever connects.
func (l Liveness) Hello(node, cluster string) string {
	return fmt.Sprintf("UNDERSTUDY-LIVENESS\t1\t%016x\t%s\t%s\n", l.Process, node, cluster)
}

// RoleReport is what the election says of this node.
type RoleReport struct {
	Role Role
	// Term is the one held while Role is RoleMaster.
	Term Term
	// EchoClock is the Clock of the report that this answers, or of the last one.
	EchoClock time.Duration
	// Valid is how long after EchoClock the gate may stay open; 0 when not master.
	Valid      time.Duration
	MasterID   string
	MasterTerm Term
	// Reason is for people.
	Reason string
	// Takeover tells how this mastership came about; nil when not master.
	Takeover *Takeover
	// Handover asks the master to hand over to another node; zero if that is not asked.
	Handover Handover
}

// Takeover tells how a mastership came about. All times are durations by the clock of the new master.
type Takeover struct {
	// Cause is why the last master was missed, for people.
	Cause string
	// After is the term of the last master; zero if none was ever heard.
	After Term
	// Detection is from the last sign of life of the last master, heard by anybody, to the suspicion; Wait from
	// there to the claim; Claim from there to the promotion.
	Detection, Wait, Claim time.Duration
	// Heard is when each other node had last been heard before the promotion, in the order of their ids.
	Heard []HeardAge
}

// HeardAge is how long ago a node was heard.
type HeardAge struct {
	NodeID string
	Age    time.Duration
}

// Handover is the election's wish that the master make room for another node.
type Handover struct {
	To string
	// Reason is for people.
	Reason string
}

// MembersChange changes the list of voters. One of both ids may be empty. With both, Remove comes first.
type MembersChange struct{ Remove, Add string }

// Failover is the election, as the failover plugin serves it beside Agent.
type Failover interface {
	// Session runs until ctx ends or reports is closed. Every report is answered through send, which is also
	// called unasked, from one goroutine at a time, whenever the role changes. Only one session is open at a
	// time; a new one replaces the old.
	Session(ctx context.Context, reports <-chan HostReport, send func(RoleReport) error) error
	// Resign gives up a term; the host's gate is shut and its work at rest. successor is who shall lead next; empty
	// if that is left to the order, which also counts when the named one does not claim at once.
	Resign(ctx context.Context, term Term, successor string) error
	Status(ctx context.Context) (ElectionStatus, error)
	// Pause says to the whole cluster that nobody may be promoted, or ends that. A master that works goes on.
	Pause(ctx context.Context, on bool) error
	// ChangeMembers changes the list of voters, and returns it when it holds. Only the master of a cluster with a
	// quorum can.
	ChangeMembers(ctx context.Context, change MembersChange) (voters []string, err error)
}

// ElectionStatus is for people and metrics.
type ElectionStatus struct {
	NodeID         string
	Role           Role
	Term           Term
	MasterID       string
	Reason         string
	Since          time.Duration
	Peers          []ElectionPeer
	Dropped        map[string]uint64
	Sent, Received uint64
	Transport      string
	// Steps counts the finished steps of messages, StepsDropped those that the host had to drop.
	Steps, StepsDropped uint64
	// Watched is the master's host whose process this node watches; zero if it watches none.
	Watched Watched
	// Paused: nobody is promoted; PausedBy is the node that was told so.
	Paused   bool
	PausedBy string
	// Observer: this node watches, and never acts. Witness: it votes, and never leads.
	Observer, Witness bool
	// Quorum is nil if there is none.
	Quorum *Quorum
	// Takeover tells how this mastership came about; nil when not master.
	Takeover *Takeover
	// Order is who would lead next, best first, as this node sees it.
	Order []string
	// Sealed: datagrams are authenticated.
	Sealed   bool
	Priority int
}

// Quorum is the state of the voting.
type Quorum struct {
	// Members is how many nodes are enrolled when the cluster is born.
	Members int
	// Voters is who votes; empty before the cluster is born. Voter: this node is one of them.
	Voters []string
	Voter  bool
	// Lease is, as master, how long what a majority has given still lasts; 0 if it has lapsed.
	Lease time.Duration
	// Withheld is why this node grants nothing at the moment; empty if it would.
	Withheld string
}

// Watched is a host whose life matters to a node.
type Watched struct {
	NodeID, Address string
	// Connected: its process has been met, so that its crash would be noticed at once.
	Connected bool
}

// ElectionPeer is another node, as the election hears it.
type ElectionPeer struct {
	NodeID        string
	Role          Role
	Term          Term
	Age           time.Duration
	Priority      int
	Mirror        Position
	CanLead       bool
	MasterID      string
	AdapterDigest string
	// Hears is whom it hears: its row of the matrix.
	Hears []HeardAge
	// InSync: its mirror holds what the master has committed.
	InSync            bool
	Observer, Witness bool
	// Acknowledged is how long ago it last acknowledged a heartbeat of this master; nil without a quorum.
	Acknowledged *time.Duration
}

// OpKind is a kind of change of the mirror.
type OpKind uint8

// The changes that the host asks for; see proto/understudy/mirror/v1.
const (
	OpReceived OpKind = iota + 1
	OpStepped
	OpProducing
	OpDone
	OpReleased
	OpHeld
)

// Op is one change of the mirror. Payload nil means unchanged, empty means empty.
type Op struct {
	Kind                        OpKind
	MessageID, WorkflowID, Step string
	Payload                     []byte
	Time                        time.Time
	Reason                      string
}

// EntryState is how far a message in flight has come.
type EntryState uint8

// The states of an entry.
const (
	EntryReceived EntryState = iota + 1
	EntryProducing
	EntryHeld
)

// Entry is one message in flight.
type Entry struct {
	MessageID, WorkflowID string
	State                 EntryState
	Step                  string
	Payload               []byte
	Received, Changed     time.Time
	Position              Position
	Reason                string
	PossibleDuplicate     bool
}

// CommitResult is the fate of one change.
type CommitResult uint8

// The results.
const (
	Committed CommitResult = iota + 1
	// DoneBefore: OpReceived of an id in the dedupe window; nothing was written.
	DoneBefore
	// NotLeading: this node does not write that term, or no longer.
	NotLeading
	// Invalid: the change makes no sense in the table's state.
	Invalid
	// NoRoom: the store is full; OpReceived was not written, and may be tried again later.
	NoRoom
)

// Lead is the outcome of CacheSync.Lead.
type Lead struct {
	Entries []Entry
	Sealed  Position
	// TakenFrom is the node that had more, if the table was taken from one.
	TakenFrom string
}

// MirrorState is what the host must know at any time.
type MirrorState struct {
	Position        Position
	InSync, Leading bool
	// RefusedBy is the higher term that a peer knows: whoever leads must stand down.
	RefusedBy      Term
	InSyncStandbys int
	// SetTerm and SetVersion are those of the last recorded in-sync set that this node knows; Recorded: it is in it.
	SetTerm    Term
	SetVersion uint64
	Recorded   bool
	// Alone: no standby is in sync with this master. Waiting: too few are, and nothing is committed.
	Alone, Waiting bool
}

// MirrorStatus is for people and metrics.
type MirrorStatus struct {
	NodeID, Address           string
	State                     MirrorState
	Entries, Bytes, DedupeIDs uint64
	MasterID                  string
	Peers                     []MirrorPeer
	Dropped                   map[string]uint64
	// InSyncSet is the members of the last recorded in-sync set that this node knows.
	InSyncSet []string
	// Store is where the table is kept, empty for memory; Fault is why nothing can be written there.
	Store, Fault string
	// Group is the multicast address:port by which it finds its peers, Ehcache the ehcache.xml that it has read, empty if
	// none.
	Group, Ehcache string
}

// MirrorPeer is another node, as the mirror sees it.
type MirrorPeer struct {
	NodeID, Address   string
	Connected, InSync bool
	Acknowledged      Position
	LagEntries        uint64
	Lag               time.Duration
}

// MirrorConfig is what the cachesync plugin learns first.
type MirrorConfig struct {
	NodeID, Cluster, DataDir string
	Properties               map[string]string
	// Defaults are the keys of Properties that nobody has set: their values are the host's defaults.
	Defaults []string
}

// MirrorInfo is its answer.
type MirrorInfo struct {
	Name, Version string
	// Address is host:port where peers reach this node.
	Address string
}

// CacheSync is the mirror, as the cachesync plugin serves it.
type CacheSync interface {
	Configure(ctx context.Context, config MirrorConfig) (MirrorInfo, error)
	// Lead makes this node the writer of term and returns what is in flight.
	Lead(ctx context.Context, term Term) (Lead, error)
	// Follow ends the writing; open commits end as NotLeading.
	Follow(ctx context.Context) error
	// Commit queues one change of the term and returns at once, unless too much is unanswered: then it waits.
	// Changes are applied in the order of the calls. settle is called once, from any goroutine, maybe before
	// Commit returns, when the change is committed or refused; it must neither block nor call Commit. An error
	// beside the result 0 means that the fate of the change is unknown. A quiet change needs no answer: settle
	// may be nil, and is called only if the change is refused.
	Commit(term Term, op Op, quiet bool, settle func(CommitResult, error))
	// Watch calls changed with the state, at once and after changes, until ctx ends. Steps may be skipped,
	// never the last.
	Watch(ctx context.Context, changed func(MirrorState)) error
	Status(ctx context.Context) (MirrorStatus, error)
	Shutdown(ctx context.Context) error
}

// Adopter is a CacheSync that takes over what only a returning node holds.
type Adopter interface {
	// Adopted calls taken with messages that were taken from returning nodes while this node leads, each once, until ctx
	// ends. They are committed and in flight; who runs the messages has to take them up. Those that nobody was told of
	// are in the next Lead.
	Adopted(ctx context.Context, taken func([]Entry)) error
}
