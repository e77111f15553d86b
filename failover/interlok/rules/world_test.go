package rules_test

import (
	"bytes"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/interlok/interloktest"
	"github.com/understudy-ha/understudy/failover/interlok/packet"
	"github.com/understudy-ha/understudy/failover/interlok/rules"
)

const (
	interval  = interloktest.Interval
	timeout   = interloktest.Timeout
	hostDelay = time.Second
	never     = time.Duration(-1 << 62)
)

// world is a cluster in virtual time. Members are Java's or ours, the network loses and delays by a seed and can be cut
// in each direction. It checks what must always hold.
type world struct {
	random *rand.Rand
	now    time.Duration
	nodes  []*node
	queue  timeline
	count  int
	loss   float64
	cut    map[[2]int]bool

	// mutation breaks a rule, so that the harness can be tested.
	mutation mutation
	// cutEver and lossy: what the network has done so far; then more is allowed.
	cutEver, lossy bool
	terms          map[election.Term]bool
	faults         []string
	trace          func(format string, args ...any)
}

type mutation string

const (
	sound           mutation = ""
	impatient       mutation = "it becomes primary before the timeout"
	leaseTooLong    mutation = "the lease is longer than the others believe"
	conflictIgnored mutation = "a primary does not listen to others"
	termForgotten   mutation = "the term is not on disk"
)

// node is a place where a member runs; after a restart another one.
type node struct {
	name     string
	index    int
	position int
	ours     bool
	java     *interloktest.Java
	machine  *rules.Machine
	id       packet.ID
	down     bool
	restart  time.Duration // never, or when it starts again
	saved    uint64
	noDisk   bool

	// frozen: the process of the election stands still until then; waiting is what its socket holds.
	frozen  time.Duration
	waiting [][]byte
	// The host of ours.
	host       election.Host
	able       bool
	hostFrozen time.Duration
	nextReport time.Duration
	valid      time.Duration // until when the gate is open
	restAt     time.Duration
	resigning  election.Term

	promotions int
	heard      map[packet.ID]time.Duration // primaries, by what was delivered
	goodbye    map[packet.ID]bool
}

func newWorld(seed uint64, trace func(string, ...any)) *world {
	if trace == nil {
		trace = func(string, ...any) {}
	}
	return &world{
		random: rand.New(rand.NewPCG(seed, 1)), cut: make(map[[2]int]bool),
		terms: make(map[election.Term]bool), trace: trace,
	}
}

func (w *world) fault(format string, args ...any) {
	text := fmt.Sprintf("at %v: ", w.now) + fmt.Sprintf(format, args...)
	w.faults = append(w.faults, text)
	w.trace("FAULT %s", text)
}

func (w *world) uuid() [16]byte {
	var id [16]byte
	for i := range id {
		id[i] = byte(w.random.Uint32())
	}
	return id
}

// add makes a member, which starts now. position 0 is none.
func (w *world) add(ours bool, position int) *node {
	kind := "java"
	if ours {
		kind = "ours"
	}
	n := &node{
		name: fmt.Sprintf("%s%d", kind, len(w.nodes)), index: len(w.nodes), ours: ours, position: position, able: true,
		restart: never,
	}
	w.nodes = append(w.nodes, n)
	w.start(n)
	return n
}

func (w *world) start(n *node) {
	id := w.uuid()
	n.down, n.restart, n.frozen, n.hostFrozen, n.waiting = false, never, never, never, nil
	n.heard, n.goodbye = make(map[packet.ID]time.Duration), make(map[packet.ID]bool)
	w.trace("%v %s starts", w.now, n.name)
	if !n.ours {
		id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // version 4
		n.id = id
		n.java = interloktest.NewJava(interloktest.Config{Host: "192.0.2.1", UUID: id, Position: n.position, Start: w.now})
		return
	}
	n.id = packet.NewID(id)
	cfg := rules.Config{
		NodeID: n.name, ID: n.id, Host: "192.0.2.2", Start: w.now, Interval: interval, Timeout: timeout,
		Listen: rules.DefaultListen, Poll: rules.DefaultPoll, HostDelay: hostDelay, Position: n.position, Term: n.saved,
	}
	switch w.mutation {
	case impatient:
		cfg.Timeout = 3 * interval
	case termForgotten:
		cfg.Term = 0
	}
	n.machine = rules.New(cfg)
	n.host = election.Host{CanLead: n.able, AtRest: true}
	n.valid, n.nextReport, n.restAt, n.resigning = never, w.now, never, election.Term{}
	w.step(n, rules.Tick{At: w.now})
}

// crash ends a member without a word; it starts again after a while, if that is not negative.
func (w *world) crash(n *node, again time.Duration) {
	w.trace("%v %s crashes", w.now, n.name)
	n.down, n.java, n.machine, n.restart = true, nil, nil, never
	if again >= 0 {
		n.restart = w.now + again
	}
}

