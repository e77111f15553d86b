package cluster

import (
	"context"
	"errors"
	"testing"
)

func TestLog(t *testing.T) {
	log := newLog()
	write := func(text string) {
		t.Helper()
		if n, err := log.Write([]byte(text)); n != len(text) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	write(`{"time":"2026-11-24T06:00:00.5Z","level":"INFO","msg":"Started listener","node":"node-1"}` + "\nplain ")
	write("text\n{\"a\":1}\nunfini")

	lines := log.Lines(0)
	if len(lines) != 3 || log.Len() != 3 {
		t.Fatalf("lines: %v", lines)
	}
	first := lines[0]
	if !first.JSON() || first.Level != "INFO" || first.Msg != "Started listener" || first.Attrs["node"] != "node-1" || first.Time.Nanosecond() != 5e8 {
		t.Errorf("first line: %+v", first)
	}
	for _, line := range lines[1:] {
		if line.JSON() || line.Msg != line.Raw {
			t.Errorf("not a line of the log: %+v", line)
		}
	}
	if want := first.Raw + "\nplain text\n{\"a\":1}\nunfini"; log.String() != want {
		t.Errorf("String: %q", log.String())
	}

	if line, err := log.Await(t.Context(), 0, "listener"); err != nil || line.Raw != first.Raw {
		t.Errorf("Await: %v, %v", line, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := log.Await(ctx, 1, "listener"); !errors.Is(err, context.Canceled) {
		t.Errorf("Await what has passed: %v", err)
	}
	waiting, from := make(chan error), log.Len()
	go func() {
		_, err := log.Await(t.Context(), from, "finished")
		waiting <- err
	}()
	write("shed\n")
	if err := <-waiting; err != nil {
		t.Errorf("Await what comes: %v", err)
	}
}
