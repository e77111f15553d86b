package loader

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// processAttributes: a group of its own, so that a signal from the terminal does not reach it, and death when
// the thread that started it ends.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// reap waits for the end of the process. While it is dead and not collected its number stays taken, and so
// does that of its group: this is the moment to end what it has left behind.
func (p *process) reap() {
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killLocked()
	p.reapLocked()
}

// killLocked ends the group. It is called only while the process has not been collected.
func (p *process) killLocked() {
	_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL)
}
