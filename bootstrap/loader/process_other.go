//go:build !linux

package loader

// reap waits for the end of the process.
func (p *process) reap() {
	_, _ = p.cmd.Process.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reapLocked()
}

// killLocked ends the process, and not its group: without a look at a dead process that does not collect it,
// the group's number could belong to somebody else by now. Go knows whether the process itself was collected.
func (p *process) killLocked() {
	_ = p.cmd.Process.Kill()
}
