package netns_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// fault is something that happens to a cluster at work, most often to its master.
type fault struct {
	name string
	// strike makes it happen, and returns how it ends; nil if it ends by itself.
	strike func(f *field, master *cluster.Node) (undo func())
	// hold is how long it lasts without a quorum and with one; until another node leads if it is 0.
	hold, holdQuorum time.Duration
	// apart: without a quorum both sides may have a master while it lasts.
	apart bool
	// killed: the process of the master's host dies of it; or that of the node victim.
	killed bool
	victim string
	// noisy: an election may be under way when it ends.
	noisy bool
}

// short is enough for what silence brings about, long also for what the mirrors do about it, whose patience is 2 s.
const (
	short = silence * 3 / 2
	long  = 3 * silence
)

// kill, stop and the others are the faults of package netns's table.
func killHost(f *field, master *cluster.Node) func() {
	master.Kill()
	return func() { f.start(master) }
}

func killPlugin(f *field, master *cluster.Node) func() {
	f.kill(f.plugin(master))
	return nil
}

func killBoth(f *field, master *cluster.Node) func() {
	pid := f.plugin(master)
	master.Kill()
	// It may have noticed that its host is gone.
	if process, err := os.FindProcess(pid); err == nil {
		_ = process.Kill()
	}
	return func() { f.start(master) }
}

func freeze(f *field, master *cluster.Node) func() {
	f.signal(master, syscall.SIGSTOP)
	return func() { f.signal(master, syscall.SIGCONT) }
}

func linkDown(f *field, master *cluster.Node) func() {
	f.net.plug(master.ID, "down")
	return func() { f.net.plug(master.ID, "up") }
}

// partition puts the master and so many standbys, or only so many standbys, on a side of their own.
func partition(withMaster bool, standbys int) func(*field, *cluster.Node) func() {
	return func(f *field, master *cluster.Node) func() {
		var side []string
		if withMaster {
			side = append(side, master.ID)
		}
		for _, node := range f.others(master)[:standbys] {
			side = append(side, node.ID)
		}
		f.net.split(side...)
		return func() {
			for _, host := range side {
				f.net.mend(host)
			}
		}
	}
}

func mute(f *field, master *cluster.Node) func() {
	f.net.mute(master.ID)
	return f.net.clear
}

func deafen(f *field, master *cluster.Node) func() {
	f.net.deafen(master.ID)
	return f.net.clear
}

func lossy(f *field, _ *cluster.Node) func() {
	f.net.lose(30)
	return f.net.clear
}

func resets(f *field, master *cluster.Node) func() {
	f.net.reset(master.ID, "")
	return func() { f.net.accept(master.ID) }
}

// keepAlive is after how long an idle connection to the master's process notices a firewall that resets it.
const keepAlive = 16 * time.Second

var threeNodes = []fault{
	{name: "SIGKILL host", strike: killHost, killed: true},
	{name: "SIGKILL failover plugin", strike: killPlugin, hold: silence, holdQuorum: silence},
	{name: "SIGKILL host and plugin", strike: killBoth, killed: true},
	{name: "SIGSTOP host 300 ms, SIGCONT", strike: freeze, hold: 300 * time.Millisecond, holdQuorum: 300 * time.Millisecond},
	{name: "SIGSTOP host until another leads, SIGCONT", strike: freeze},
	{name: "link of the master down, up", strike: linkDown, apart: true},
	{name: "partition M / SS", strike: partition(true, 0), apart: true},
	{name: "partition MS / S, 1.5 s", strike: partition(false, 1), apart: true, hold: short, holdQuorum: short},
	{name: "partition MS / S, 3 s", strike: partition(false, 1), apart: true, hold: long, holdQuorum: long},
	{name: "master sends nothing", strike: mute, apart: true},
	{name: "master hears nothing", strike: deafen, apart: true, hold: short},
	{name: "30 % loss, 4 s", strike: lossy, apart: true, noisy: true, hold: 4 * time.Second, holdQuorum: 4 * time.Second},
	{name: "firewall at the master resets TCP", strike: resets, apart: true, hold: keepAlive, holdQuorum: long},
}