// primary reports whether a member leads.
func (n *node) primary() bool {
	switch {
	case n.down:
		return false
	case n.ours:
		return n.machine.State().Role == election.Master
	}
	return n.java.Primary()
}

// secondaryAt is the place of a secondary that takes part; 0 for any other.
func (n *node) secondaryAt() int {
	switch {
	case n.down || n.primary():
		return 0
	case n.ours:
		return n.machine.Position()
	}
	return n.java.Position()
}

// working reports whether the host of one of ours may work at this moment.
func (w *world) working(n *node) bool {
	return n.ours && !n.down && n.host.GateOpen && w.now < n.valid && w.now >= n.hostFrozen
}

func (w *world) primaries() []*node {
	var found []*node
	for _, n := range w.nodes {
		if n.primary() {
			found = append(found, n)
		}
	}
	return found
}

// step gives a machine an event and does what it says.
func (w *world) step(n *node, event rules.Event) {
	for _, action := range n.machine.Step(event) {
		w.trace("%v %s: %v", w.now, n.name, action)
		switch a := action.(type) {
		case rules.Send:
			for range a.Copies {
				data, err := packet.Encode(a.Ping)
				if err != nil {
					w.fault("%s: %v", n.name, err)
					return
				}
				w.send(n, data)
			}
		case election.SaveTerm:
			if n.noDisk {
				w.step(n, rules.SaveFailed{At: w.now, Reason: "no space"})
				return
			}
			n.saved = a.Number
		case election.Promote:
			w.promoted(n, a)
			n.host.GateOpen, n.host.AtRest, n.restAt, n.resigning = true, false, never, election.Term{}
		case election.Demote:
			// The gate shuts at once, what is under way takes a while.
			n.host.GateOpen, n.resigning = false, a.Term
			n.restAt = w.now + time.Duration(w.random.Int64N(int64(2*time.Second)))
		}
	}
}

// promoted checks a promotion of ours.
func (w *world) promoted(n *node, p election.Promote) {
	n.promotions++
	if w.terms[p.Term] {
		w.fault("%s is promoted in term %v, which was led in before", n.name, p.Term)
	}
	w.terms[p.Term] = true
	if n.saved < p.Term.Number {
		w.fault("%s is promoted in term %v, which is not on disk", n.name, p.Term)
	}
	for id, at := range n.heard {
		if w.now-at <= timeout && !n.goodbye[id] {
			w.fault("%s is promoted although it has heard the primary %v %v ago", n.name, id, w.now-at)
		}
	}
	w.checkGates(n)
}

// checkGates: on a network that loses nothing nobody becomes primary while the host of one of ours still works.
func (w *world) checkGates(promoted *node) {
	if w.cutEver || w.lossy {
		return
	}
	for _, other := range w.nodes {
		if other != promoted && w.working(other) {
			w.fault("%s is promoted while the gate of %s is open for %v more", promoted.name, other.name, other.valid-w.now)
		}
	}
}

func (w *world) send(from *node, data []byte) {
	for _, to := range w.nodes {
		if to.down || w.cut[[2]int{from.index, to.index}] || to != from && w.random.Float64() < w.loss {
			continue
		}
		w.count++
		heap.Push(&w.queue, delivery{
			at: w.now + 200*time.Microsecond + time.Duration(w.random.Int64N(int64(3*time.Millisecond))), order: w.count,
			to: to, id: to.id, data: bytes.Clone(data),
		})
	}
}

func (w *world) deliver(d delivery) {
	n := d.to
	if n.down || n.id != d.id { // It has been started anew meanwhile.
		return
	}
	if w.now < n.frozen {
		if len(n.waiting) < 200 {
			n.waiting = append(n.waiting, d.data)
		}
		return
	}
	w.read(n, d.data)
}

func (w *world) read(n *node, data []byte) {
	if !n.ours {
		if err := n.java.Receive(w.now, data); err != nil {
			w.fault("%s: %v", n.name, err)
		}
		if n.java.Exited {
			w.trace("%v %s exits", w.now, n.name)
			w.crash(n, 10*time.Second)
		}
		return
	}
	ping, err := packet.Decode(data)
	if err != nil {
		w.fault("%s: %v", n.name, err)
		return
	}
	if w.mutation == conflictIgnored && ping.Type == packet.Primary && n.primary() {
		return
	}
	if ping.ID != n.id && ping.Type == packet.Primary {
		n.heard[ping.ID], n.goodbye[ping.ID] = w.now, false
	}
	if ping.ID.Ours() && ping.Position == rules.Goodbye {
		n.goodbye[ping.ID] = true
	}
	w.step(n, rules.Received{At: w.now, Ping: ping})
}

