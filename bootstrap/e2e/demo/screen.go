package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// screen shows the story: a line for everything that happens and, on a terminal, a line at the bottom that says
// who leads and how far things are. It is used by one goroutine.
type screen struct {
	out      io.Writer
	terminal bool
	began    time.Time

	order []string
	role  map[string]string

	written, total int
	drawn          time.Time
}

// The line at the bottom is drawn, and without a terminal a line written, no more often than this.
const (
	redraw = 100 * time.Millisecond
	report = 2 * time.Second
)

func newScreen(file *os.File) *screen {
	info, err := file.Stat()
	s := &screen{
		out:      file,
		terminal: err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb",
		began:    time.Now(),
		order:    []string{"node-1", "node-2", "node-3"},
		role:     map[string]string{},
	}
	for _, node := range s.order {
		s.role[node] = "starts"
	}
	return s
}

// say reports something that has happened.
func (s *screen) say(format string, args ...any) {
	s.wipe()
	fmt.Fprintf(s.out, "%6.2fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
	s.drawn = time.Time{}
	if s.terminal {
		s.draw()
	}
}

// leads shows the node as master and the others that run as standbys.
func (s *screen) leads(node string) {
	for _, other := range s.order {
		if s.role[other] != "down" {
			s.role[other] = "standby"
		}
	}
	s.role[node] = "LEADS"
}

func (s *screen) down(node string)    { s.role[node] = "down" }
func (s *screen) standby(node string) { s.role[node] = "standby" }

// progress shows how many outputs there are.
func (s *screen) progress(written, total int) {
	s.written, s.total = written, total
	every := report
	if s.terminal {
		every = redraw
	}
	if time.Since(s.drawn) >= every {
		s.draw()
	}
}

// close leaves the terminal as it should be.
func (s *screen) close() { s.wipe() }

func (s *screen) wipe() {
	if s.terminal {
		fmt.Fprint(s.out, "\r\x1b[K")
	}
}

func (s *screen) draw() {
	s.drawn = time.Now()
	if s.total == 0 {
		return
	}
	// The line fits 80 columns: one that wraps cannot be wiped.
	const width = 16
	full := min(width, s.written*width/s.total)
	var nodes strings.Builder
	for _, node := range s.order {
		fmt.Fprintf(&nodes, "  %s %-7s", node, s.role[node])
	}
	line := fmt.Sprintf("[%s%s] %4d/%d %s", strings.Repeat("#", full), strings.Repeat(".", width-full),
		s.written, s.total, strings.TrimRight(nodes.String(), " "))
	if s.terminal {
		fmt.Fprint(s.out, "\r\x1b[K"+line)
		return
	}
	fmt.Fprintf(s.out, "%6.2fs  %s\n", time.Since(s.began).Seconds(), line)
}
