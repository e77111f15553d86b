package election

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// MaxPeers is how many other nodes a machine keeps track of. More are ignored, and reported, so that a flood of
// invented ids costs no memory.
const MaxPeers = 64

// Config is what a machine must know from the start. It is not checked here: package failover does.
type Config struct {
	// ID is the node's own, Boot a number that is greater than at any earlier start.
	ID   string
	Boot uint64
	// Start is the time of the start, by the same clock as the events.
	Start time.Duration
	// Delay is the time between heartbeats, Retries how many of them may be missing.
	Delay    time.Duration
	Retries  int
	Priority int
	// Term is the highest number that was ever saved, 0 if none.
	Term uint64
	// Nodes are the other nodes that were ever saved.
	Nodes []string
	// AdapterDigest is shown to the others.
	AdapterDigest string
	// Members is how many nodes are enrolled as voters when the cluster is born; 0: there is no quorum.
	Members int
	// Vote and Pause are what was saved.
	Vote  Vote
	Pause Pause
	// Drift is by which part the rate of any clock may differ from the true one, at most.
	Drift float64
	// Evidence frees voters: without a quorum it always counts.
	Evidence bool
	// Preempt: a node of higher priority that has been there for PreemptDelay takes over from a healthy master.
	Preempt      bool
	PreemptDelay time.Duration
	// Unclean: a node whose mirror is not in sync may lead when nobody else can.
	Unclean bool
	// Observer watches and never acts. Witness votes and never leads.
	Observer, Witness bool
	// Address is where this node alone can be reached; shown to the others.
	Address string
	// Introduce: the addresses of the nodes that are heard are shown as well, so that the others can reach them.
	Introduce bool
}

// Lease is how long an acknowledgement of a majority is good for: S less what both clocks may be wrong.
func (c Config) Lease() time.Duration {
	return time.Duration(float64(c.Suspicion()) * (1 - c.Drift) / (1 + c.Drift))
}

// Suspicion is how long a master may be silent: S in the documents.
func (c Config) Suspicion() time.Duration { return c.Delay * time.Duration(c.Retries) }

// Stagger is how much later each next candidate claims: longer than a claim needs to arrive (a fraction of a
// millisecond, some milliseconds on a busy machine), short against anything a person notices.
func (c Config) Stagger() time.Duration { return min(c.Delay/10, 10*time.Millisecond) }

// Window is how long a claim waits for those who do not answer. It is repeated twice in that time.
func (c Config) Window() time.Duration { return 10 * c.Stagger() }

// LastWord is how long a claim on evidence waits at least. A refusal can be forged, and this is several times what
// a claim and the master's objection need on a local network.
const LastWord = 3 * time.Millisecond

// HostSilence is how long the host may be silent before the machine stops to vouch for it.
func (c Config) HostSilence() time.Duration { return 2 * c.Delay }

// Machine is one node's part in the election. It is not safe for concurrent use.
type Machine struct {
	cfg Config
	now time.Duration
	out []Action

	role   Role
	since  time.Duration
	reason string

	// sequence counts the messages sent; highest is the highest term number ever heard or saved, saved the one
	// on disk.
	sequence uint64
	highest  uint64
	saved    uint64

	host   Host
	hostAt time.Duration // never, before the first report

	peers map[string]*peer
	known map[string]bool // ids on disk
	// twinAt is when a later start of this very node was heard.
	twinAt time.Duration

	// leader is the master that this node believes in; ended is a term whose master has said that it is over, and
	// endedAt the sequence number up to which its heartbeats no longer count.
	leader  leader
	ended   Term
	endedAt uint64
	gone    evidence

	// As a standby: when the next presence is due, since when this node would claim, and until when it must not.
	nextPresence time.Duration
	claimFrom    time.Duration
	notBefore    time.Duration
	// yieldUntil gives the others precedence after this node has resigned; whom the last master has named need not yield.
	yieldUntil time.Duration
	held       held

	claim claim

	// As a master. lost is a term that was taken away while the host was perhaps still working.
	term       Term
	beats      uint64
	beatAt     time.Duration
	nextBeat   time.Duration
	quietUntil time.Duration
	muted      bool
	lost       Term
	takeover   *Takeover

	// The quorum: what is on disk, and whether it is; born: the list of voters was made in this life; the last
	// acknowledgement that this voter has given.
	vote      Vote
	voteSaved bool
	born      bool
	acked     acknowledgement
	// As a master with a quorum: what the voters have acknowledged, when each heartbeat was sent, since when a majority
	// is behind it, and whether its host was told to work. base is the list of voters before a change under way.
	acks      map[string]confirmation
	beatTimes [beatsKept]time.Duration
	confirmed time.Duration
	promoted  bool
	lapsed    bool
	base      Voters
	change    change

	// mirrored: the last master had a mirror to be in sync with.
	mirrored    bool
	pause       Pause
	successor   succession
	better      string
	betterSince time.Duration
	wish        Handover
	observed    Term
	suspected   time.Duration // when the suspicion of the claim under way came
	claimedAt   time.Duration
	grantedBoot uint64 // of the claimant, when the vote was last granted in this life
	failed      int    // claims in a row that found no majority
	refusal     string // why the last ChangeMembers did not begin
}

