package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/plugins/contract"
)

// departure is why a mastership ends, and how.
type departure struct {
	what   ChangeKind
	reason string
	// to is who shall lead next; empty for the best of those that are there.
	to string
	// patience is how long the work may take to finish what is under way.
	patience time.Duration
	// failure is why the workload cannot go on here; nil if it can.
	failure error
	// done is told how it went, if somebody waits; capacity 1.
	done chan<- departed
}

type departed struct {
	result HandoverResult
	err    error
}

// tell answers whoever waits for the end of the departure.
func (d departure) tell(result HandoverResult, err error) {
	if d.done != nil {
		d.done <- departed{result, err}
	}
}

// HandoverRequest asks a master to make room.
type HandoverRequest struct {
	// To is the node that shall lead; empty for the best one.
	To string
	// Timeout is how long what is under way may take to be finished; 0 for Options.StopTimeout.
	Timeout time.Duration
	// Reason is for the log.
	Reason string
}

// HandoverResult is how a handover went.
type HandoverResult struct {
	// Term was given up; To leads now, in NewTerm.
	Term    contract.Term
	To      string
	NewTerm contract.Term
	// Drain is how long finishing what was under way took, Takeover how long after the resignation To led.
	Drain, Takeover time.Duration
	// Missed: the time for that was over before everything was finished. Unfinished names what was left, and Fate says
	// what becomes of it.
	Missed     bool
	Unfinished []string
	Fate       string
}

// ErrRefused is wrapped by the error of a request that makes no sense now; its text says why, and what would.
var ErrRefused = errors.New("refused")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// Handover makes another node the master, and returns when it leads. The work is finished first: nothing new is
// received, what is under way has until the timeout. It is refused, with the reason for each node, when none could
// lead. ctx bounds the wait for the answer; a handover that has begun goes on without anybody who waits.
func (n *Node) Handover(ctx context.Context, request HandoverRequest) (HandoverResult, error) {
	if err := n.mayHandOver(); err != nil {
		return HandoverResult{}, err
	}
	to, err := n.heir(ctx, request.To)
	if err != nil {
		return HandoverResult{}, err
	}
	done := make(chan departed, 1)
	d := departure{what: HandedOver, reason: request.Reason, to: to, patience: request.Timeout, done: done}
	if d.patience <= 0 {
		d.patience = n.opt.StopTimeout
	}
	if d.reason == "" {
		d.reason = "handed over to " + to
	}
	for begun := false; !begun; {
		_, changed := n.election.role()
		if err := n.mayHandOver(); err != nil {
			return HandoverResult{}, err
		}
		select {
		case n.orders <- d:
			begun = true
		case <-changed:
		case <-ctx.Done():
			return HandoverResult{}, context.Cause(ctx)
		}
	}
	select {
	case end := <-done:
		return end.result, end.err
	case <-ctx.Done():
		return HandoverResult{}, fmt.Errorf("the handover to %s has begun and goes on, but nobody waits for it any more: %w", to, context.Cause(ctx))
	}
}

// mayHandOver returns why this node has nothing to hand over.
func (n *Node) mayHandOver() error {
	if !n.opt.Failover {
		return refused("this node runs without failover, so nobody could take over")
	}
	role, _ := n.election.role()
	if role.Role != contract.RoleMaster {
		if role.MasterID == "" {
			return refused("this node is a %s, and nobody is known to lead", roleName(role.Role))
		}
		return refused("this node is a %s; %s leads. Ask there: bootstrap handover, on the machine of %s with its data.dir",
			roleName(role.Role), role.MasterID, role.MasterID)
	}
	n.mu.Lock()
	phase := n.phase
	n.mu.Unlock()
	if phase != PhaseRunning {
		return refused("this node leads, but its work is not running (%s); try again when it is", phase)
	}
	if g := n.gate.State(); !g.Open {
		return refused("the lease of this node has lapsed: a majority of the voters has not been heard in time, so nobody could be told")
	}
	return nil
}

func roleName(r contract.Role) string {
	if r == 0 {
		return "node without an election (its failover plugin is down)"
	}
	return r.String() + " node"
}

