package rules

import (
	"fmt"

	"github.com/understudy-ha/understudy/failover/interlok/packet"
)

// Action is what Step returns: Send, Report, election.SaveTerm, election.Promote or election.Demote. They are executed
// in the order in which they come: a term is on disk before anybody hears of it, and a Demote comes before any message
// that says so.
type Action interface{ fmt.Stringer }

// Send sends a ping to all other members, Copies times where a network may lose it.
type Send struct {
	Ping   packet.Ping
	Copies int
}

// String gives the form that traces show.
func (s Send) String() string {
	return fmt.Sprintf("send %dx %v %d", s.Copies, s.Ping.Type, s.Ping.Position)
}

// Report tells people what goes on. It needs no doing.
type Report struct {
	Kind Kind
	// Peer is the id of the other member concerned, empty if there is none.
	Peer string
	Text string
}

// String gives the form that traces show.
func (r Report) String() string {
	if r.Peer == "" {
		return fmt.Sprintf("report %v: %s", r.Kind, r.Text)
	}
	return fmt.Sprintf("report %v, peer %s: %s", r.Kind, r.Peer, r.Text)
}

// Kind sorts reports.
type Kind uint8

// The kinds of reports.
const (
	// Progress is the normal course.
	Progress Kind = iota + 1
	// Assigned: this secondary has taken a position. Moved: it has moved up.
	Assigned
	Moved
	// Promoting: no primary, so this one leads.
	Promoting
	// TimedOut: a secondary is no longer heard.
	TimedOut
	// Conflict: there is another primary, and this one stays. Yielded: this one steps down.
	Conflict
	Yielded
	// Muted: this member does not ping; Unmuted ends that.
	Muted
	Unmuted
	// Stalled: this process did not run for longer than the interval of pings.
	Stalled
	// Crowded: a member was ignored because MaxMembers others are known.
	Crowded
)

// String gives the kind as a counter's name.
func (k Kind) String() string {
	names := [...]string{"unknown", "progress", "assigned", "moved", "promoting", "timed-out", "conflict", "yielded",
		"muted", "unmuted", "stalled", "crowded"}
	if int(k) >= len(names) {
		return names[0]
	}
	return names[k]
}