var fiveNodes = []fault{
	{name: "SIGKILL host", strike: killHost, killed: true},
	{name: "SIGSTOP host until another leads, SIGCONT", strike: freeze},
	{name: "partition M / SSSS", strike: partition(true, 0), apart: true},
	{name: "partition MSSS / S, 1.5 s", strike: partition(false, 1), apart: true, hold: short, holdQuorum: short},
	{name: "partition MS / SSS", strike: partition(true, 1), apart: true},
	{name: "partition MSS / SS, 1.5 s", strike: partition(false, 2), apart: true, hold: short, holdQuorum: short},
	{name: "30 % loss, 4 s", strike: lossy, apart: true, noisy: true, hold: 4 * time.Second, holdQuorum: 4 * time.Second},
}

// row is what a fault has cost.
type row struct {
	nodes, members int
	fault          string
	// most is how many gates were open at once, twice for how long more than one was.
	most  int
	twice time.Duration
	// shut is for how long none was open, pause for how long no file came out.
	shut, pause time.Duration
	promotions  int
	// masters is how many gates were open when the fault ended, stoodDown how many of them were shut then.
	masters, stoodDown int
	// fenced is how many masters heard from the output folder that a later one has written there.
	fenced int
}

const tableHead = `| nodes | quorum | fault | gates open at once | more than one for | no gate open for | no file for | promotions | masters at its end | then stood down | fenced off |
|---|---|---|---|---|---|---|---|---|---|---|`

func (r row) String() string {
	quorum := "no"
	if r.members > 0 {
		quorum = strconv.Itoa(r.members)
	}
	return fmt.Sprintf("| %d | %s | %s | %d | %d ms | %d ms | %d ms | %d | %d | %d | %d |", r.nodes, quorum, r.fault, r.most,
		r.twice.Milliseconds(), r.shut.Milliseconds(), r.pause.Milliseconds(), r.promotions, r.masters, r.stoodDown, r.fenced)
}

// TestFaults: whatever happens, with a quorum there is never more than one open gate, and without one only where the
// network is cut; when it is over there is one master, all who led beside it have stood down, in the same process, and
// no file is lost or written twice. The table of what it took is in the log.
func TestFaults(t *testing.T) {
	needNetwork(t)
	var table []string
	for _, group := range []struct {
		name           string
		nodes, members int
		faults         []fault
	}{
		{"3", 3, 0, threeNodes},
		{"3quorum", 3, 3, threeNodes},
		{"5", 5, 0, fiveNodes},
		{"5quorum", 5, 5, fiveNodes},
	} {
		t.Run(group.name, func(t *testing.T) {
			f := newField(t, group.nodes, group.members)
			for _, fault := range group.faults {
				r, ok := f.suffer(t, fault, group.members)
				if !ok {
					t.Fatal("the cluster has not come to rest, so nothing more can be told of it")
				}
				if r.nodes > 0 {
					table = append(table, r.String())
				}
			}
			f.finish()
		})
	}
	t.Logf("%s, %d cores, delay %v, retries %d\n%s\n%s", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), delay, retries,
		tableHead, strings.Join(table, "\n"))
}

// suffer lets a fault happen, as a subtest, waits until all is well, and says what it took. It is not ok if that never
// came about; a subtest that -run leaves out is.
func (f *field) suffer(t *testing.T, c fault, members int) (r row, ok bool) {
	parent := f.t
	defer func() { f.t = parent }()
	ok = true
	t.Run(c.name, func(t *testing.T) {
		f.t, ok = t, false
		r = f.strike(c, members)
		t.Log(r)
		ok = true
	})
	return r, ok
}

