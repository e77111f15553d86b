//go:build unix && !linux

package loader

import "syscall"

// processAttributes: a group of its own, so that a signal from the terminal does not reach it. That the host
// is gone it learns from its standard input.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
