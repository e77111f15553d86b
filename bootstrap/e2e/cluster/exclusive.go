package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Exclusive is a folder on which the program of bootstrap/e2e/exclusive works, which must run once in a cluster, and its
// journal of who did. It is used by one goroutine.
type Exclusive struct {
	// Dir is the folder, Binary the program.
	Dir, Binary string
	read        int
}

// Work is a line of the journal.
type Work struct{ What, Who, Node, Term, PID string }

// NewExclusive builds the program into a folder, which must be there, and makes a folder for its work in it.
func NewExclusive(ctx context.Context, dir string) (*Exclusive, error) {
	e := &Exclusive{Dir: filepath.Join(dir, "work"), Binary: filepath.Join(dir, "exclusive")}
	if err := BuildCommand(ctx, e.Binary, "bootstrap/e2e/exclusive"); err != nil {
		return nil, err
	}
	return e, os.Mkdir(e.Dir, 0o755)
}

// Command is the value of workload.command.
func (e *Exclusive) Command(flags string) string { return e.Binary + " " + flags + " " + e.Dir }

// Next returns what has been written since the last call.
func (e *Exclusive) Next() ([]Work, error) {
	content, err := os.ReadFile(filepath.Join(e.Dir, "journal"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("journal: %w", err)
	}
	end := strings.LastIndexByte(string(content), '\n') + 1
	var lines []Work
	for line := range strings.Lines(string(content[e.read:end])) {
		f := strings.Fields(line)
		if len(f) != 6 {
			return nil, fmt.Errorf("journal: a torn line: %q", line)
		}
		lines = append(lines, Work{What: f[0], Who: f[1], Node: f[2], Term: f[3], PID: f[4]})
	}
	e.read = end
	return lines, nil
}

// Overlaps says where two were at work at one time: the program has found another one, or one still wrote after the
// next one had begun.
func (e *Exclusive) Overlaps() ([]string, error) {
	var faults []string
	found, err := os.ReadFile(filepath.Join(e.Dir, "overlaps"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("overlaps: %w", err)
	}
	for line := range strings.Lines(string(found)) {
		faults = append(faults, "it found another one at work: "+strings.TrimSpace(line))
	}
	e.read = 0
	lines, err := e.Next()
	if err != nil {
		return nil, err
	}
	last := map[string]Work{}
	gone := map[Work]bool{}
	for _, w := range lines {
		w.What = ""
		if gone[w] {
			faults = append(faults, fmt.Sprintf("%s %s of %s in term %s wrote after the next one had begun", w.Who, w.PID, w.Node, w.Term))
			delete(gone, w) // said once
		}
		if before, ok := last[w.Who]; ok && before != w {
			gone[before] = true
		}
		last[w.Who] = w
	}
	return faults, nil
}
