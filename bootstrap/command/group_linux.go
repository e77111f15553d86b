package command

import (
	"bytes"
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// adopt makes this process the one to which descendants fall whose parents have ended: so that whoever has made
// himself a daemon is still our child, and "no children" means that nobody is left.
func adopt() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}

// reap collects whatever ends, until nothing is left.
func (g *group) reap() {
	for {
		var info unix.Siginfo
		// Looked at, not collected: the number stays taken until we hold the lock.
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil { // ECHILD
			g.cgroup.sweep()
			g.cgroup.removeRuns()
			g.mu.Lock()
			killed := g.killed
			g.mu.Unlock()
			g.finish(groupEvent{killed: killed})
			return
		}
		g.collect()
	}
}

// collect takes one process that has ended.
func (g *group) collect() {
	g.mu.Lock()
	if g.reaped || !g.mainEndedLocked() {
		_, _ = unix.Wait4(-1, nil, unix.WNOHANG, nil)
		g.mu.Unlock()
		return
	}
	// The last moment at which the number of its group is sure to be its own.
	_ = unix.Kill(-g.main, g.stopSignal)
	var status unix.WaitStatus
	_, _ = unix.Wait4(g.main, &status, 0, nil)
	g.reaped = true
	left := len(children())
	g.mu.Unlock()
	g.events <- groupEvent{exit: exitOf(status), left: left}
}

// mainEndedLocked reports whether the first process has ended, without collecting it.
func (g *group) mainEndedLocked() bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, g.main, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
	return err == nil && info.Signo != 0
}

// askRest sends the stop signal to what the first process has left behind. Its process group has got it already:
// a second one means to some programs that they should hurry.
func (g *group) askRest() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range children() {
		if c.group != g.main {
			_ = unix.Kill(c.pid, g.stopSignal)
		}
		_ = unix.Kill(c.pid, unix.SIGCONT)
	}
}

// kill kills everything that is left. Who is born meanwhile is killed by the next call: the children of the dead
// have become ours then.
func (g *group) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.main == 0 {
		return
	}
	g.killed = true
	g.cgroup.kill()
	if !g.reaped {
		_ = unix.Kill(-g.main, unix.SIGKILL)
	}
	for _, c := range children() {
		_ = unix.Kill(c.pid, unix.SIGKILL)
	}
}

// child is a living child of this process, and the process group that it is in.
type child struct{ pid, group int }

func children() []child {
	self := os.Getpid()
	var found []child
	for _, pid := range processes() {
		if s, ok := statOf(pid); ok && s.parent == self && s.state != 'Z' {
			found = append(found, child{pid: pid, group: s.group})
		}
	}
	return found
}

// processes are the numbers of all that are there.
func processes() []int {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	var found []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

type processStat struct {
	state         byte
	parent, group int
}

// statOf reads /proc/PID/stat: "PID (name) state parent group ...", where the name may hold anything.
func statOf(pid int) (processStat, bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return processStat{}, false
	}
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return processStat{}, false
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) < 3 || len(fields[0]) != 1 {
		return processStat{}, false
	}
	parent, err1 := strconv.Atoi(string(fields[1]))
	group, err2 := strconv.Atoi(string(fields[2]))
	return processStat{state: fields[0][0], parent: parent, group: group}, err1 == nil && err2 == nil
}
