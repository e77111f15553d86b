package rules

import (
	"fmt"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/interlok/packet"
)

// Machine is one member's part. It is not safe for concurrent use.
type Machine struct {
	cfg Config
	now time.Duration
	out []Action

	role   election.Role // never Candidate: this wire knows no claims
	since  time.Duration
	reason string

	// highest is the highest term number ever heard or saved, saved the one on disk; savedAt is when the last one that
	// others had was saved.
	highest uint64
	saved   uint64
	savedAt time.Duration
	// unsaved: the term that is led in was given to be saved in the last step.
	unsaved bool

	host   election.Host
	hostAt time.Duration // never, before the first report

	members map[packet.ID]*member
	last    leader

	// As a secondary. appeared: it has pinged since its start; silent: it does not ping, since silentAt.
	position   int
	placedAt   time.Duration // since when it has its position, as far as it is known to the others
	appeared   bool
	silent     bool
	silentAt   time.Duration
	nextPing   time.Duration
	nextPoll   time.Duration
	notBefore  time.Duration // no promotion before that
	heldUntil  time.Duration // it has resigned: the others first
	brokenTill time.Duration // its term could not be saved

	// As a primary. muted: it cannot vouch for its host; quietUntil: it listens before it does so again.
	term       election.Term
	beatAt     time.Duration
	muted      bool
	quietUntil time.Duration
	takeover   *election.Takeover
}

// leader is the last primary that was heard.
type leader struct {
	term election.Term
	at   time.Duration
	// resigned: it has said goodbye.
	resigned bool
}

// never is the time of what has not happened or is not planned.
const never = time.Duration(-1 << 62)

// New returns a machine that listens. The first Tick is due at once.
func New(cfg Config) *Machine {
	return &Machine{
		cfg: cfg, now: cfg.Start, role: election.Starting, since: cfg.Start, reason: "started",
		highest: cfg.Term, saved: cfg.Term, savedAt: never, hostAt: never, members: make(map[packet.ID]*member),
		position: cfg.Position, placedAt: never, silent: true, silentAt: never,
		nextPing: never, nextPoll: cfg.Start + cfg.Listen, notBefore: cfg.Start + cfg.Timeout,
		heldUntil: never, brokenTill: never, beatAt: never, quietUntil: never,
	}
}

// Step takes an event and returns what has to be done, in order; see Action. The slice belongs to the caller.
func (m *Machine) Step(event Event) []Action {
	m.out = nil
	switch e := event.(type) {
	case Tick:
		m.advance(e.At)
	case Received:
		m.advance(e.At)
		m.purge()
		m.receive(min(e.At, m.now), e.Ping)
	case HostChanged:
		m.advance(e.At)
		m.host, m.hostAt = e.Host, m.now
		// A mirror refuses terms lower than that which wrote it last.
		m.highest = max(m.highest, e.Host.Mirror.Term.Number)
	case HostLost:
		m.advance(e.At)
		m.hostAt = never
	case Resign:
		m.advance(e.At)
		m.resign(e.Term)
	case SaveFailed:
		m.advance(e.At)
		m.saveFailed(e.Reason)
	default:
		panic(fmt.Sprintf("interlok rules: unknown event %T", event))
	}
	m.unsaved = false
	m.purge()
	if m.role == election.Master {
		m.lead()
	} else {
		m.wait()
	}
	m.saveHeard()
	return m.out
}

// Next is when the next Tick is due if nothing else happens before. It is never more than half an interval away, so
// that a longer gap between events can only mean that this process did not run.
func (m *Machine) Next() time.Duration {
	next := m.now + m.cfg.Interval/2
	wake := func(at time.Duration) {
		if at > m.now {
			next = min(next, at)
		}
	}
	wake(m.nextPing)
	wake(m.hostAt + m.cfg.HostSilence() + 1)
	if m.role == election.Master {
		wake(m.quietUntil)
		wake(m.leaseEnd())
		return next
	}
	wake(m.nextPoll)
	wake(m.cfg.Start + m.cfg.Listen)
	wake(m.notBefore)
	wake(m.placedAt + m.cfg.Poll)
	wake(m.heldUntil)
	wake(m.brokenTill)
	if p := m.primary(); p != nil {
		wake(p.primaryAt + m.cfg.Timeout + 1)
	}
	return next
}

