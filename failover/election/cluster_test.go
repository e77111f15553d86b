package election_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
)

// cluster runs machines over a network and with hosts that exist only here: one goroutine, one clock, one
// source of chance, so that a seed is a whole history.
type cluster struct {
	now     time.Duration
	order   []string // ids, in the order of their making: maps have none
	nodes   map[string]*node
	queue   eventQueue
	serial  int
	random  *rand.Rand
	network network
	trace   func(at time.Duration, id string, what fmt.Stringer) // nil if nobody looks
	faults  []string
	// promoted and promotions remember who led in which term.
	promoted   map[election.Term]bool
	promotions int
	demotions  int
	conflicts  int
	// processes numbers the processes of hosts; forged are the terms whose death was only feigned.
	processes uint64
	forged    map[election.Term]bool
	// mutation is a rule that this world breaks, to see whether the checks find it; empty: none.
	mutation mutation
	// oneGate: two open gates at one moment are a fault.
	oneGate bool
}

// network says how bad the network is.
type network struct {
	latency, jitter time.Duration
	loss, duplicate float64
	cut             map[[2]string]bool // one-way
	// swallow drops the message of that serial number among all deliveries, counting down from n.
	swallow int
	// lose counts the messages still to be lost on a link.
	lose map[[2]string]int
	// deaf nodes hear only what is sent to them alone.
	deaf map[string]bool
}

// node is a machine with its disk, its host and its process.
type node struct {
	id       string
	machine  *election.Machine
	config   election.Config
	running  bool
	pausedAt time.Duration
	resumeAt time.Duration // 0: not paused
	waiting  []func()      // what has come meanwhile
	host     election.Host
	silent   bool
	life     int // of the process; timers of an earlier one do nothing
	stopsFor time.Duration
	term     election.Term
	// successor is whom it names when it resigns.
	successor string
	// working is the term of which work is under way; it ends a little after term.
	working election.Term
	// watched is what was last worth watching, per term.
	watched map[election.Term]election.Watch
	// disk
	savedTerm  uint64
	savedNodes []string
	savedVote  election.Vote
	savedPause election.Pause
	// lost: the disk was lost since the node became a voter.
	lost bool
	boot uint64
	// ppm is by how many millionths the node's clock is too fast.
	ppm        int64
	diskBroken bool
	ticks      int
}

type scheduled struct {
	at     time.Duration
	serial int
	do     func()
}

type eventQueue []scheduled

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].serial < q[j].serial
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(scheduled)) }
func (q *eventQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

func newCluster(seed uint64) *cluster {
	return &cluster{
		nodes:    make(map[string]*node),
		random:   rand.New(rand.NewPCG(seed, 0)),
		network:  network{latency: time.Millisecond, cut: make(map[[2]string]bool), lose: make(map[[2]string]int), deaf: make(map[string]bool), swallow: -1},
		promoted: make(map[election.Term]bool), forged: make(map[election.Term]bool),
	}
}

func (c *cluster) after(d time.Duration, do func()) {
	c.serial++
	heap.Push(&c.queue, scheduled{at: c.now + d, serial: c.serial, do: do})
}

// run lets time pass.
func (c *cluster) run(d time.Duration) {
	until := c.now + d
	for len(c.queue) > 0 && c.queue[0].at <= until {
		next := heap.Pop(&c.queue).(scheduled)
		c.now = next.at
		next.do()
	}
	c.now = until
}

// word is a line of a trace that is no action.
type word string

func (w word) String() string { return string(w) }

func (c *cluster) note(n *node, what fmt.Stringer) {
	if c.trace != nil {
		c.trace(c.now, n.id, what)
	}
}

func (c *cluster) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf("at %v: ", c.now)+fmt.Sprintf(format, args...))
}

// add makes a node that is not running yet.
func (c *cluster) add(id string, config election.Config) *node {
	config.ID = id
	n := &node{id: id, config: config, stopsFor: 5 * time.Millisecond}
	n.host = election.Host{CanLead: true, AtRest: true, InSync: true}
	c.nodes[id] = n
	c.order = append(c.order, id)
	return n
}

func (c *cluster) start(n *node) {
	n.life++
	n.boot++
	if n.lost {
		n.lost = n.savedVote.Member
	}
	n.running, n.resumeAt, n.waiting = true, 0, nil
	n.host.GateOpen, n.host.AtRest, n.term, n.working = false, true, election.Term{}, election.Term{}
	c.processes++
	n.host.Liveness = election.Liveness{Address: n.id, Process: c.processes}
	n.watched = make(map[election.Term]election.Watch)
	config := n.config
	config.Boot, config.Start, config.Term, config.Nodes = n.boot, n.local(c.now), n.savedTerm, n.savedNodes
	config.Vote, config.Pause, config.Address = n.savedVote, n.savedPause, n.id
	c.mutateStart(n, &config)
	n.machine = election.New(config)
	c.note(n, word("starts"))
	c.hostSpeaks(n, n.life)
	c.tick(n)
}

