package failover

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/wire"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

// State is what the election says of this node.
type State struct {
	// Role is Starting, Standby or Master.
	Role election.Role
	// Term is the one held while Role is Master.
	Term election.Term
	// Leader is the term of the master that this node believes in, itself included; zero if there is none.
	Leader election.Term
	// Valid is how long after the last Report the host may work. 0 if it may not.
	Valid time.Duration
	// Reason is for people.
	Reason string
	// Takeover tells how this mastership came about; nil while Role is not Master.
	Takeover *election.Takeover
	// Handover is the election's wish that this master make room for another node; zero if there is none.
	Handover election.Handover
}

// Status is for people and metrics.
type Status struct {
	NodeID string
	State  State
	// Since is how long the role has been what it is.
	Since time.Duration
	Peers []Peer
	// Dropped counts datagrams by cause.
	Dropped        map[string]uint64
	Sent, Received uint64
	// Watched is the master's host whose process is watched; its Term is zero if there is none. WatchConnected: it
	// has been met, so that its crash would be noticed at once.
	Watched        election.Watch
	WatchConnected bool
	Pause          election.Pause
	// Quorum is nil if there is none; Acknowledged is then how long ago each voter last acknowledged this master.
	Quorum       *election.Quorum
	Acknowledged map[string]time.Duration
	// Lease is how long what the majority has given still lasts; 0 if this node does not lead, or it has lapsed.
	Lease time.Duration
	// Order is who would lead next, best first.
	Order []string
}

// Peer is another node, as this one heard it.
type Peer struct {
	ID string
	// Age is since anything was last heard from it.
	Age   time.Duration
	About election.About
}

// Node is one member of the cluster. All methods but Run may be called from any goroutine.
type Node struct {
	cfg       Config
	transport Transport
	store     Store
	log       *slog.Logger
	clock     Clock
	codec     *wire.Codec
	replay    *wire.Replay // nil without keys
	saved     Saved
	watcher   *watcher // nil without evidence

	front *Front

	// The rest belongs to the goroutine of Run.
	machine        *election.Machine
	reportedAt     time.Duration
	watched        election.Watch
	sent, received uint64
	dropped        map[string]uint64
	quiet          Quiet
}

// NewNode reads what was saved and prepares a node; nothing runs before Run. The transport stays its opener's,
// who closes it when Run has returned. clock and dial may be nil and are SystemClock and NetDialer then.
func NewNode(cfg Config, transport Transport, store Store, log *slog.Logger, clock Clock, dial Dialer) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	saved, err := store.Load()
	if err != nil {
		return nil, err
	}
	codec, err := wire.NewCodec(cfg.Cluster, cfg.Keys)
	if err != nil {
		return nil, err
	}
	if clock == nil {
		clock = SystemClock()
	}
	if dial == nil {
		dial = NetDialer()
	}
	n := &Node{
		cfg: cfg, transport: transport, store: store, log: log, clock: clock, codec: codec, saved: saved,
		front: NewFront("failover node"), dropped: make(map[string]uint64),
	}
	if codec.Sealed() {
		n.replay = wire.NewReplay(saved.Boots)
	}
	if cfg.Evidence {
		n.watcher = newWatcher(cfg, dial, clock, log)
	}
	if cfg.SocketMode == TCP {
		log.Info("Creating listener...", "port", cfg.TCPPort, "peers", cfg.TCPPeers)
	} else {
		log.Info("Creating listener...", "group", cfg.Group, "port", cfg.Port, "interface", cfg.Interface)
	}
	log.Info("Creating broadcaster...", "delay", cfg.Delay.String(), "retries", cfg.Retries)
	return n, nil
}