// advance moves the time on. Events come at least every half interval, see Next: after a longer gap this process was
// stopped, and what it believes may be out of date while the truth waits unread in its socket.
func (m *Machine) advance(at time.Duration) {
	if at <= m.now {
		return
	}
	gap := at - m.now
	m.now = at
	if gap <= m.cfg.Interval {
		return
	}
	listen := LeastPings * m.cfg.Interval
	m.notBefore = max(m.notBefore, at+listen)
	m.report(Stalled, "", "this process did not run for %v: it listens for %v before it decides anything", gap, listen)
	if m.role == election.Master && at >= m.leaseEnd() {
		m.mute("this process did not run")
		m.quietUntil = at + listen
	}
}

// become changes the role. Starting becomes Standby, Standby and Master become each other; anything else is a fault of
// this package.
func (m *Machine) become(role election.Role, reason string) {
	allowed := map[election.Role][]election.Role{
		election.Starting: {election.Standby}, election.Standby: {election.Master}, election.Master: {election.Standby},
	}
	if !slices.Contains(allowed[m.role], role) {
		panic(fmt.Sprintf("interlok rules: %v cannot become %v (%s)", m.role, role, reason))
	}
	m.role, m.since, m.reason = role, m.now, reason
}

// save has a number kept on disk, if a lower one is there, so that no term is led in twice.
func (m *Machine) save(number uint64) {
	if number > m.saved {
		m.saved = number
		m.do(election.SaveTerm{Number: number})
	}
}

// saveHeard keeps what others have told, so that after a restart this node leads in no lower term. It is the last action
// of a step, because nothing else hangs on it, and comes once per interval at most, because strangers can cause it.
func (m *Machine) saveHeard() {
	if m.highest > m.saved && m.now-m.savedAt >= m.cfg.Interval {
		m.savedAt = m.now
		m.save(m.highest)
	}
}

// saveFailed takes a promotion back of which nobody has heard yet.
func (m *Machine) saveFailed(reason string) {
	m.saved = 0 // Unknown: the next one is written again.
	if m.role != election.Master || !m.unsaved {
		return
	}
	m.term, m.takeover, m.beatAt = election.Term{}, nil, never
	m.become(election.Standby, "the term could not be saved: "+reason)
	m.brokenTill = m.now + m.cfg.turn()
}

// hostSpeaks reports whether the host has spoken lately.
func (m *Machine) hostSpeaks() bool { return m.now-m.hostAt <= m.cfg.HostSilence() }

// obstacle says why this member must not become primary; "" means that it may.
func (m *Machine) obstacle() string {
	switch {
	case m.cfg.Observer:
		return "failover.observe is on: it watches and never acts"
	case m.hostAt == never:
		return "the host does not report"
	case !m.hostSpeaks():
		return "the host is silent"
	case !m.host.CanLead:
		if m.host.Reason == "" {
			return "the host cannot lead"
		}
		return m.host.Reason
	case m.host.GateOpen || !m.host.AtRest:
		return "the host is not at rest"
	case m.now < m.brokenTill:
		return "the term could not be saved"
	case m.now < m.heldUntil:
		return "it has resigned, the others first"
	}
	return ""
}

// ping is what this member says of itself.
func (m *Machine) ping(kind packet.Type, position int) packet.Ping {
	return packet.Ping{Host: m.cfg.Host, Port: m.cfg.Port, ID: m.cfg.ID, Type: kind, Position: position}
}

// do appends an action.
func (m *Machine) do(action Action) { m.out = append(m.out, action) }

func (m *Machine) report(kind Kind, peer, format string, args ...any) {
	m.do(Report{Kind: kind, Peer: peer, Text: fmt.Sprintf(format, args...)})
}
