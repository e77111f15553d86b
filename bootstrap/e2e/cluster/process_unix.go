//go:build unix && !linux

package cluster

import "syscall"

// sysProcAttr gives a node a process group of its own, so that Ctrl-C on the terminal reaches only the harness.
func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
