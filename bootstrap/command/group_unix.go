//go:build unix

package command

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// group is everything that has come of one program: its first process and all descendants. One goroutine owns it
// from the start of the first until the last is gone, and keeps its thread, because that is what the parent-death
// signal hangs on.
type group struct {
	cgroup cgroup
	held   []uintptr
	outlet *outlet
	// stopSignal asks a process to end.
	stopSignal syscall.Signal
	events     chan groupEvent
	// output are the readers of what it says.
	output sync.WaitGroup

	mu sync.Mutex
	// main is the first process; guarded by mu, and so is every collecting of a process that has ended: who holds
	// mu knows that the numbers of our children belong to them.
	main   int
	reaped bool
	killed bool
	// ours are our ends of the program's streams.
	ours [2]*os.File
}

func newGroup(control cgroup, held []uintptr, stop syscall.Signal, out *outlet) *group {
	// Two events a run.
	return &group{cgroup: control, held: held, outlet: out, stopSignal: stop, events: make(chan groupEvent, 2)}
}

// groupEvent is what has happened to a group: its first process has ended (exit is set), or nothing is left of it.
type groupEvent struct {
	exit *exit
	// left is how many processes the first one has left behind.
	left int
	// killed: something had to be killed.
	killed bool
}

// drainTime is how long we read on after all has ended: a process that has got away may hold the streams open.
const drainTime = 100 * time.Millisecond

// start starts the program. The result is the number of its first process, and a remark if it is contained less
// well than it should be.
func (g *group) start(r *runOrder) (pid int, remark string, err error) {
	type result struct {
		pid    int
		remark string
		err    error
	}
	started := make(chan result)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		pid, remark, err := g.spawn(r)
		started <- result{pid, remark, err}
		if err == nil {
			g.reap()
		}
	}()
	s := <-started
	return s.pid, s.remark, s.err
}

func (g *group) spawn(r *runOrder) (pid int, remark string, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, "", err
	}
	defer null.Close()
	var ours, theirs [2]*os.File
	for i := range ours {
		if ours[i], theirs[i], err = os.Pipe(); err != nil {
			closeAll(ours[:])
			closeAll(theirs[:])
			return 0, "", err
		}
	}
	defer closeAll(theirs[:])
	attr := &syscall.ProcAttr{
		Dir: r.Dir, Env: append(os.Environ(), r.Env...),
		Files: append([]uintptr{null.Fd(), theirs[0].Fd(), theirs[1].Fd()}, g.held...),
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if pid, remark, err = g.fork(r.Command, attr); err != nil {
		closeAll(ours[:])
		return 0, "", &os.PathError{Op: "start", Path: r.Command[0], Err: err}
	}
	g.main, g.reaped, g.killed = pid, false, false
	g.output.Go(func() { g.outlet.read(stdout, ours[0]) })
	g.output.Go(func() { g.outlet.read(stderr, ours[1]) })
	g.ours = ours
	return pid, remark, nil
}

// finish is the last that happens to a run.
func (g *group) finish(e groupEvent) {
	g.mu.Lock()
	ours := g.ours
	g.main = 0
	g.mu.Unlock()
	// The readers end by themselves unless somebody has got away with the other end.
	time.AfterFunc(drainTime, func() { closeAll(ours[:]) })
	g.events <- e
}

// fork starts the process in the control group, or without one if that cannot be.
func (g *group) fork(command []string, attr *syscall.ProcAttr) (pid int, remark string, err error) {
	if g.cgroup.usable() {
		run, err := g.cgroup.forRun()
		if err == nil {
			attr.Sys = attributes(run)
			pid, err = syscall.ForkExec(command[0], command, attr)
			_ = run.Close()
		}
		if err == nil {
			return pid, "", nil
		}
		// The control group may be the reason, or the program itself: that is seen without the group.
		remark = fmt.Sprintf("the program could not be started in its control group (%v), so that only descent tells what belongs to it", err)
	}
	attr.Sys = attributes(nil)
	if pid, err = syscall.ForkExec(command[0], command, attr); err == nil && remark != "" {
		g.cgroup = cgroup{}
	}
	return pid, remark, err
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // a nil file only answers that it is one
	}
}

// askMain sends the first process the stop signal, and wakes it up if it has been stopped.
func (g *group) askMain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.main != 0 && !g.reaped {
		_ = unix.Kill(g.main, g.stopSignal)
		_ = unix.Kill(g.main, unix.SIGCONT)
	}
}

func exitOf(status unix.WaitStatus) *exit {
	if status.Signaled() {
		return &exit{Code: -1, Signal: unix.SignalName(status.Signal())}
	}
	return &exit{Code: status.ExitStatus()}
}