// tend does what a member has to do by now.
func (w *world) tend(n *node) {
	if n.down {
		if n.restart != never && w.now >= n.restart {
			w.start(n)
		}
		return
	}
	if w.now < n.frozen {
		return
	}
	waiting := n.waiting
	n.waiting = nil
	for _, data := range waiting {
		if !n.down {
			w.read(n, data)
		}
	}
	switch {
	case n.down:
	case n.ours:
		w.tendHost(n)
		if w.now >= n.machine.Next() {
			w.step(n, rules.Tick{At: w.now})
		}
	default:
		was := n.java.Primary()
		for _, ping := range n.java.Advance(w.now) {
			w.send(n, ping)
		}
		if n.java.Primary() && !was {
			w.trace("%v %s is promoted", w.now, n.name)
			w.checkGates(n)
			w.checkJava(n)
		}
	}
}

// checkJava: a Java secondary waits while one of ours leads and can be heard.
func (w *world) checkJava(java *node) {
	for _, n := range w.nodes {
		if n.ours && n.primary() && w.working(n) && w.now >= n.frozen && !w.cutEver && !w.lossy {
			w.fault("%s is promoted although %s leads", java.name, n.name)
		}
	}
}

// tendHost is what a host does: it reports, takes its lease from the answer, and stops when that has run out.
func (w *world) tendHost(n *node) {
	if w.now < n.hostFrozen || w.now < n.nextReport {
		return
	}
	n.nextReport = w.now + hostDelay/2
	if n.host.GateOpen && n.valid != never && w.now >= n.valid {
		n.host.GateOpen, n.restAt = false, w.now+200*time.Millisecond
		n.resigning = n.machine.State().Term
	}
	if n.restAt != never && w.now >= n.restAt {
		n.host.AtRest, n.restAt, n.valid = true, never, never
		if n.resigning != (election.Term{}) {
			w.step(n, rules.Resign{At: w.now, Term: n.resigning})
			n.resigning = election.Term{}
		}
	}
	n.host.CanLead = n.able
	if !n.able && n.host.GateOpen {
		n.host.GateOpen, n.restAt, n.resigning = false, w.now+200*time.Millisecond, n.machine.State().Term
	}
	w.step(n, rules.HostChanged{At: w.now, Host: n.host})
	if n.host.GateOpen {
		n.valid = n.machine.State().Lease
		if w.mutation == leaseTooLong {
			n.valid = w.now + timeout
		}
	}
}

// next is when something happens next.
func (w *world) next() time.Duration {
	next := w.now + interval
	wake := func(at time.Duration) {
		if at > w.now {
			next = min(next, at)
		}
	}
	if len(w.queue) > 0 {
		wake(w.queue[0].at)
	}
	for _, n := range w.nodes {
		switch {
		case n.down:
			wake(n.restart)
			continue
		case w.now < n.frozen:
			wake(n.frozen)
			continue
		case n.ours:
			wake(n.machine.Next())
			wake(n.nextReport)
		default:
			wake(n.java.Next())
		}
		wake(n.hostFrozen)
	}
	return next
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	end := w.now + d
	for w.now < end {
		w.now = min(w.next(), end)
		for len(w.queue) > 0 && w.queue[0].at <= w.now {
			w.deliver(heap.Pop(&w.queue).(delivery))
		}
		for _, n := range w.nodes {
			w.tend(n)
		}
	}
}

// partition cuts a group off from all others, in both directions.
func (w *world) partition(group ...*node) {
	w.cutEver = true
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if slices.Contains(group, a) != slices.Contains(group, b) {
				w.cut[[2]int{a.index, b.index}] = true
			}
		}
	}
}

func (w *world) heal() { clear(w.cut) }

// delivery is a datagram on its way.
type delivery struct {
	at    time.Duration
	order int
	to    *node
	id    packet.ID
	data  []byte
}

// timeline orders deliveries by time.
type timeline []delivery

func (t timeline) Len() int { return len(t) }
func (t timeline) Less(i, j int) bool {
	return t[i].at < t[j].at || t[i].at == t[j].at && t[i].order < t[j].order
}
func (t timeline) Swap(i, j int) { t[i], t[j] = t[j], t[i] }

// Push implements heap.Interface.
func (t *timeline) Push(x any) { *t = append(*t, x.(delivery)) }

// Pop implements heap.Interface.
func (t *timeline) Pop() any {
	last := (*t)[len(*t)-1]
	*t = (*t)[:len(*t)-1]
	return last
}

// settled says what is wrong with a cluster that should have come to rest: one primary, and the others in places 1, 2,
// 3 and so on.
func (w *world) settled() {
	var places []int
	able := 0
	for _, n := range w.nodes {
		if n.down || n.ours && !n.able {
			continue
		}
		able++
		if !n.primary() {
			places = append(places, n.secondaryAt())
		}
	}
	leaders := w.primaries()
	if able > 0 && len(leaders) != 1 {
		w.fault("%d primaries", len(leaders))
		return
	}
	slices.Sort(places)
	for i, place := range places {
		if place != i+1 {
			w.fault("the places of the secondaries are %v", places)
			return
		}
	}
}
