package election_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
)

var rewrite = flag.Bool("rewrite", false, "write the scenarios' traces anew: only if you understand each difference")

// TestScenarios plays testdata/*.txt. A scenario is a story in commands, each followed by the trace of what
// the machines did:
//
//	nodes a b c            make nodes that can lead: delay 100ms, retries 3, network 1ms
//	node d [key=value...]  make one; keys: priority, delay, retries, disk (highest term saved), knows (ids),
//	                       members, preempt (its delay), witness=yes, observe=yes, unclean=no
//	start a... | kill a... | pause a 250ms
//	run 1s                 let time pass; presences and heartbeats that nobody waits for are left out of the
//	                       trace, unless "verbose" follows
//	host a [lead=no] [gate=open|shut] [rest=no] [sync=no] [index=7] [silent=yes] [reason=text]
//	     [later=9:b]       and the mirror has heard of a later term
//	disk a broken|fine
//	cut a b | heal         stop datagrams from a to b, one way; undo all cuts
//	deaf a                 nothing reaches a that is not sent to it alone
//	lose a b 2             lose the next two datagrams from a to b
//	resign a [b]           the host shuts its gate, comes to rest and resigns; b is to lead next
//	empty a                lose the disk of a; it must not run
//	halt a | resume a      nobody may be promoted from now on, says a; or may again
//	members a [add=b] [remove=c]  ask a for another list of voters
//	gone a [1:c]           give a evidence that the host of the term which it watches, or watched, is gone
//	send a b heartbeat 9:a 5   let b receive a forged message as if from a
//	status                 what each node believes
func TestScenarios(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, file, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s\nrun with -rewrite if the new trace is right", firstDifference(string(want), got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant: %s\ngot:  %s", i+1, w[i], g[i])
		}
	}
	return fmt.Sprintf("want %d lines, got %d", len(w), len(g))
}

// player plays one scenario.
type player struct {
	*cluster
	out     bytes.Buffer
	verbose bool
}

// play returns the scenario with its traces as they are now. Lines that begin with four spaces are trace.
func play(t *testing.T, file, text string) string {
	t.Helper()
	p := &player{cluster: newCluster(1)}
	p.trace = p.line
	for number, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(line, "    ") {
			continue
		}
		fmt.Fprintln(&p.out, line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := p.command(strings.Fields(line)); err != nil {
			t.Fatalf("%s:%d: %s: %v", file, number+1, line, err)
		}
		for _, fault := range p.faults {
			t.Errorf("%s:%d: %s", file, number+1, fault)
		}
		p.faults = nil
	}
	return p.out.String()
}

func (p *player) line(at time.Duration, id string, what fmt.Stringer) {
	if send, ok := what.(election.Send); ok && !p.verbose && routine(send.Message) {
		return
	}
	fmt.Fprintf(&p.out, "    %8v %s  %v\n", at, id, what)
}

// routine is what every node sends all the time: presences that ask nobody, and all but the first heartbeats.
func routine(msg election.Message) bool {
	switch body := msg.Body.(type) {
	case election.Ack:
		return body.Sequence > 2
	case election.Presence:
		return !body.Asks
	case election.Heartbeat:
		return body.Sequence > 2
	}
	return false
}

func (p *player) command(words []string) error {
	name, args := words[0], words[1:]
	options := map[string]string{}
	var ids []*node
	for _, arg := range args {
		if key, value, found := strings.Cut(arg, "="); found {
			options[key] = value
		} else if n := p.nodes[arg]; n != nil {
			ids = append(ids, n)
		}
	}
	last := ""
	if len(args) > 0 {
		last = args[len(args)-1]
	}
	switch name {
	case "nodes", "node":
		for _, arg := range args {
			if !strings.Contains(arg, "=") {
				if err := p.make(arg, options); err != nil {
					return err
				}
			}
		}
	case "empty":
		ids[0].savedTerm, ids[0].savedNodes, ids[0].savedVote, ids[0].savedPause = 0, nil, election.Vote{}, election.Pause{}
	case "halt", "resume":
		p.step(ids[0], election.SetPause{At: p.now, On: name == "halt"})
	case "members":
		p.step(ids[0], election.ChangeMembers{At: p.now, Add: options["add"], Remove: options["remove"]})
		if _, refusal := ids[0].machine.Change(); refusal != "" {
			fmt.Fprintf(&p.out, "    %8v %s  refused: %s\n", p.now, ids[0].id, refusal)
		}
	case "resign":
		if ids[0].successor = ""; len(ids) > 1 {
			ids[0].successor = ids[1].id
		}
		p.resign(ids[0])
	case "start", "kill":
		for _, n := range ids {
			map[string]func(*node){"start": p.start, "kill": p.kill}[name](n)
		}
	case "pause":
		d, err := time.ParseDuration(last)
		if err != nil {
			return err
		}
		p.pause(ids[0], d)
	case "run":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		p.verbose = last == "verbose"
		p.run(d)
		p.verbose = false
	case "host":
		return p.setHost(ids[0], options)
	case "disk":
		ids[0].diskBroken = last == "broken"
	case "cut":
		p.network.cut[[2]string{args[0], args[1]}] = true
	case "deaf":
		p.network.deaf[last] = true
	case "heal":
		clear(p.network.cut)
	case "lose":
		count, err := strconv.Atoi(last)
		if err != nil {
			return err
		}
		p.network.lose[[2]string{args[0], args[1]}] = count
	case "gone":
		return p.evidence(ids[0], args[1:])
	case "send":
		return p.deceive(args)
	case "status":
		p.status()
	default:
		return fmt.Errorf("no such command")
	}
	return nil
}