// Run takes part in the election until ctx ends, and returns nil then. A master that just ends is missed after
// delay × retries: resign first. The error says why the node could not go on. Run is called once.
func (n *Node) Run(ctx context.Context) error {
	if err := n.front.Begin(); err != nil {
		return err
	}
	defer n.front.End()
	// Later than any earlier start, even if somebody has set the clock back meanwhile.
	boot := max(n.saved.Boot+1, uint64(max(time.Now().UnixNano(), 1)))
	if err := n.store.SaveTerm(n.saved.Term, boot); err != nil {
		n.front.Publish(State{Role: election.Standby, Reason: "stopped: " + err.Error()})
		return err
	}
	n.saved.Boot = boot
	now := n.clock()
	n.reportedAt = now
	n.machine = election.New(election.Config{
		ID: n.cfg.NodeID, Boot: boot, Start: now, Delay: n.cfg.Delay, Retries: n.cfg.Retries,
		Priority: n.cfg.Priority, Term: n.saved.Term, Nodes: n.saved.Nodes, AdapterDigest: n.cfg.AdapterDigest,
		Members: n.cfg.Members, Vote: n.saved.Vote, Pause: n.saved.Pause, Drift: n.cfg.Drift, Evidence: n.cfg.Evidence,
		Unclean: n.cfg.Unclean,
		Preempt: n.cfg.Preempt, PreemptDelay: n.cfg.PreemptDelay, Observer: n.cfg.Observer, Witness: n.cfg.Witness,
		Address: n.unicastAddress(), Introduce: n.learns(),
	})
	n.log.Info("Started listener")
	n.log.Info("Started broadcaster")
	n.log.Info("Failover Manager has started", "node", n.cfg.NodeID, "cluster", n.cfg.Cluster)

	err := n.loop(ctx)
	n.front.Publish(State{Role: election.Standby, Reason: "the node has stopped"})
	return err
}

func (n *Node) loop(ctx context.Context) error {
	var gone chan election.PeerGone
	if n.watcher != nil {
		gone = n.watcher.gone
		life, cancel := context.WithCancel(ctx)
		var watching sync.WaitGroup
		watching.Go(func() { n.watcher.run(life) })
		defer watching.Wait()
		defer cancel()
	}
	n.step(election.Tick{At: n.clock()})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(n.machine.Next() - n.clock())
		select {
		case <-ctx.Done():
			return nil
		case packet, ok := <-n.transport.Packets():
			if !ok {
				return errors.New("failover: the transport has ended, no datagrams can be received any more")
			}
			n.receive(packet)
		case evidence := <-gone:
			n.step(evidence)
		case call := <-n.front.Calls():
			call()
		case <-timer.C:
			n.step(election.Tick{At: n.clock()})
		}
	}
}

func (n *Node) receive(packet Packet) {
	datagram, err := n.codec.Decode(packet.Data)
	if err == nil {
		err = n.admit(datagram)
	}
	if err != nil {
		cause := wire.CauseOf(err)
		n.dropped[string(cause)]++
		n.log.Debug("datagram dropped", "cause", string(cause), "source", packet.Source, "error", err)
		return
	}
	msg := fromDatagram(datagram)
	if msg.From != n.cfg.NodeID {
		n.received++
		n.learn(msg.About)
	}
	n.step(election.Received{At: n.clock() - max(time.Since(packet.Received), 0), Message: msg})
}

// admit sees that a datagram is no recording. Who has no keys cannot tell.
func (n *Node) admit(datagram *failoverv1.Datagram) error {
	if n.replay == nil {
		return nil
	}
	fresh, err := n.replay.Admit(datagram.GetNodeId(), datagram.GetBootId(), datagram.GetSequence())
	if fresh {
		if err := n.store.SaveBoots(n.replay.Boots()); err != nil && n.quiet.First("save boots", n.clock()) {
			n.log.Warn("that a node has been started could not be saved: after a restart of this one recordings of its earlier life may be believed for a while", "error", err)
		}
	}
	return err
}

// step gives the machine an event and does what it says.
func (n *Node) step(event election.Event) {
	for _, action := range n.machine.Step(event) {
		if err := n.execute(action); err != nil {
			if n.quiet.First("save", n.clock()) {
				n.log.Error("the election's term or vote could not be saved; this node does not stand for election until it can", "error", err)
			}
			n.step(election.SaveFailed{At: n.clock(), Reason: err.Error()})
			return
		}
	}
	n.publishMachine()
	n.watchMaster()
}

// watchMaster turns the watcher to the master in whom the machine believes.
func (n *Node) watchMaster() {
	if watch := n.machine.Watch(); n.watcher != nil && watch != n.watched {
		n.watched = watch
		n.watcher.turn(watch)
	}
}