func (c *cluster) kill(n *node) {
	n.running = false
	n.life++
	n.term, n.working = election.Term{}, election.Term{}
	c.note(n, word("dies"))
}

// gone gives a node evidence that the host of a term has died, if it has ever watched that.
func (c *cluster) gone(n *node, term election.Term) {
	watch, known := n.watched[term]
	if !known {
		return
	}
	at := n.local(c.now)
	c.whenAwake(n, func() {
		c.note(n, word("finds the process of "+term.String()+" gone"))
		c.step(n, election.PeerGone{At: at, Watch: watch})
	})
}

// whenAwake does what a running process does, when it is not paused.
func (c *cluster) whenAwake(n *node, do func()) {
	switch {
	case !n.running:
	case n.resumeAt > 0:
		n.waiting = append(n.waiting, do)
	default:
		do()
	}
}

// pause stops the plugin's process; its host goes on. What arrives meanwhile waits in the socket.
func (c *cluster) pause(n *node, d time.Duration) {
	if !n.running || n.resumeAt > 0 {
		return
	}
	n.pausedAt, n.resumeAt = c.now, c.now+d
	life := n.life
	c.note(n, word("pauses for "+d.String()))
	c.after(d, func() {
		if n.life != life {
			return
		}
		n.resumeAt = 0
		c.note(n, word("resumes"))
		waiting := n.waiting
		n.waiting = nil
		c.tick(n)
		for _, do := range waiting {
			do()
		}
	})
}

// hostSpeaks lets the host report twice per delay.
func (c *cluster) hostSpeaks(n *node, life int) {
	if n.life != life {
		return
	}
	if !n.silent {
		c.hostReports(n)
	}
	c.after(n.config.Delay/2, func() { c.hostSpeaks(n, life) })
}

func (c *cluster) hostReports(n *node) {
	if n.running && n.resumeAt == 0 {
		c.step(n, election.HostChanged{At: n.local(c.now), Host: n.host})
	}
}

// tick gives a Tick and plans the next.
func (c *cluster) tick(n *node) {
	if !n.running || n.resumeAt > 0 {
		return
	}
	c.step(n, election.Tick{At: n.local(c.now)})
}

// local is what a node's clock shows at a true time.
func (n *node) local(at time.Duration) time.Duration {
	return at + at/1000*time.Duration(n.ppm)/1000
}

// lasts is the true length of what a node's clock measures.
func (n *node) lasts(d time.Duration) time.Duration {
	if n.ppm == 0 {
		return d
	}
	return d - time.Duration(int64(d)/1000*n.ppm/(1000+n.ppm/1000)) + 2
}

func (c *cluster) deliver(n *node, msg election.Message) {
	c.whenAwake(n, func() { c.step(n, election.Received{At: n.local(c.now), Message: msg}) })
}

func (c *cluster) step(n *node, event election.Event) {
	life := n.life
	actions := n.machine.Step(event)
	for i, action := range actions {
		c.note(n, action)
		switch a := action.(type) {
		case election.SaveTerm:
			if a.Number < n.savedTerm {
				c.fault("%s saves term %d after %d", n.id, a.Number, n.savedTerm)
			}
			if n.diskBroken {
				c.step(n, election.SaveFailed{At: n.local(c.now), Reason: "disk full"})
				return
			}
			n.savedTerm = a.Number
		case election.SaveVote:
			if n.diskBroken {
				c.step(n, election.SaveFailed{At: n.local(c.now), Reason: "disk full"})
				return
			}
			c.checkVote(n, a.Vote)
			n.savedVote = a.Vote
		case election.SavePause:
			n.savedPause = a.Pause
		case election.SaveNodes:
			n.savedNodes = slices.Clone(a.Nodes)
		case election.Send:
			c.checkSend(n, a.Message)
			c.send(n, a.To, a.Message)
		case election.Promote:
			c.promote(n, a)
		case election.Demote:
			c.demote(n, a, actions[:i])
		case election.Report:
			if a.Kind == election.Conflict {
				c.conflicts++
			}
		}
	}
	c.checkGates(n)
	if watch := n.machine.Watch(); !watch.Term.IsZero() {
		n.watched[watch.Term] = watch
	}
	n.ticks++
	ticks := n.ticks
	next := n.machine.Next() - n.local(c.now)
	c.after(n.lasts(next), func() {
		if n.life == life && n.ticks == ticks {
			c.tick(n)
		}
	})
	if next <= 0 || next > n.config.Delay/2+time.Microsecond { // Clocks round.
		c.fault("%s wants its next tick in %v", n.id, next)
	}
}

