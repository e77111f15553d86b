package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Line is one line of a node's log.
type Line struct {
	Time       time.Time
	Level, Msg string
	// Attrs are the other attributes of a JSON line.
	Attrs map[string]any
	// Raw is the line as it was written. A line that is not JSON has only this and Msg.
	Raw string
}

// JSON reports whether the line had the log's form. What has not comes from elsewhere: a panic, the race
// detector, a stray print.
func (l Line) JSON() bool { return l.Level != "" }

// Log is what a node has said on stdout and stderr, over all of its lives. It is an io.Writer for one process
// at a time and may be read from any goroutine.
type Log struct {
	mu      sync.Mutex
	lines   []Line
	partial []byte
	grown   chan struct{}
	file    io.Writer
}

func newLog() *Log { return &Log{grown: make(chan struct{})} }

// Write takes output of the process.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		// The copy on disk is for people; a full disk must not end the node with SIGPIPE.
		_, _ = l.file.Write(p)
	}
	l.partial = append(l.partial, p...)
	for {
		end := bytes.IndexByte(l.partial, '\n')
		if end < 0 {
			return len(p), nil
		}
		l.lines = append(l.lines, parseLine(string(l.partial[:end])))
		l.partial = l.partial[end+1:]
		close(l.grown)
		l.grown = make(chan struct{})
	}
}

func (l *Log) setFile(file io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file = file
}

// Lines returns the lines from number from on.
func (l *Log) Lines(from int) []Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Line(nil), l.lines[min(from, len(l.lines)):]...)
}

// Len is the number of lines so far: what comes next has this number.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// Await waits for a line, from number from on, whose message contains text.
func (l *Log) Await(ctx context.Context, from int, text string) (Line, error) {
	for {
		l.mu.Lock()
		lines, grown := l.lines, l.grown
		l.mu.Unlock()
		for ; from < len(lines); from++ {
			if strings.Contains(lines[from].Msg, text) {
				return lines[from], nil
			}
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return Line{}, fmt.Errorf("wait for the log line %q: %w", text, ctx.Err())
		}
	}
}

// String gives the log as text.
func (l *Log) String() string {
	var text strings.Builder
	for _, line := range l.Lines(0) {
		text.WriteString(line.Raw + "\n")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	text.Write(l.partial)
	return text.String()
}

func parseLine(raw string) Line {
	line := Line{Msg: raw, Raw: raw}
	attrs := map[string]any{}
	if json.Unmarshal([]byte(raw), &attrs) != nil {
		return line
	}
	level, _ := attrs["level"].(string)
	msg, hasMsg := attrs["msg"].(string)
	if level == "" || !hasMsg {
		return line
	}
	if stamp, ok := attrs["time"].(string); ok {
		line.Time, _ = time.Parse(time.RFC3339Nano, stamp)
	}
	delete(attrs, "time")
	delete(attrs, "level")
	delete(attrs, "msg")
	line.Level, line.Msg, line.Attrs = level, msg, attrs
	return line
}