// execute does one action. The error is that of SaveTerm or SaveVote: what follows it must not be done then.
func (n *Node) execute(action election.Action) error {
	switch a := action.(type) {
	case election.SaveTerm:
		return n.store.SaveTerm(a.Number, n.saved.Boot)
	case election.SaveVote:
		return n.store.SaveVote(a.Vote)
	case election.SavePause:
		if err := n.store.SavePause(a.Pause); err != nil {
			n.log.Error("that promotions are paused, or not, could not be saved: it will be forgotten at the next start if no other node knows it", "error", err)
		}
	case election.Send:
		n.send(a)
	case election.Promote:
		n.log.Info("Promoted to Master node", "role", "master", "term", a.Term.String(), "cause", a.Cause.String())
		n.publishMachine()
		n.log.Info("Failover Manager has been promoted", "role", "master", "term", a.Term.String())
	case election.Demote:
		// The host hears of it before the other nodes do.
		n.publishMachine()
		say := n.log.Warn
		if a.Planned {
			say = n.log.Info
		}
		say("Demoted to standby", "role", "standby", "term", a.Term.String(), "reason", a.Reason)
	case election.SaveNodes:
		if err := n.store.SaveNodes(a.Nodes); err != nil {
			n.log.Warn("the list of nodes could not be saved; the next start may take a little longer", "error", err)
		}
	case election.Report:
		n.report(a)
	}
	return nil
}

// publishMachine makes the machine's state known if it has changed.
func (n *Node) publishMachine() {
	s := n.machine.State()
	n.front.Publish(State{
		Role: s.Role, Term: s.Term, Leader: s.Leader, Reason: s.Reason,
		Valid: max(s.Lease-n.reportedAt, 0), Takeover: s.Takeover, Handover: s.Handover,
	})
}

// State returns the state and a channel that is closed at its next change, renewals of Valid excepted. The
// state is a level: a slow caller may miss steps, but never the last.
func (n *Node) State() (State, <-chan struct{}) { return n.front.State() }

// Report tells how the host is, at least once per delay, and returns the state after it. That the answer comes
// shows that this node's loop is alive.
func (n *Node) Report(ctx context.Context, host election.Host) (State, error) {
	var state State
	err := n.front.Do(ctx, func() {
		n.reportedAt = n.clock()
		n.step(election.HostChanged{At: n.reportedAt, Host: host})
		state, _ = n.State()
	})
	return state, err
}

// HostLost tells that the host has gone, or has broken with this process. Nothing is vouched for until it reports
// again: what it does is not known any more.
func (n *Node) HostLost(ctx context.Context) error {
	return n.front.Do(ctx, func() { n.step(election.HostLost{At: n.clock()}) })
}

// Resign gives up a term, and tells the others before it returns. The host's gate must be shut and its work at
// rest. To resign a term that is not held is no error. successor is who shall lead next, if not empty.
func (n *Node) Resign(ctx context.Context, term election.Term, successor string) error {
	return n.front.Do(ctx, func() { n.step(election.Resign{At: n.clock(), Term: term, Successor: successor}) })
}

// Status returns what is known at this moment.
func (n *Node) Status(ctx context.Context) (Status, error) {
	var status Status
	err := n.front.Do(ctx, func() {
		now := n.clock()
		n.step(election.Tick{At: now})
		status = Status{
			NodeID: n.cfg.NodeID, Since: now - n.machine.State().Since, Sent: n.sent, Received: n.received,
			Dropped: make(map[string]uint64, len(n.dropped)),
		}
		status.State, _ = n.State()
		status.Pause, status.Order = n.machine.Pause(), n.machine.Order()
		if q, ok := n.machine.Quorum(); ok {
			status.Quorum = &q
			status.Lease = max(n.machine.State().Lease-now, 0)
			status.Acknowledged = make(map[string]time.Duration, len(q.Acknowledged))
			for id, at := range q.Acknowledged {
				status.Acknowledged[id] = now - at
			}
		}
		if n.watcher != nil {
			status.Watched, status.WatchConnected = n.watched, n.watcher.connected(n.watched)
		}
		for cause, count := range n.dropped {
			status.Dropped[cause] = count
		}
		for _, peer := range n.machine.Peers() {
			status.Peers = append(status.Peers, Peer{ID: peer.ID, Age: now - peer.At, About: peer.About})
		}
	})
	return status, err
}

// AwaitMaster returns nil as soon as this node is the master, else the error of ctx, or ErrStopped.
func (n *Node) AwaitMaster(ctx context.Context) error { return n.front.AwaitMaster(ctx) }
