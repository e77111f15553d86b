//go:build unix

package command

import (
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Supported reports why a command cannot be a workload on this system; nil if it can.
func Supported() error { return nil }

// stopSignal returns the signal of that name, with or without SIG.
func stopSignal(name string) (syscall.Signal, error) {
	full := strings.ToUpper(name)
	if !strings.HasPrefix(full, "SIG") {
		full = "SIG" + full
	}
	signal := unix.SignalNum(full)
	switch signal {
	case 0:
		return 0, fmt.Errorf("%q is no signal; want a name, say SIGTERM or SIGINT", name)
	case unix.SIGSTOP, unix.SIGCONT, unix.SIGCHLD, unix.SIGTSTP:
		return 0, fmt.Errorf("%s ends no program; want, say, SIGTERM or SIGINT", full)
	}
	return signal, nil
}
