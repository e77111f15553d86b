package command_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/understudy-ha/understudy/bootstrap/command"
)

// through sends text through an outlet and returns what comes out.
func through(text string) []command.Line {
	o := command.NewOutlet()
	var sent bytes.Buffer
	done, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		o.Write(&sent, done)
	}()
	o.ReadStdout(strings.NewReader(text))
	close(done)
	<-written
	var lines []command.Line
	command.ReadLines(&sent, func(l command.Line) { lines = append(lines, l) })
	return lines
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 2*command.MaxLine+5)
	var got []string
	for _, l := range through("one\n\ntwo\x00\xff\n" + long + "\nlast") {
		got = append(got, fmt.Sprintf("%s %d %v", l.Stream, len(l.Text), l.More))
	}
	want := []string{
		"stdout 3 false", "stdout 0 false", "stdout 5 false",
		fmt.Sprintf("stdout %d true", command.MaxLine), fmt.Sprintf("stdout %d true", command.MaxLine), "stdout 5 false",
		"stdout 4 false",
	}
	if strings.Join(got, ";") != strings.Join(want, ";") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if lines := through(""); len(lines) != 0 {
		t.Errorf("lines out of nothing: %v", lines)
	}
}

// A host that does not read costs the program a second, once; what it misses is counted.
func TestHostThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := command.NewOutlet()
		const lines = 5000
		o.ReadStdout(strings.NewReader(strings.Repeat("line\n", lines))) // nobody takes them
		var sent bytes.Buffer
		done := make(chan struct{})
		close(done)
		o.Write(&sent, done)
		var came, dropped uint64
		command.ReadLines(&sent, func(l command.Line) {
			if l.Dropped > 0 {
				dropped += l.Dropped
			} else {
				came++
			}
		})
		if came+dropped != lines || dropped == 0 || came == 0 {
			t.Errorf("%d lines came and %d were counted as lost, of %d", came, dropped, lines)
		}
	})
}

// deadHost takes nothing.
type deadHost struct{}

func (deadHost) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A program that talks to a host that has died goes on.
func TestHostThatHasDied(t *testing.T) {
	o := command.NewOutlet()
	done, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		o.Write(deadHost{}, done)
	}()
	o.ReadStdout(strings.NewReader(strings.Repeat("line\n", 20000)))
	close(done)
	<-written
}

func FuzzOrders(f *testing.F) {
	f.Add([]byte(`{"op":"run","run":{"command":["/bin/true"],"until":5}}` + "\n" + `{"op":"renew","until":7,"number":1}` + "\n"))
	f.Add([]byte("\n"))
	f.Add([]byte(`{"op":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := command.ReceiveOrders(bytes.NewReader(data))
		if err == nil {
			t.Fatal("it has no end")
		}
		if errors.Is(err, io.EOF) && n > bytes.Count(data, []byte("\n"))+1 {
			t.Fatalf("%d orders out of %q", n, data)
		}
	})
}
