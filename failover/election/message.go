package election

import (
	"fmt"
	"strings"
	"time"
)

// Role is what a node is in its cluster.
type Role uint8

// The roles. See transitions for the ways between them.
const (
	// Starting listens and asks.
	Starting Role = iota + 1
	Standby
	// Candidate has claimed a term and waits for the others. To the outside it is still a standby.
	Candidate
	Master
)

// String gives the role in lower case.
func (r Role) String() string {
	switch r {
	case Starting:
		return "starting"
	case Standby:
		return "standby"
	case Candidate:
		return "candidate"
	case Master:
		return "master"
	}
	return "unknown"
}

// Message is what one node tells all others.
type Message struct {
	From string
	// Boot grows with every start of the sender.
	Boot uint64
	// Sequence grows with every message of a boot.
	Sequence uint64
	About    About
	Body     Body
}

// About is how the sender is; it comes with every message.
type About struct {
	Role     Role
	Standing Standing
	// CanLead: the sender's host is alive and could start its workload now.
	CanLead bool
	// GateOpen: the sender's host may still be working. AtRest: nothing is under way there.
	GateOpen, AtRest bool
	Heard            Heard
	// Hears are the nodes that the sender has heard lately, in the order of their ids; in heartbeats and presences only.
	Hears []Hearing
	// The following should be the same on all nodes.
	Delay         time.Duration
	Retries       int
	AdapterDigest string
	Members       int
	Preempt       bool
	PreemptDelay  time.Duration
	// Pause is the last word on it that the sender knows.
	Pause Pause
	// Observer: the sender watches and never acts. Witness: it votes and never leads.
	Observer, Witness bool
	// Address is where the sender alone can be reached; empty if nowhere.
	Address string
	// Voters are those that the sender knows; in heartbeats and presences only.
	Voters Voters
}

// Body is one of Heartbeat, Presence, Claim, Answer, Resignation and Ack.
type Body interface {
	fmt.Stringer
	body()
}

// Heartbeat says that a master lives.
type Heartbeat struct {
	Term     Term
	Sequence uint64
	// Members are the other nodes, the one that would claim first first.
	Members []string
	// Liveness is where the life of the master's host can be watched.
	Liveness Liveness
}

// Presence says that any other node lives.
type Presence struct {
	// Asks: who leads? A master answers with a heartbeat at once.
	Asks bool
}

// Claim announces that the sender will lead in Term unless somebody objects in time.
type Claim struct {
	Term Term
	// Standing is frozen when the claim is made, so that all compare the same.
	Standing Standing
	// HeardTerm and HeardSequence are the last heartbeat that the claimant knows of.
	HeardTerm     Term
	HeardSequence uint64
	// Resigned: the master of HeardTerm has resigned.
	Resigned bool
	// Voters is the stamp of the claimant's list of voters.
	Voters Stamp
}

// Verdict is the answer to a claim.
type Verdict uint8

// The verdicts.
const (
	// Grant: the sender misses the master too.
	Grant Verdict = iota + 1
	// Defer: not yet, but the sender knows no more than the claimant.
	Defer
	// Object: the sender has heard a living master that the claimant has not; About.Heard says which.
	Object
)

// String gives the verdict in lower case.
func (v Verdict) String() string {
	switch v {
	case Grant:
		return "grant"
	case Defer:
		return "defer"
	case Object:
		return "object"
	}
	return "unknown"
}

// Answer answers a claim.
type Answer struct {
	Claim   Term
	Verdict Verdict
	// Vote: the sender is a voter, and its grant is on its disk. Without a quorum a grant is only advice.
	Vote bool
	// Highest is the highest number of a term that the sender knows: a claimant that lost its disk goes on above it.
	Highest uint64
}

// Resignation ends a term: its gate is shut, its work at rest.
type Resignation struct {
	Term Term
	// Sequence counts on after the heartbeats of the term.
	Sequence uint64
	// Successor is who shall lead next; empty if that is left to the order.
	Successor string
	// SupersededBy is a later term that the sender knows of: somebody leads in it already. Zero if none.
	SupersededBy Term
}

// Ack is a voter's answer to a heartbeat, to the master alone.
type Ack struct {
	Term     Term
	Sequence uint64
	// Voters is the stamp of the list that the sender has on disk.
	Voters Stamp
}

func (Ack) body()         {}
func (Heartbeat) body()   {}
func (Presence) body()    {}
func (Claim) body()       {}
func (Answer) body()      {}
func (Resignation) body() {}

// String gives the form that traces show.
func (h Heartbeat) String() string {
	return fmt.Sprintf("heartbeat %v/%d [%s]", h.Term, h.Sequence, strings.Join(h.Members, " "))
}

// String gives the form that traces show.
func (p Presence) String() string {
	if p.Asks {
		return "presence, asks"
	}
	return "presence"
}

// String gives the form that traces show.
func (c Claim) String() string {
	text := fmt.Sprintf("claim %v, heard %v/%d", c.Term, c.HeardTerm, c.HeardSequence)
	if c.Resigned {
		text += " resigned"
	}
	return text
}

// String gives the form that traces show.
func (a Answer) String() string { return fmt.Sprintf("%v %v", a.Verdict, a.Claim) }

// String gives the form that traces show.
func (r Resignation) String() string {
	text := fmt.Sprintf("resign %v/%d", r.Term, r.Sequence)
	if r.Successor != "" {
		text += " to " + r.Successor
	}
	if !r.SupersededBy.IsZero() {
		text += ", superseded by " + r.SupersededBy.String()
	}
	return text
}

// String gives the form that traces show.
func (a Ack) String() string { return fmt.Sprintf("ack %v/%d", a.Term, a.Sequence) }
