package command

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// What a program says goes through the shim to the host line by line: a frozen or dead host must neither stop the
// program nor keep it from saying its last words.

// stream is where a line comes from.
type stream byte

const (
	stdout stream = 1
	stderr stream = 2
	// lost is no line but the number of lines that nobody has taken.
	lost stream = 3
)

func (s stream) String() string {
	if s == stderr {
		return "stderr"
	}
	return "stdout"
}

// line is one line without its end, or a piece of a longer one.
type line struct {
	stream stream
	// more: the line goes on in the next one of its stream.
	more bool
	text []byte
}

const (
	// maxLine bounds a line of output; a longer one comes in pieces.
	maxLine = 8 << 10
	// backlog is how many lines wait for the host.
	backlog = 512
	// linePatience is how long a program waits for a host that does not read. Then its lines are counted and dropped
	// until the host reads again.
	linePatience = time.Second
)

// outlet is the way of all lines to the host.
type outlet struct {
	lines chan line
	// stuck: the host has not read for linePatience.
	stuck   atomic.Bool
	dropped atomic.Uint64
}

func newOutlet() *outlet { return &outlet{lines: make(chan line, backlog)} }

// read takes lines from a stream of the program until it ends.
func (o *outlet) read(s stream, from io.Reader) {
	in := bufio.NewReaderSize(from, maxLine)
	for {
		text, err := in.ReadSlice('\n')
		more := errors.Is(err, bufio.ErrBufferFull)
		if err == nil {
			text = text[:len(text)-1]
		}
		if err == nil || more || len(text) > 0 {
			o.put(line{stream: s, more: more, text: append([]byte(nil), text...)})
		}
		if err != nil && !more {
			return
		}
	}
}

// put waits for a host that is slow, but not for one that is not there.
func (o *outlet) put(l line) {
	select {
	case o.lines <- l:
		return
	default:
	}
	if !o.stuck.Load() {
		patience := time.NewTimer(linePatience)
		defer patience.Stop()
		select {
		case o.lines <- l:
			return
		case <-patience.C:
			o.stuck.Store(true)
		}
	}
	o.dropped.Add(1)
}

// write sends the lines to the host until done is closed and none is left. When the host has gone they are thrown
// away.
func (o *outlet) write(to io.Writer, done <-chan struct{}) {
	out := bufio.NewWriterSize(to, 4*maxLine)
	for last := false; !last; {
		select {
		case l := <-o.lines:
			writeLine(out, l)
		case <-done:
			last = true
		}
		for more := true; more; {
			select {
			case l := <-o.lines:
				writeLine(out, l)
			default:
				more = false
			}
		}
		if n := o.dropped.Swap(0); n > 0 {
			writeLine(out, line{stream: lost, text: binary.AppendUvarint(nil, n)})
		}
		// The error stays with the writer: everything after it is thrown away.
		_ = out.Flush()
		o.stuck.Store(false)
	}
}

func writeLine(to *bufio.Writer, l line) {
	head := [4]byte{byte(l.stream)}
	if l.more {
		head[1] = 1
	}
	binary.BigEndian.PutUint16(head[2:], uint16(len(l.text)))
	_, _ = to.Write(head[:])
	_, _ = to.Write(l.text)
}

// readLines gives the host what the shim has sent, until the shim has gone. The text is valid during the call.
func readLines(from io.Reader, take func(l line, dropped uint64)) {
	in := bufio.NewReaderSize(from, 4*maxLine)
	var text [maxLine]byte
	for {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		size := int(binary.BigEndian.Uint16(head[2:]))
		if size > maxLine {
			return // not from our shim
		}
		if _, err := io.ReadFull(in, text[:size]); err != nil {
			return
		}
		l := line{stream: stream(head[0]), more: head[1] == 1, text: text[:size]}
		if l.stream == lost {
			n, _ := binary.Uvarint(l.text)
			take(line{}, n)
			continue
		}
		take(l, 0)
	}
}
