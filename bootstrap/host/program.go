package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
	"unicode/utf8"
)

// program is a command that somebody wants to be run: a hook, or a check.
type program struct {
	words []string
	env   []string
	// line is given each line of the output, one at a time; long ones are cut.
	line func(text string)
}

// The bounds of a program's output, and how long a child that it left behind may hold its output open.
const (
	maxOutputLine  = 1024
	maxOutputLines = 200
	outputPatience = time.Second
)

// run runs it to its end. When ctx ends its whole process group is killed. The error says how it failed.
func (p program) run(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, p.words[0], p.words[1:]...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.WaitDelay = outputPatience
	ownGroup(cmd)
	output := &lineWriter{line: p.line}
	cmd.Stdout, cmd.Stderr = output, output // one writer for both, so they are written one after the other
	err := cmd.Run()
	output.flush()
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil:
		return nil // what it has started and left behind may hold its output open
	case ctx.Err() != nil:
		return fmt.Errorf("it was killed: %w", context.Cause(ctx))
	}
	return err
}

// lineWriter cuts what is written into lines.
type lineWriter struct {
	line  func(string)
	rest  []byte
	lines int
}

var _ io.Writer = (*lineWriter)(nil)

func (w *lineWriter) Write(text []byte) (int, error) {
	written := len(text)
	for len(text) > 0 {
		line, rest, ended := bytes.Cut(text, []byte{'\n'})
		if room := maxOutputLine - len(w.rest); len(line) > room {
			line = line[:room]
		}
		w.rest = append(w.rest, line...)
		if !ended {
			break
		}
		w.flush()
		text = rest
	}
	return written, nil
}

func (w *lineWriter) flush() {
	line := bytes.TrimRight(w.rest, "\r")
	w.rest = w.rest[:0]
	if len(line) == 0 {
		return
	}
	w.lines++
	switch {
	case w.line == nil || w.lines > maxOutputLines:
	case w.lines == maxOutputLines:
		w.line("... and more, which is not shown")
	default:
		w.line(printableLine(line))
	}
}

// printableLine keeps a program from writing control characters into a log.
func printableLine(line []byte) string {
	var out bytes.Buffer
	scanner := bufio.NewScanner(bytes.NewReader(line))
	scanner.Split(bufio.ScanRunes)
	for scanner.Scan() {
		if r, _ := utf8.DecodeRune(scanner.Bytes()); r < ' ' || r == 0x7f {
			out.WriteByte(' ')
			continue
		}
		out.Write(scanner.Bytes())
	}
	return out.String()
}
