package loader

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
)

const (
	// longestLine is where a line is cut into pieces, in bytes.
	longestLine = 64 << 10
	// tailLines is how many of the last lines on standard error an error quotes, tailWidth how much of each.
	tailLines = 8
	tailWidth = 400
)

// output is what a plugin's process writes.
type output struct {
	logger *slog.Logger
	// hello passes the first line of standard output to go-plugin, and nothing else.
	hello       *io.PipeReader
	helloWriter *io.PipeWriter

	mu    sync.Mutex // guards what follows
	first string     // the first line of standard output
	spoke bool       // there was one
	tail  []string   // the last lines of standard error
}

func newOutput(logger *slog.Logger) *output {
	o := &output{logger: logger}
	o.hello, o.helloWriter = io.Pipe()
	return o
}

// end tells go-plugin that no handshake will come.
func (o *output) end() { _ = o.helloWriter.Close() }

// readStdout hands the first line to go-plugin. Whatever follows is not for us; it goes to the log, so that
// the pipe never fills up.
func (o *output) readStdout(r io.Reader) {
	defer o.end()
	lines(r, func(line []byte) {
		o.mu.Lock()
		isHello := !o.spoke
		if isHello {
			o.first, o.spoke = string(line), true
		}
		o.mu.Unlock()
		if !isHello {
			o.logger.Info(string(line), "stream", "stdout")
			return
		}
		// An error means that go-plugin has given up.
		_, _ = o.helloWriter.Write(append(line, '\n'))
		o.end()
	})
}

// readStderr passes the plugin's log on and remembers its last lines.
func (o *output) readStderr(r io.Reader) {
	panicking := false
	lines(r, func(line []byte) {
		text := string(line)
		o.mu.Lock()
		if len(o.tail) == tailLines {
			o.tail = o.tail[1:]
		}
		o.tail = append(o.tail, cut(text, tailWidth))
		o.mu.Unlock()
		if record, ok := parseRecord(line); ok {
			emit(o.logger, record)
			return
		}
		panicking = panicking || strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ")
		level := slog.LevelInfo
		if panicking {
			level = slog.LevelError
		}
		o.logger.Log(context.Background(), level, text, "stream", "stderr")
	})
}

// firstLine is the first line of standard output, if there was one.
func (o *output) firstLine() (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.first, o.spoke
}

// lastLines are the last lines of standard error, each indented, or nothing.
func (o *output) lastLines() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.tail) == 0 {
		return ""
	}
	return "\nthe last it wrote to standard error:\n    " + strings.Join(o.tail, "\n    ")
}

// lines calls each with every line, without its end; the slice is valid until each returns. A line that is
// too long comes in pieces. It ends when the other side has closed, or we have.
func lines(r io.Reader, each func(line []byte)) {
	reader := bufio.NewReaderSize(r, longestLine)
	for {
		line, err := reader.ReadSlice('\n')
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			each(line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// cut shortens text to about width bytes.
func cut(text string, width int) string {
	if len(text) <= width {
		return text
	}
	return strings.ToValidUTF8(text[:width], "") + "..."
}

// lineLog is a writer whose lines go to the log. What a plugin prints once it serves reaches us through
// go-plugin in arbitrary pieces.
type lineLog struct {
	logger *slog.Logger
	stream string

	mu   sync.Mutex // guards rest
	rest []byte
}

// Write implements io.Writer.
func (l *lineLog) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, data...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found && len(l.rest) < longestLine {
			return len(data), nil
		}
		if text := string(bytes.TrimRight(line, "\r")); text != "" {
			l.logger.Info(text, "stream", l.stream)
		}
		l.rest = bytes.Clone(rest)
	}
}