// never is the time of what has not happened or is not planned.
const never = time.Duration(-1 << 62)

// New returns a machine that is starting. The first Tick is due at once.
func New(cfg Config) *Machine {
	m := &Machine{
		cfg: cfg, now: cfg.Start, role: Starting, since: cfg.Start, reason: "started",
		highest: cfg.Term, saved: cfg.Term, hostAt: never, twinAt: never, yieldUntil: never, claimFrom: never, beatAt: never,
		peers: make(map[string]*peer), known: make(map[string]bool),
		nextPresence: cfg.Start, notBefore: cfg.Start + cfg.Delay,
		vote: cfg.Vote, voteSaved: true, pause: cfg.Pause, confirmed: never, acks: make(map[string]confirmation),
	}
	m.highest = max(m.highest, cfg.Vote.Granted.Number)
	for _, id := range cfg.Nodes {
		if id != cfg.ID && len(m.known) < MaxPeers {
			m.known[id] = true
		}
	}
	return m
}

// Step takes an event and returns what has to be done, in order; see Action. The slice belongs to the caller.
func (m *Machine) Step(event Event) []Action {
	m.out = nil
	switch e := event.(type) {
	case Tick:
		m.advance(e.At)
	case Received:
		m.advance(e.At)
		m.receive(min(e.At, m.now), e.Message)
	case HostChanged:
		m.advance(e.At)
		m.hostChanged(e.Host)
	case HostLost:
		m.advance(e.At)
		m.hostAt = never
	case PeerGone:
		m.advance(e.At)
		m.peerGone(min(e.At, m.now), e.Watch)
	case Resign:
		m.advance(e.At)
		m.resign(e.Term, e.Successor)
	case SaveFailed:
		m.advance(e.At)
		m.saveFailed(e.Reason)
	case SetPause:
		m.advance(e.At)
		m.setPause(e.On)
	case ChangeMembers:
		m.advance(e.At)
		m.refusal = m.changeMembers(e.Remove, e.Add)
	default:
		panic(fmt.Sprintf("election: unknown event %T", event))
	}
	switch m.role {
	case Starting, Standby:
		m.enrol()
		m.wait()
	case Candidate:
		m.pursue()
	case Master:
		m.lead()
	}
	return m.out
}

// Next is when the next Tick is due if nothing else happens before. It is never more than half a delay away,
// so that a longer gap between events can only mean that this process did not run.
func (m *Machine) Next() time.Duration {
	next := m.now + m.cfg.Delay/2
	wake := func(at time.Duration) {
		if at > m.now {
			next = min(next, at)
		}
	}
	switch m.role {
	case Starting, Standby:
		wake(m.nextPresence)
		wake(m.claimAt())
		wake(m.notBefore)
		wake(m.yieldUntil)
		wake(m.held.until)
		wake(m.suspectAt())
		wake(m.successor.until)
		if m.quorum() {
			wake(m.freeAt())
			wake(m.cfg.Start + m.cfg.Delay)
		}
	case Candidate:
		wake(m.claim.notBefore)
		wake(m.claim.until)
		wake(m.claim.repeatAt)
		wake(m.nextPresence)
		if m.quorum() && m.now >= m.claim.notBefore && m.grantedByMajority() {
			next = m.now + 1
		}
	case Master:
		wake(m.nextBeat)
		wake(m.quietUntil)
		wake(m.hostAt + m.cfg.HostSilence())
		if m.quorum() {
			wake(m.leaseEnd())
			wake(m.leaseEnd() + m.cfg.Suspicion())
		}
		if m.better != "" {
			wake(m.betterSince + m.cfg.PreemptDelay)
		}
	}
	return next
}

// advance moves the time on. Events come at least every half delay, see Next: after a longer gap this process
// was stopped, and what it believes may be long out of date while the truth waits unread in its socket.
func (m *Machine) advance(at time.Duration) {
	if at <= m.now {
		return
	}
	gap := at - m.now
	m.now = at
	if gap <= m.cfg.Delay {
		return
	}
	m.report(Stalled, "", "this process did not run for %v: it listens for %v before it decides anything", gap, m.cfg.Delay)
	m.notBefore = max(m.notBefore, at+m.cfg.Delay)
	m.claimFrom = never
	switch {
	case m.role == Candidate:
		m.becomeStandby("paused during a claim")
	case m.role == Master && at >= m.beatAt+m.cfg.Suspicion():
		// Somebody else may lead by now. Whoever does answers the question.
		m.quietUntil = at + m.cfg.Delay
		m.muted = true
		m.send(Presence{Asks: true})
	}
}

func (m *Machine) hostChanged(host Host) {
	m.host, m.hostAt = host, m.now
	// A mirror refuses terms lower than that which wrote it last.
	m.highest = max(m.highest, host.Mirror.Term.Number)
	if m.role != Master && !m.lost.IsZero() && host.AtRest && !host.GateOpen {
		m.end(m.lost, m.beats+1)
		m.send(m.resignation(m.lost, m.beats+1, ""))
		m.lost = Term{}
	}
}