// heir picks who shall lead next: the node that was asked for, or the first in the election's order that can.
func (n *Node) heir(ctx context.Context, asked string) (string, error) {
	plugin, up, _ := n.election.link.get()
	if !up {
		return "", refused("the failover plugin is down")
	}
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	election, err := plugin.Status(ctx)
	if err != nil {
		return "", fmt.Errorf("ask the election who could lead: %w", err)
	}
	if election.Paused {
		return "", refused("the cluster is paused (by %s): nobody would be promoted; bootstrap resume ends that", orUnknown(election.PausedBy))
	}
	if asked == n.opt.NodeID {
		return "", refused("%s leads already", asked)
	}
	peers := inOrder(election)
	if asked != "" {
		peers = slices.DeleteFunc(peers, func(p contract.ElectionPeer) bool { return p.NodeID != asked })
		if len(peers) == 0 {
			return "", refused("no node %s is known here; known are: %s", asked, names(inOrder(election)))
		}
	}
	if len(peers) == 0 {
		return "", refused("no other node is known, so nobody could take over")
	}
	mirrors := n.mirrorPeers(ctx)
	var reasons []string
	for _, p := range peers {
		why := n.whyNot(p, mirrors)
		if why == "" {
			return p.NodeID, nil
		}
		reasons = append(reasons, p.NodeID+": "+why)
	}
	return "", refused("nobody could take over now\n%s", strings.Join(reasons, "\n"))
}

func orUnknown(name string) string {
	if name == "" {
		return "an unknown node"
	}
	return name
}

// inOrder returns the other nodes, best first.
func inOrder(s contract.ElectionStatus) []contract.ElectionPeer {
	rank := func(p contract.ElectionPeer) int {
		if i := slices.Index(s.Order, p.NodeID); i >= 0 {
			return i
		}
		return len(s.Order)
	}
	peers := slices.Clone(s.Peers)
	slices.SortStableFunc(peers, func(a, b contract.ElectionPeer) int { return rank(a) - rank(b) })
	return slices.DeleteFunc(peers, func(p contract.ElectionPeer) bool { return p.NodeID == s.NodeID })
}

func names(peers []contract.ElectionPeer) string {
	var ids []string
	for _, p := range peers {
		ids = append(ids, p.NodeID)
	}
	if len(ids) == 0 {
		return "none"
	}
	return strings.Join(ids, ", ")
}

// mirrorPeers is how the mirror sees the others, by their ids; nil if there is no mirror to ask.
func (n *Node) mirrorPeers(ctx context.Context) map[string]contract.MirrorPeer {
	plugin, up, _ := n.mirror.get()
	if !n.opt.Mirror || !up {
		return nil
	}
	status, err := plugin.Status(ctx)
	if err != nil {
		return nil
	}
	peers := map[string]contract.MirrorPeer{}
	for _, p := range status.Peers {
		peers[p.NodeID] = p
	}
	return peers
}

// whyNot says why a node cannot lead next; empty if it can. Its own word about its mirror may be some time old, the
// mirror's is not.
func (n *Node) whyNot(p contract.ElectionPeer, mirrors map[string]contract.MirrorPeer) string {
	mirror, known := mirrors[p.NodeID]
	switch {
	case p.Witness:
		return "it is a witness: it votes, and never leads"
	case p.Observer:
		return "it only observes"
	case p.Age > 2*cmp.Or(n.opt.Beat, n.opt.Delay):
		return fmt.Sprintf("it has not been heard for %s", p.Age.Round(time.Millisecond))
	case !p.CanLead:
		return "it cannot lead; bootstrap status says why, there"
	case !n.opt.Mirror || n.opt.Unnamed:
		return ""
	case known && !mirror.InSync:
		return fmt.Sprintf("its mirror is not in sync, %d entries behind", mirror.LagEntries)
	case !known && !p.InSync:
		return "its mirror is not in sync"
	}
	return ""
}

// follow waits for the next master after a resignation, and completes the report and the answer.
func (n *Node) follow(ctx context.Context, term contract.Term, resigned time.Duration, d departure, c Change, result HandoverResult) {
	patience := 2*n.opt.Patience + n.opt.Delay
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("nobody has taken over within %s", patience))
	defer cancel()
	role, heard, err := n.election.succession(ctx, term)
	result.Takeover = max(0, heard-resigned)
	switch {
	case err != nil:
		err = fmt.Errorf("the role was given up, but %w; this node stands for election again", err)
	case role.Role == contract.RoleMaster:
		err = errors.New("the role was given up, but nobody took it: this node leads again, in term " + role.Term.String())
	default:
		result.To, result.NewTerm = role.MasterID, role.MasterTerm
		c.Ended.Successor, c.Ended.SuccessorTerm, c.Ended.Takeover = role.MasterID, role.MasterTerm.String(), Millis(result.Takeover)
	}
	if err != nil && d.what == HandedOver {
		n.log.Warn("the handover did not come to its end", "to", d.to, "error", err)
	}
	n.report(c)
	d.tell(result, err)
}
