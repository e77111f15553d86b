package interlok

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strconv"
	"time"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/interlok/packet"
	"github.com/understudy-ha/understudy/failover/interlok/rules"
	"github.com/understudy-ha/understudy/failover/wire"
)

// ErrNotSpoken is returned for what an Interlok cluster has no word for.
var ErrNotSpoken = errors.New("an Interlok cluster has no word for that (failover.wire=interlok)")

// Node is one member of an Interlok cluster. All methods but Run may be called from any goroutine.
type Node struct {
	cfg   Config
	link  Link
	store failover.Store
	log   *slog.Logger
	clock failover.Clock
	saved failover.Saved

	front *failover.Front

	// The rest belongs to the goroutine of Run.
	id             packet.ID
	machine        *rules.Machine
	reportedAt     time.Duration
	sent, received uint64
	dropped        map[string]uint64
	quiet          failover.Quiet
}

// NewNode reads what was saved and prepares a node; nothing runs before Run. The link stays its opener's, who closes it
// when Run has returned. clock may be nil and is failover.SystemClock then.
func NewNode(cfg Config, link Link, store failover.Store, log *slog.Logger, clock failover.Clock) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	saved, err := store.Load()
	if err != nil {
		return nil, err
	}
	if clock == nil {
		clock = failover.SystemClock()
	}
	return &Node{
		cfg: cfg, link: link, store: store, log: log, clock: clock, saved: saved,
		front: failover.NewFront("interlok node"), dropped: make(map[string]uint64),
	}, nil
}

// Run takes part in the cluster until ctx ends, and returns nil then. The others miss a primary that just ends after the
// timeout; resigning first spares those of this implementation the wait. The error says why the node could not go on.
// Run is called once.
func (n *Node) Run(ctx context.Context) error {
	if err := n.front.Begin(); err != nil {
		return err
	}
	defer n.front.End()
	// As failover.Node counts, so that the wire can be changed later.
	n.saved.Boot = max(n.saved.Boot+1, uint64(max(time.Now().UnixNano(), 1)))
	if err := n.store.SaveTerm(n.saved.Term, n.saved.Boot); err != nil {
		n.front.Publish(failover.State{Role: election.Standby, Reason: "stopped: " + err.Error()})
		return err
	}
	var random [16]byte
	_, _ = rand.Read(random[:]) // It never fails.
	cfg := n.cfg.rules()
	n.id = packet.NewID(random)
	cfg.ID, cfg.Host, cfg.Port, cfg.Term = n.id, n.link.Host, n.link.Port, n.saved.Term
	cfg.Start = n.clock()
	n.reportedAt = cfg.Start
	n.machine = rules.New(cfg)
	n.greet()
	err := n.loop(ctx)
	n.front.Publish(failover.State{Role: election.Standby, Reason: "the node has stopped"})
	return err
}

// greet logs what a Java member does at its start.
func (n *Node) greet() {
	n.log.Info("Starting Interlok instance in failover mode as a secondary.", "node", n.cfg.NodeID, "instance", n.id.String(),
		"transport", n.link.Description)
	if n.cfg.Position > 0 {
		n.log.Info("Secondary position " + strconv.Itoa(n.cfg.Position))
	} else {
		n.log.Info("No secondary position has been set, one will be allocated.")
	}
	n.log.Warn("Pings of an Interlok cluster are not authenticated: whoever is on its network can forge them.")
}

func (n *Node) loop(ctx context.Context) error {
	n.step(rules.Tick{At: n.clock()})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(n.machine.Next() - n.clock())
		select {
		case <-ctx.Done():
			return nil
		case packet, ok := <-n.link.Packets():
			if !ok {
				return errors.New("failover: the transport has ended, no pings can be received any more")
			}
			n.receive(packet)
		case call := <-n.front.Calls():
			call()
		case <-timer.C:
			n.step(rules.Tick{At: n.clock()})
		}
	}
}

func (n *Node) receive(p failover.Packet) {
	ping, err := packet.Decode(p.Data)
	if err != nil {
		cause := string(packet.CauseOf(err))
		n.dropped[cause]++
		say := n.log.Debug
		if n.quiet.First(cause, n.clock()) {
			say = n.log.Warn
		}
		say("ping dropped", "cause", cause, "source", p.Source, "error", err)
		return
	}
	if ping.ID == n.id {
		return // Multicast is heard by its sender too.
	}
	if learner, ok := n.link.Transport.(failover.Learner); ok && ping.Port > 0 {
		learner.Learn(net.JoinHostPort(ping.Host, strconv.Itoa(ping.Port)))
	}
	n.received++
	n.step(rules.Received{At: n.clock() - max(time.Since(p.Received), 0), Ping: ping})
}

// step gives the machine an event and does what it says.
func (n *Node) step(event rules.Event) {
	for _, action := range n.machine.Step(event) {
		if err := n.execute(action); err != nil {
			if n.quiet.First("save", n.clock()) {
				n.log.Error("the term could not be saved; this node does not become primary until it can", "error", err)
			}
			n.step(rules.SaveFailed{At: n.clock(), Reason: err.Error()})
			return
		}
	}
	n.publishMachine()
}

