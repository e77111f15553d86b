package loader

import "strings"

// ParseSums reads a list of checksums.
func ParseSums(text string) error {
	_, err := parseSums(strings.NewReader(text), sumsFile)
	return err
}

// NewSupervisor makes a supervisor with another way to launch.
var NewSupervisor = newSupervisor

// FakePlugin is a plugin without a process, and how to end it.
func FakePlugin(name string) (p *Plugin, die func()) {
	p = &Plugin{Name: name, process: newProcess(name, name, nil, nil), closeClient: func() {}, released: make(chan struct{})}
	return p, func() {
		close(p.process.exited)
		close(p.process.done)
		close(p.released)
	}
}
