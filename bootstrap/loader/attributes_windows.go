package loader

import "syscall"

// processAttributes: a group of its own, so that Ctrl-C does not reach it. That the host is gone it learns
// from its standard input.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
