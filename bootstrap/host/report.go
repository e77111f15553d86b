package host

import (
	"encoding/json"
	"log/slog"
	"math"
	"time"

	"github.com/understudy-ha/understudy/plugins/contract"
)

// ChangeKind is a kind of change of role.
type ChangeKind string

// The kinds.
const (
	// Promotion: this node became the master, and its workload runs.
	Promotion ChangeKind = "promotion"
	// Demotion: it is no longer the master, and nobody was named to follow.
	Demotion ChangeKind = "demotion"
	// HandedOver: it gave the role to another node.
	HandedOver ChangeKind = "handover"
)

// Millis is a duration that is written to JSON as milliseconds, to a microsecond.
type Millis time.Duration

// MarshalJSON implements json.Marshaler.
func (m Millis) MarshalJSON() ([]byte, error) {
	return json.Marshal(math.Round(float64(m)/float64(time.Microsecond)) / 1000)
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Millis) UnmarshalJSON(text []byte) error {
	var ms float64
	if err := json.Unmarshal(text, &ms); err != nil {
		return err
	}
	*m = Millis(ms * float64(time.Millisecond))
	return nil
}

// LogValue implements slog.LogValuer.
func (m Millis) LogValue() slog.Value {
	return slog.Float64Value(math.Round(float64(m)/float64(time.Microsecond)) / 1000)
}

// Change is the report of one change of role. A lease that lapses and comes back in the same term is none.
type Change struct {
	What    ChangeKind `json:"what"`
	Node    string     `json:"node"`
	Cluster string     `json:"cluster"`
	// Term is the one that was taken, or that was given up.
	Term string    `json:"term"`
	Time time.Time `json:"time"`
	// Reason is why the last master was missed, or why this one no longer leads.
	Reason string `json:"reason"`

	Promoted *PromotionReport `json:"promotion,omitempty"`
	Ended    *EndReport       `json:"end,omitempty"`
}

// PromotionReport is how a takeover went. The times follow each other.
type PromotionReport struct {
	// After is the term of the last master; empty if none was ever heard.
	After string `json:"after,omitempty"`
	// Heard is when each other node had last been heard before the promotion.
	Heard []HeardReport `json:"heard,omitempty"`
	// Detection is from the last sign of life of the last master to the suspicion, Wait from there to the claim, Claim
	// to the promotion, Gate to the opening of the gate (with a quorum: the first lease), Seal to the mirror under
	// the new term, Start to the running workload.
	Detection Millis `json:"detection_ms"`
	Wait      Millis `json:"wait_ms"`
	Claim     Millis `json:"claim_ms"`
	Gate      Millis `json:"gate_ms"`
	Seal      Millis `json:"seal_ms"`
	Start     Millis `json:"start_ms"`
	// InFlight is what the mirror had; it was replayed (or waits for its source to deliver it again), held or dropped.
	InFlight int `json:"in_flight"`
	Replayed int `json:"replayed"`
	Held     int `json:"held"`
	Dropped  int `json:"dropped"`
	// MirrorFrom is the node that had more of the mirror, if it was taken from one.
	MirrorFrom string `json:"mirror_from,omitempty"`
}

// HeardReport is when a node had last been heard.
type HeardReport struct {
	Node string `json:"node"`
	Age  Millis `json:"age_ms"`
}

// EndReport is how a mastership ended.
type EndReport struct {
	// Drain is how long finishing what was under way took; Missed says that its deadline came first, and Unfinished
	// names the messages that are not done, whatever the cause. Fate says what becomes of them.
	Drain      Millis   `json:"drain_ms"`
	Missed     bool     `json:"deadline_missed"`
	Unfinished []string `json:"unfinished,omitempty"`
	// UnfinishedCount counts them all; the names are bounded.
	UnfinishedCount int    `json:"unfinished_count"`
	Fate            string `json:"fate,omitempty"`
	// To is the node that was to follow; empty if nobody was named.
	To string `json:"to,omitempty"`
	// Successor leads now, in SuccessorTerm, Takeover after the resignation was said; empty if nobody came in time.
	Successor     string `json:"successor,omitempty"`
	SuccessorTerm string `json:"successor_term,omitempty"`
	Takeover      Millis `json:"takeover_ms,omitempty"`
}

// maxUnfinishedNames bounds the names in a report.
const maxUnfinishedNames = 100

// promotionReport begins the report of a promotion with what the election knows.
func (n *Node) promotionReport(term contract.Term) Change {
	c := n.change(Promotion, term, "")
	p := &PromotionReport{}
	c.Promoted = p
	role, since := n.election.roleSince()
	c.Reason, p.Gate = role.Reason, Millis(since)
	if t := role.Takeover; t != nil && role.Term == term {
		c.Reason = t.Cause
		if !t.After.IsZero() {
			p.After = t.After.String()
		}
		p.Detection, p.Wait, p.Claim = Millis(t.Detection), Millis(t.Wait), Millis(t.Claim)
		for _, h := range t.Heard {
			p.Heard = append(p.Heard, HeardReport{Node: h.NodeID, Age: Millis(h.Age)})
		}
	}
	return c
}

func (n *Node) change(what ChangeKind, term contract.Term, reason string) Change {
	return Change{
		What: what, Node: n.opt.NodeID, Cluster: n.opt.Cluster, Term: term.String(), Time: n.opt.Now(), Reason: reason,
	}
}

// report writes one line to the log and hands the report on. It does not wait for a disk.
func (n *Node) report(c Change) {
	attrs := []any{"what", string(c.What), "term", c.Term, "reason", c.Reason}
	if p := c.Promoted; p != nil {
		attrs = append(attrs, "after", p.After, "detection_ms", p.Detection, "wait_ms", p.Wait, "claim_ms", p.Claim, "gate_ms", p.Gate,
			"seal_ms", p.Seal, "start_ms", p.Start, "in_flight", p.InFlight, "replayed", p.Replayed, "held", p.Held, "dropped", p.Dropped)
	}
	if e := c.Ended; e != nil {
		attrs = append(attrs, "drain_ms", e.Drain, "unfinished", e.UnfinishedCount)
		if e.Successor != "" {
			attrs = append(attrs, "successor", e.Successor, "successor_term", e.SuccessorTerm, "takeover_ms", e.Takeover)
		}
	}
	n.log.Info("takeover report", attrs...)
	if n.opt.Changed == nil {
		return
	}
	select {
	case n.changes <- c:
	default:
		n.log.Warn("a takeover report was not kept: the ones before it are still being written", "term", c.Term, "what", string(c.What))
	}
}

// keepReports hands the reports on until changes is closed.
func (n *Node) keepReports() {
	for c := range n.changes {
		n.opt.Changed(c)
	}
}
