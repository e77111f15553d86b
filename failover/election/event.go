package election

import "time"

// Event is what Step takes: Tick, Received, HostChanged, HostLost, Resign, PeerGone, SaveFailed, SetPause or
// ChangeMembers. Each carries
// its time, counted from an origin of the node's choice by a clock that never goes back.
type Event interface{ event() }

// Tick says that time has passed. It is due whenever Machine.Next has come; more do no harm.
type Tick struct{ At time.Duration }

// Received is a message as it came from the network. At is when it came, which may lie before the last event.
type Received struct {
	At      time.Duration
	Message Message
}

// HostChanged is the host's report; one is due at least once per delay even if nothing has changed, because
// the machine vouches for the host only as long as it speaks.
type HostChanged struct {
	At   time.Duration
	Host Host
}

// Host is how the host says it is.
type Host struct {
	// CanLead: the workload could start here; Reason says why not.
	CanLead bool
	Reason  string
	// GateOpen: work of a term may be under way. AtRest: nothing is.
	GateOpen, AtRest bool
	Mirror           Position
	InSync           bool
	Liveness         Liveness
	// Later is a later term than its own that the host's mirror has heard of; zero if none.
	Later Term
}

// HostLost says that the host has gone, or has broken with this process: nothing is vouched for until it reports
// again.
type HostLost struct{ At time.Duration }

// Resign gives up a term. The host has shut its gate and its work is at rest. A term that is not held is
// ignored.
type Resign struct {
	At   time.Duration
	Term Term
	// Successor is who shall lead next; empty if that is left to the order.
	Successor string
}

// SetPause says to the whole cluster whether anybody may be promoted.
type SetPause struct {
	At time.Duration
	On bool
}

// ChangeMembers adds a voter or removes one; see Machine.Change for what becomes of it.
type ChangeMembers struct {
	At          time.Duration
	Remove, Add string
}

// PeerGone says that the process of a host is gone: the kernel that it ran on has closed its connection and
// refused another one. At is when it refused, which may lie before the last event.
type PeerGone struct {
	At    time.Duration
	Watch Watch
}

// SaveFailed says that a SaveTerm or SaveVote could not be executed. The actions that followed it must not be executed
// either; this event is the next one.
type SaveFailed struct {
	At     time.Duration
	Reason string
}

func (Tick) event()          {}
func (Received) event()      {}
func (HostChanged) event()   {}
func (HostLost) event()      {}
func (PeerGone) event()      {}
func (Resign) event()        {}
func (SaveFailed) event()    {}
func (SetPause) event()      {}
func (ChangeMembers) event() {}
