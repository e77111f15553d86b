package cluster

import "syscall"

// sysProcAttr gives a node a process group of its own, so that Ctrl-C on the console reaches only the harness.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
