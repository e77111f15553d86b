package rules

import (
	"math"
	"time"

	"github.com/understudy-ha/understudy/failover/interlok/packet"
)

// MaxMembers is how many other instances a machine keeps track of, so that a flood of invented ids costs no memory.
const MaxMembers = 64

// Goodbye is the position in the last ping of a primary of this implementation that has stepped down in an orderly way.
// To Java it is a secondary behind all others.
const Goodbye = math.MaxInt32

// Java's times that nobody can set, and the defaults of the others.
const (
	DefaultInterval = 3 * time.Second
	DefaultTimeout  = 20 * time.Second
	DefaultListen   = 5 * time.Second
	DefaultPoll     = 5 * time.Second
)

// LeastPings is how many pings the timeout must have room for: with fewer the loss of a single one would make a second
// primary.
const LeastPings = 3

// Steady reports whether a lease lasts well beyond the next ping.
func (c Config) Steady() bool { return c.Lease() >= c.Interval+c.Interval/4 }

// Config is what a machine must know from the start. It is not checked here: package interlok does.
type Config struct {
	// NodeID is the node's name in its terms, ID that of this instance on the wire: a new one at each start.
	NodeID string
	ID     packet.ID
	// Host and Port are what the pings say of this member.
	Host string
	Port int
	// Start is the time of the start, by the same clock as the events.
	Start time.Duration
	// Interval is the time between pings, Timeout how long a member may be silent. They must be the same everywhere.
	Interval, Timeout time.Duration
	// Listen is how long a new member only listens, Poll how often positions are looked at.
	Listen, Poll time.Duration
	// HostDelay is the longest time between two reports of the host.
	HostDelay time.Duration
	// Position is the given one; 0 is none.
	Position int
	// Observer listens and takes no part.
	Observer bool
	// Term is the highest number that was ever saved, 0 if none.
	Term uint64
}

// Lease is how long after a ping its sender may work. The others do not become primary before the timeout has passed
// since the last ping that they heard; that may be an earlier one, because pings are lost, and clocks differ a little. A
// Java member that has just started and has heard nobody waits for a shorter time than that: until its second look.
func (c Config) Lease() time.Duration {
	lost := min(max(c.Timeout/c.Interval-2, 0), 2)
	return min(c.Timeout-lost*c.Interval, c.Listen+c.Poll) - c.Timeout/20
}

// HostSilence is how long the host may be silent before the machine stops to vouch for it.
func (c Config) HostSilence() time.Duration { return 2 * c.HostDelay }

// turn is how long the others need at most to find a new primary once one has gone.
func (c Config) turn() time.Duration { return c.Timeout + 2*c.Poll }
