//go:build unix && !linux

package command

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// adopt: without a system that hands us orphans, what leaves the process group gets away.
func adopt() error { return nil }

// reap waits for the first process, and then for the end of its group.
func (g *group) reap() {
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(g.main, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	left := 0
	if g.alive() {
		left = 1
	}
	g.events <- groupEvent{exit: exitOf(status), left: left}
	for g.alive() {
		time.Sleep(killEvery)
	}
	g.mu.Lock()
	g.reaped = true
	killed := g.killed
	g.mu.Unlock()
	g.finish(groupEvent{killed: killed})
}

func (g *group) alive() bool { return unix.Kill(-g.main, 0) == nil }

// askRest sends the stop signal to the group.
func (g *group) askRest() { g.signal(g.stopSignal) }

func (g *group) signal(sig syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.main != 0 && !g.reaped {
		_ = unix.Kill(-g.main, sig)
	}
}

// kill kills the group.
func (g *group) kill() {
	g.mu.Lock()
	g.killed = true
	g.mu.Unlock()
	g.signal(unix.SIGKILL)
}

// cgroup is a thing of Linux.
type cgroup struct{ dir string }

func makeCgroup(string) (cgroup, error) {
	return cgroup{}, errors.New("there are no control groups on this system")
}

func (cgroup) forRun() (*os.File, error) { return nil, nil }

func removeOldCgroups(string) {}

func (cgroup) remove() {}

func (cgroup) kill() {}

func (cgroup) populated() bool { return false }

func (cgroup) usable() bool { return false }

func attributes(*os.File) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
