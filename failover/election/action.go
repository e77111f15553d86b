package election

import "fmt"

// Action is what Step returns: Send, SaveTerm, SaveVote, SavePause, Promote, Demote, SaveNodes or Report. They are executed in the
// order in which they come, and the order has a meaning:
//
//   - SaveTerm comes before everything that carries its term, SaveVote before everything that promises what it holds:
//     they must be on disk before the next action is executed;
//   - Demote comes before any message that says so: shut first, then speak;
//   - a heartbeat comes before its Promote, so that the others hear of the term as early as this host, and
//     Promote never comes in the same step as the SaveTerm of its term.
type Action interface {
	fmt.Stringer
	action()
}

// Send sends a message to all nodes, or to one if To is not empty.
type Send struct {
	To      string
	Message Message
}

// SaveTerm keeps the highest number ever claimed or followed here, on disk.
type SaveTerm struct{ Number uint64 }

// SaveVote keeps what a voter must not forget, on disk.
type SaveVote struct{ Vote Vote }

// SavePause keeps the last word on promotions, for the next start.
type SavePause struct{ Pause Pause }

// Promote makes this node the master of a term.
type Promote struct {
	Term Term
	// After is the term of the master that it missed, for the reason Cause; zero if there was none.
	After    Term
	Cause    Cause
	Takeover Takeover
}

// Demote ends the mastership of a term. The host may be working still: it has to shut its gate.
type Demote struct {
	Term   Term
	Reason string
	// Planned: the host has asked for it.
	Planned bool
}

// SaveNodes keeps the ids of the other nodes of the cluster, for the next start. It may be late or fail.
type SaveNodes struct{ Nodes []string }

// Report tells people what goes on. It needs no doing.
type Report struct {
	Kind ReportKind
	// Peer is the other node concerned, if there is one.
	Peer string
	Text string
}

// ReportKind sorts reports.
type ReportKind uint8

// The kinds of reports.
const (
	// Progress is the normal course: suspicion, claims, who is followed.
	Progress ReportKind = iota + 1
	// Conflict: two masters have heard of each other.
	Conflict
	// Objected: a claim was stopped by somebody who hears a living master.
	Objected
	// Muted: the host is silent, so the heartbeat is too; Unmuted ends it.
	Muted
	Unmuted
	// Stalled: this process did not run for longer than one delay.
	Stalled
	// Unclean: this node leads although its mirror was not in sync.
	Unclean
	// DuplicateID: another running node has this node's id.
	DuplicateID
	// Disagreement: a peer has other settings.
	Disagreement
	// Contradicted: a master was heard after there had been evidence of its death.
	Contradicted
	// SecondHand: the master is heard only through others.
	SecondHand
	// OldBoot: a message of an earlier life of a node was dropped.
	OldBoot
	// Crowded: a node was ignored because MaxPeers others are known.
	Crowded
	// Impossible: a message that contradicts itself was dropped.
	Impossible
	// Paused: nobody is promoted until that is revoked.
	Paused
	// Lapsed: no majority acknowledges this master; its host must not work.
	Lapsed
	// Observed is what an observer would have done.
	Observed
)

// String gives the kind as a counter's name.
func (k ReportKind) String() string {
	names := [...]string{"unknown", "progress", "conflict", "objected", "muted", "unmuted", "stalled", "unclean",
		"duplicate-id", "disagreement", "contradicted", "second-hand", "old-boot", "crowded", "impossible",
		"paused", "lapsed", "observed"}
	if int(k) >= len(names) {
		return names[0]
	}
	return names[k]
}

func (Send) action()      {}
func (SaveTerm) action()  {}
func (SaveVote) action()  {}
func (SavePause) action() {}
func (Promote) action()   {}
func (Demote) action()    {}
func (SaveNodes) action() {}
func (Report) action()    {}

// String gives the form that traces show.
func (s Send) String() string {
	if s.To != "" {
		return "send " + s.To + " " + s.Message.Body.String()
	}
	return "send " + s.Message.Body.String()
}

// String gives the form that traces show.
func (s SaveVote) String() string {
	v := s.Vote
	text := fmt.Sprintf("save vote: granted %v, voters %d/%d %v", v.Granted, v.Voters.Stamp.Number, v.Voters.Stamp.Count, v.Voters.IDs)
	if !v.Voters.Settled {
		text += ", proposed"
	}
	if !v.Member {
		text += ", no member"
	}
	return text
}

// String gives the form that traces show.
func (s SavePause) String() string {
	return fmt.Sprintf("save pause: %v by %s", s.Pause.On, s.Pause.Node)
}

// String gives the form that traces show.
func (s SaveTerm) String() string { return fmt.Sprintf("save term %d", s.Number) }

// String gives the form that traces show.
func (p Promote) String() string { return fmt.Sprintf("promote %v: %v", p.Term, p.Cause) }

// String gives the form that traces show.
func (d Demote) String() string { return fmt.Sprintf("demote %v: %s", d.Term, d.Reason) }

// String gives the form that traces show.
func (s SaveNodes) String() string { return fmt.Sprintf("save nodes %v", s.Nodes) }

// String gives the form that traces show.
func (r Report) String() string {
	if r.Peer == "" {
		return fmt.Sprintf("report %v: %s", r.Kind, r.Text)
	}
	return fmt.Sprintf("report %v, peer %s: %s", r.Kind, r.Peer, r.Text)
}
