package rules

import (
	"time"

	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/interlok/packet"
)

// Event is what Step takes: Tick, Received, HostChanged, HostLost, Resign or SaveFailed. Each carries its time, counted
// from an origin of the node's choice by a clock that never goes back.
type Event interface{ event() }

// Tick says that time has passed. It is due whenever Machine.Next has come; more do no harm.
type Tick struct{ At time.Duration }

// Received is a ping as it came from the network. At is when it came, which may lie before the last event.
type Received struct {
	At   time.Duration
	Ping packet.Ping
}

// HostChanged is the host's report; one is due at least once per HostDelay even if nothing has changed.
type HostChanged struct {
	At   time.Duration
	Host election.Host
}

// HostLost says that the host has gone, or has broken with this process.
type HostLost struct{ At time.Duration }

// Resign gives up a term. The host has shut its gate and its work is at rest. A term that is not held is ignored.
type Resign struct {
	At   time.Duration
	Term election.Term
}

// SaveFailed says that a SaveTerm could not be executed. The actions that followed it must not be executed either; this
// event is the next one.
type SaveFailed struct {
	At     time.Duration
	Reason string
}

func (Tick) event()        {}
func (Received) event()    {}
func (HostChanged) event() {}
func (HostLost) event()    {}
func (Resign) event()      {}
func (SaveFailed) event()  {}