// execute does one action. The error is that of SaveTerm: what follows it must not be done then.
func (n *Node) execute(action rules.Action) error {
	switch a := action.(type) {
	case election.SaveTerm:
		return n.store.SaveTerm(min(a.Number, wire.MaxNumber), n.saved.Boot)
	case rules.Send:
		n.send(a)
	case election.Promote:
		n.log.Info("Promoting to PRIMARY", "role", "master", "term", a.Term.String(), "cause", a.Cause.String())
		n.publishMachine()
	case election.Demote:
		// The host hears of it before the other nodes do.
		n.publishMachine()
		say := n.log.Warn
		if a.Planned {
			say = n.log.Info
		}
		say("Demoted to secondary", "role", "standby", "term", a.Term.String(), "reason", a.Reason)
	case rules.Report:
		n.report(a)
	}
	return nil
}

func (n *Node) send(s rules.Send) {
	data, err := packet.Encode(s.Ping)
	for range s.Copies {
		if err == nil {
			err = n.link.Send(data)
		}
	}
	if err == nil {
		n.sent++
		n.quiet.End("send")
		return
	}
	n.dropped["send-failed"]++
	if n.quiet.First("send", n.clock()) {
		n.log.Warn("pings cannot be sent, other members do not hear this one", "error", err)
	}
}

// publishMachine makes the machine's state known if it has changed.
func (n *Node) publishMachine() {
	s := n.machine.State()
	n.front.Publish(failover.State{
		Role: s.Role, Term: s.Term, Leader: s.Leader, Reason: s.Reason,
		Valid: max(s.Lease-n.reportedAt, 0), Takeover: s.Takeover,
	})
}

// State returns the state and a channel that is closed at its next change, renewals of Valid excepted. The state is a
// level: a slow caller may miss steps, but never the last.
func (n *Node) State() (failover.State, <-chan struct{}) { return n.front.State() }

// Report tells how the host is, at least once per failover.delay, and returns the state after it. That the answer comes
// shows that this node's loop is alive.
func (n *Node) Report(ctx context.Context, host election.Host) (failover.State, error) {
	var state failover.State
	err := n.front.Do(ctx, func() {
		n.reportedAt = n.clock()
		n.step(rules.HostChanged{At: n.reportedAt, Host: host})
		state, _ = n.State()
	})
	return state, err
}

// HostLost tells that the host has gone, or has broken with this process. Nothing is vouched for until it reports again.
func (n *Node) HostLost(ctx context.Context) error {
	return n.front.Do(ctx, func() { n.step(rules.HostLost{At: n.clock()}) })
}

// Resign gives up a term: the pings of a primary end. The host's gate must be shut and its work at rest. Members of this
// implementation understand at once, Java waits for its timeout. Who leads next follows from the positions; a successor
// cannot be named on this wire, and is ignored.
func (n *Node) Resign(ctx context.Context, term election.Term, successor string) error {
	return n.front.Do(ctx, func() {
		if successor != "" {
			n.log.Warn("an Interlok cluster cannot be told who shall lead: the positions decide", "successor", successor)
		}
		n.step(rules.Resign{At: n.clock(), Term: term})
	})
}

// Pause cannot be done: Java members could not be told, and would be promoted all the same. To end a pause is no error.
func (n *Node) Pause(_ context.Context, on bool) error {
	if on {
		return fmt.Errorf("pause: %w: Java members would be promoted all the same; stop those that shall not be", ErrNotSpoken)
	}
	return nil
}

// ChangeMembers cannot be done: there are no voters.
func (n *Node) ChangeMembers(context.Context, string, string) ([]string, error) {
	return nil, fmt.Errorf("change the voters: %w: it knows no votes", ErrNotSpoken)
}

// Status returns what is known at this moment. The others are known by the ids of their instances, which are new at each
// start. Their priority is their position, below zero as everywhere.
func (n *Node) Status(ctx context.Context) (failover.Status, error) {
	var status failover.Status
	err := n.front.Do(ctx, func() {
		now := n.clock()
		n.step(rules.Tick{At: now})
		status = failover.Status{
			NodeID: n.cfg.NodeID, Since: now - n.machine.State().Since, Sent: n.sent, Received: n.received,
			Dropped: maps.Clone(n.dropped), Order: n.machine.Order(),
		}
		status.State, _ = n.State()
		status.Lease = max(n.machine.State().Lease-now, 0)
		for _, member := range n.machine.Members() {
			status.Peers = append(status.Peers, failover.Peer{ID: member.ID, Age: now - member.At, About: about(member)})
		}
	})
	return status, err
}

// about is what can be said of a member: who pings could lead.
func about(member rules.Member) election.About {
	a := election.About{
		Role: election.Standby, CanLead: member.Position != rules.Goodbye, Address: member.Address,
		Standing: election.Standing{Priority: -member.Position},
	}
	if member.Primary {
		a.Role, a.Heard = election.Master, election.Heard{Term: member.Term}
	}
	return a
}

// AwaitMaster returns nil as soon as this node is the primary, else the error of ctx, or failover.ErrStopped.
func (n *Node) AwaitMaster(ctx context.Context) error { return n.front.AwaitMaster(ctx) }