func (p *player) make(id string, options map[string]string) error {
	config := election.Config{Delay: 100 * time.Millisecond, Retries: 3, Unclean: true}
	var err error
	n := p.add(id, config)
	for key, value := range options {
		switch key {
		case "priority":
			n.config.Priority, err = strconv.Atoi(value)
		case "retries":
			n.config.Retries, err = strconv.Atoi(value)
		case "delay":
			n.config.Delay, err = time.ParseDuration(value)
		case "disk":
			n.savedTerm, err = strconv.ParseUint(value, 10, 64)
		case "members":
			n.config.Members, err = strconv.Atoi(value)
			n.config.Drift, p.oneGate = 0.05, true
		case "preempt":
			n.config.Preempt = true
			n.config.PreemptDelay, err = time.ParseDuration(value)
		case "unclean":
			n.config.Unclean = value != "no"
		case "witness":
			n.config.Witness = value == "yes"
		case "observe":
			n.config.Observer = value == "yes"
		case "knows":
			n.savedNodes = strings.Split(value, ",")
		default:
			err = fmt.Errorf("no such key: %s", key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *player) setHost(n *node, options map[string]string) error {
	var err error
	for key, value := range options {
		switch key {
		case "lead":
			n.host.CanLead = value != "no"
		case "gate":
			n.host.GateOpen = value == "open"
		case "rest":
			n.host.AtRest = value != "no"
		case "sync":
			n.host.InSync = value != "no"
		case "index":
			n.host.Mirror.Index, err = strconv.ParseUint(value, 10, 64)
		case "silent":
			n.silent = value == "yes"
		case "reason":
			n.host.Reason = value
		case "later":
			n.host.Later, err = parseTerm(value)
		case "stops":
			n.stopsFor, err = time.ParseDuration(value)
		default:
			err = fmt.Errorf("no such key: %s", key)
		}
	}
	if err == nil && !n.silent {
		p.hostReports(n)
	}
	return err
}

// evidence is for what the node watches, or for a term that it has watched.
func (p *player) evidence(n *node, terms []string) error {
	term := n.machine.Watch().Term
	if len(terms) > 0 {
		var err error
		if term, err = parseTerm(terms[0]); err != nil {
			return err
		}
	}
	if _, watched := n.watched[term]; !watched {
		return fmt.Errorf("%s has never watched %v", n.id, term)
	}
	if master := p.nodes[term.Node]; master != nil && master.working == term {
		p.forged[term] = true
	}
	p.gone(n, term)
	return nil
}

func parseTerm(text string) (election.Term, error) {
	number, id, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(number, 10, 64)
	return election.Term{Number: n, Node: id}, err
}

// deceive delivers a message that no machine has sent: send FROM TO KIND TERM SEQUENCE.
func (p *player) deceive(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("want: send FROM TO KIND TERM SEQUENCE")
	}
	term, err := parseTerm(args[3])
	if err != nil {
		return err
	}
	sequence, err := strconv.ParseUint(args[4], 10, 64)
	if err != nil {
		return err
	}
	bodies := map[string]election.Body{
		"heartbeat": election.Heartbeat{Term: term, Sequence: sequence},
		"claim":     election.Claim{Term: term},
		"resign":    election.Resignation{Term: term, Sequence: sequence},
		"presence":  election.Presence{},
	}
	boot := uint64(1)
	if from := p.nodes[args[0]]; from != nil {
		boot = from.boot
	}
	if strings.HasSuffix(args[2], "-of-next-boot") {
		boot++
	}
	body := bodies[strings.TrimSuffix(args[2], "-of-next-boot")]
	p.deliver(p.nodes[args[1]], election.Message{
		From: args[0], Boot: boot, Sequence: 1 << 40, Body: body,
		About: election.About{Role: election.Standby, Delay: 100 * time.Millisecond, Retries: 3},
	})
	return nil
}

func (p *player) status() {
	for _, id := range p.order {
		n := p.nodes[id]
		if !n.running {
			fmt.Fprintf(&p.out, "    %8v %s  not running; disk: term %d, nodes %v\n", p.now, id, n.savedTerm, n.savedNodes)
			continue
		}
		s := n.machine.State()
		gate := ""
		if n.config.Members > 0 && s.Role == election.Master {
			gate = ", gate shut"
			if p.open(n) {
				gate = ", gate open"
			}
		}
		if s.Handover != (election.Handover{}) {
			gate += ", asks to hand over to " + s.Handover.To
		}
		fmt.Fprintf(&p.out, "    %8v %s  %v, leader %v%s: %s\n", p.now, id, s.Role, s.Leader, gate, s.Reason)
	}
}