// save has a number kept on disk, if a lower one is there, so that after a restart no term is claimed that is
// lower than one that was led in.
func (m *Machine) save(number uint64) {
	if number > m.saved {
		m.saved = number
		m.do(SaveTerm{Number: number})
	}
}

func (m *Machine) saveFailed(reason string) {
	m.saved, m.voteSaved = 0, false // Unknown: the next one is written again.
	if m.role == Master && len(m.base.IDs) > 0 {
		m.vote.Voters, m.base, m.change = m.base, Voters{}, change{}
		m.refusal = "the list of voters could not be saved here: " + reason
		return
	}
	if m.role != Candidate {
		return
	}
	m.notBefore = m.now + m.cfg.Suspicion()
	m.becomeStandby("the term could not be saved: " + reason)
}

// hostSpeaks reports whether the host has spoken lately.
func (m *Machine) hostSpeaks() bool { return m.now-m.hostAt <= m.cfg.HostSilence() }

// obstacle says why this node may not stand for election; "" means that it may.
func (m *Machine) obstacle() string {
	switch {
	case m.cfg.Witness:
		return "a witness votes and never leads"
	case m.cfg.Observer:
		return "failover.observe is on: it watches and never acts"
	case m.pause.On:
		return "promotions are paused, by " + m.pause.Node
	case m.hostAt == never:
		return "the host does not report"
	case !m.hostSpeaks():
		return "the host is silent"
	case !m.host.CanLead:
		if m.host.Reason == "" {
			return "the host cannot lead"
		}
		return m.host.Reason
	case m.mirrored && !m.host.InSync && !m.cfg.Unclean:
		return "its mirror is not in sync, and failover.unclean is off: messages in flight could be lost"
	case m.host.GateOpen || !m.host.AtRest:
		return "the host is not at rest"
	case m.twinAt != never && m.now-m.twinAt < m.cfg.Suspicion():
		return "another node uses the id " + m.cfg.ID
	}
	return ""
}

func (m *Machine) canLead() bool { return m.obstacle() == "" }

func (m *Machine) standing() Standing {
	return Standing{InSync: m.host.InSync, Mirror: m.host.Mirror, Priority: m.cfg.Priority}
}

// do appends an action.
func (m *Machine) do(action Action) { m.out = append(m.out, action) }

func (m *Machine) report(kind ReportKind, peer, format string, args ...any) {
	m.do(Report{Kind: kind, Peer: peer, Text: fmt.Sprintf(format, args...)})
}

func (m *Machine) send(body Body) { m.sendTo("", body) }

// sendTo sends a message to one node, or to all if to is empty.
func (m *Machine) sendTo(to string, body Body) {
	m.sequence++
	role := m.role
	if role == Candidate {
		role = Standby
	}
	about := About{
		Role: role, Standing: m.standing(), CanLead: m.canLead() || role == Master && m.host.CanLead,
		GateOpen: m.host.GateOpen, AtRest: m.host.AtRest && m.hostAt != never,
		Heard: m.heard(),
		Delay: m.cfg.Delay, Retries: m.cfg.Retries, AdapterDigest: m.cfg.AdapterDigest,
		Members: m.cfg.Members, Preempt: m.cfg.Preempt, PreemptDelay: m.cfg.PreemptDelay,
		Pause: m.pause, Observer: m.cfg.Observer, Witness: m.cfg.Witness, Address: m.cfg.Address,
	}
	switch body.(type) {
	case Heartbeat, Presence:
		about.Hears, about.Voters = m.hears(), m.vote.Voters
	}
	m.do(Send{To: to, Message: Message{From: m.cfg.ID, Boot: m.cfg.Boot, Sequence: m.sequence, Body: body, About: about}})
}

// heard is what this node testifies of a master's life: its own, if it vouches for itself, or the last one that
// it knows of. A term that is over is not testified.
func (m *Machine) heard() Heard {
	switch {
	case m.role == Master && !m.muted:
		return Heard{Term: m.term, Sequence: m.beats}
	case m.role == Master || m.leader.term.IsZero() || m.leader.term == m.ended || m.dead(m.leader):
		return Heard{}
	}
	return Heard{Term: m.leader.term, Sequence: m.leader.sequence, Age: m.now - m.leader.at}
}

// hears are the peers heard lately, in the order of their ids.
func (m *Machine) hears() []Hearing {
	if len(m.peers) == 0 {
		return nil
	}
	heard := make([]Hearing, 0, len(m.peers))
	for id, p := range m.peers {
		if m.live(p) {
			h := Hearing{ID: id, Age: max(m.now-p.at, 0)}
			if m.cfg.Introduce {
				h.Address = p.about.Address
			}
			heard = append(heard, h)
		}
	}
	slices.SortFunc(heard, func(a, b Hearing) int { return strings.Compare(a.ID, b.ID) })
	return heard
}