func (f *field) strike(c fault, members int) row {
	f.t.Helper()
	master := f.settled()
	f.warm(master)
	pids, promotions, fenced := f.pids(), f.promoted(), f.fenced()

	struck := time.Now()
	undo := c.strike(f, master)
	hold := c.hold
	if members > 0 {
		hold = c.holdQuorum
	}
	if hold > 0 {
		<-time.After(hold) // The fault lasts so long.
	} else {
		f.leads(f.others(master))
	}
	healed, atHeal := time.Now(), f.promoted()
	if undo != nil {
		undo()
	}
	last := f.settled()

	f.slow(struck)
	all := spans(f.gates.since(struck.Add(-before)))
	r := row{
		nodes: len(f.Nodes), members: members, fault: c.name, shut: shut(all), pause: pause(f.writes, struck, time.Now()),
		promotions: f.promoted() - promotions, fenced: f.fenced() - fenced,
	}
	r.most, r.twice = overlap(all)
	if r.most > 1 && (members > 0 || !c.apart) {
		f.t.Errorf("%d gates were open at once, for %v", r.most, r.twice)
	}
	for _, s := range all {
		if s.from.Before(healed) && s.to.After(healed) {
			r.masters++
			if s.node != last.ID {
				r.stoodDown++
			}
		}
	}
	f.heal(c, r, f.promoted()-atHeal)
	f.stayed(c, master, pids)
	if f.t.Failed() {
		for _, s := range all {
			f.t.Logf("gate of %s open from %v to %v after the fault, which ended at %v", s.node, s.from.Sub(struck), s.to.Sub(struck), healed.Sub(struck))
		}
	}
	return r
}

// heal sees that nobody was promoted anew when a fault was over and somebody led, so that exactly one of two masters
// stood down.
func (f *field) heal(c fault, r row, anew int) {
	f.t.Helper()
	if anew > 0 && r.masters > 0 && !c.noisy {
		f.t.Errorf("%d promotions when the fault was over, and %d led: all but one of them should just stand down", anew, r.masters)
	}
}

// before is from how long before a fault on the gates count.
const before = 100 * time.Millisecond

// warm waits until the master's gate has been seen open since before, so that a fault has something to end.
func (f *field) warm(master *cluster.Node) {
	f.t.Helper()
	from := time.Now()
	f.eventually("the gate of "+master.ID+" has been seen", func() error {
		for _, s := range spans(f.gates.since(from)) {
			if s.node == master.ID && s.to.Sub(s.from) >= before/2 {
				return nil
			}
		}
		return errors.New("it has not")
	})
}

// stayed sees that every node is in the process in which it was, but for one that was killed and started again.
func (f *field) stayed(c fault, master *cluster.Node, pids map[string]int) {
	f.t.Helper()
	victim := c.victim
	if c.killed && victim == "" {
		victim = master.ID
	}
	for _, node := range f.Nodes {
		if same := node.PID() == pids[node.ID]; !node.Running() || same == (node.ID == victim) {
			f.t.Errorf("%s: running %v, in the same process %v; killed was %q", node.ID, node.Running(), same, victim)
		}
	}
}

// promoted is how often anybody was promoted.
func (f *field) promoted() int {
	count := 0
	for _, n := range f.promotions() {
		count += n
	}
	return count
}

func (f *field) start(node *cluster.Node) {
	f.t.Helper()
	if err := node.Start(); err != nil {
		f.t.Fatal(err)
	}
}

func (f *field) signal(node *cluster.Node, signal os.Signal) {
	f.t.Helper()
	if err := node.Signal(signal); err != nil {
		f.t.Fatal(err)
	}
}

// plugin is the process of a node's failover plugin.
func (f *field) plugin(node *cluster.Node) int {
	f.t.Helper()
	for _, plugin := range f.gates.status(node.ID).GetPlugins() {
		if plugin.GetName() == "failover" && plugin.GetPid() > 0 {
			return int(plugin.GetPid())
		}
	}
	f.t.Fatalf("%s has no failover plugin", node.ID)
	return 0
}

func (f *field) kill(pid int) {
	f.t.Helper()
	process, err := os.FindProcess(pid)
	if err == nil {
		err = process.Kill()
	}
	if err != nil {
		f.t.Fatalf("kill %d: %v", pid, err)
	}
}