func (c *cluster) checkSend(n *node, msg election.Message) {
	if answer, ok := msg.Body.(election.Answer); ok && answer.Vote && n.savedVote.Granted != answer.Claim {
		c.fault("%s grants %v, but its disk has %v", n.id, answer.Claim, n.savedVote.Granted)
	}
	if claim, ok := msg.Body.(election.Claim); ok && claim.Term.Number > n.savedTerm {
		c.fault("%s claims term %v, but its disk has %d", n.id, claim.Term, n.savedTerm)
	}
	if resignation, ok := msg.Body.(election.Resignation); ok && (n.host.GateOpen || !n.host.AtRest) {
		c.fault("%s resigns term %v while its host works", n.id, resignation.Term)
	}
}

func (c *cluster) promote(n *node, p election.Promote) {
	c.promotions++
	term := p.Term
	if before := c.nodes[p.After.Node]; p.Cause == election.Gone && before.working == p.After && !c.forged[p.After] {
		c.fault("%s promoted in term %v because the host of %v is gone, but it works", n.id, term, p.After)
	}
	switch {
	case c.promoted[term]:
		c.fault("term %v promoted twice", term)
	case term.Node != n.id || term.Number > n.savedTerm:
		c.fault("%s promoted in term %v", n.id, term)
	case !n.term.IsZero():
		c.fault("%s promoted in term %v while it leads in %v", n.id, term, n.term)
	case n.host.GateOpen:
		c.fault("%s promoted in term %v while its host works", n.id, term)
	}
	c.promoted[term] = true
	n.term, n.working = term, term
	n.host.GateOpen, n.host.AtRest = true, false
	life := n.life
	c.after(0, func() {
		if n.life == life {
			c.hostReports(n)
		}
	})
}

func (c *cluster) demote(n *node, d election.Demote, before []election.Action) {
	c.demotions++
	if n.term != d.Term {
		c.fault("%s demoted from term %v while it leads in %v", n.id, d.Term, n.term)
	}
	for _, action := range before {
		if send, spoke := action.(election.Send); spoke && send.Message.About.Role != election.Master {
			c.fault("%s spoke before it shut the gate of term %v", n.id, d.Term)
		}
	}
	n.term = election.Term{}
	life := n.life
	c.after(n.stopsFor, func() {
		if n.life == life && n.term.IsZero() {
			n.host.GateOpen, n.host.AtRest, n.working = false, true, election.Term{}
			c.hostReports(n)
		}
	})
}

// resign is a host's orderly stop: the gate first, then the word.
func (c *cluster) resign(n *node) {
	if n.term.IsZero() || n.resumeAt > 0 {
		return
	}
	n.host.GateOpen, n.host.AtRest, n.working = false, true, election.Term{}
	c.step(n, election.Resign{At: n.local(c.now), Term: n.term, Successor: n.successor})
}

// send brings a message to all, or to one.
func (c *cluster) send(from *node, receiver string, msg election.Message) {
	for _, msg := range c.mutateMessage(msg) {
		c.carry(from, receiver, msg)
	}
}

func (c *cluster) carry(from *node, receiver string, msg election.Message) {
	for _, id := range c.order {
		to := c.nodes[id]
		link := [2]string{from.id, id}
		if receiver != "" && receiver != id || receiver == "" && c.network.deaf[id] {
			continue
		}
		if to == from || c.network.cut[link] {
			continue
		}
		if c.network.lose[link] > 0 {
			c.network.lose[link]--
			continue
		}
		copies := 1
		if c.network.duplicate > 0 && c.random.Float64() < c.network.duplicate {
			copies = 2
		}
		for range copies {
			if c.network.swallow >= 0 {
				c.network.swallow--
				if c.network.swallow == -1 {
					continue
				}
			}
			if c.network.loss > 0 && c.random.Float64() < c.network.loss {
				continue
			}
			delay := c.network.latency
			if c.network.jitter > 0 {
				delay += time.Duration(c.random.Int64N(int64(c.network.jitter)))
			}
			c.after(delay, func() { c.deliver(to, msg) })
		}
	}
}

// masters are the nodes whose host was told to work.
func (c *cluster) masters() []string {
	var ids []string
	for _, id := range c.order {
		if n := c.nodes[id]; n.running && !n.term.IsZero() {
			ids = append(ids, id)
		}
	}
	return ids
}
