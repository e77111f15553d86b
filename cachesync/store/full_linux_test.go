package store_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/cachesync/ledger"
	"github.com/understudy-ha/understudy/cachesync/store"
)

// A real file system runs full: what was taken stays, what waits is written when there is room.
func TestFullFileSystem(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may mount a small file system")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	options := store.Options{Dir: filepath.Join(dir, "mirror"), DedupeCount: limits().DedupeCount, Retry: 10 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}
	s, err := store.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := load(s); err != nil {
		t.Fatal(err)
	}
	w := newWriter(4)
	if err := s.Append(w.group(t, 100)); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	// Too much for what a preallocated log may have left.
	payload := make([]byte, 24<<20)
	op := ledger.Op{Kind: ledger.Received, MessageID: "large", Payload: payload}
	position := w.table.Position()
	position.Index++
	if err := w.table.Apply(&ledger.LogEntry{Position: position, Op: op}); err != nil {
		t.Fatal(err)
	}
	appended := make(chan error, 1)
	change := w.table.Changed(&op)
	go func() { appended <- s.Append([]ledger.Change{change}) }()
	for s.Full() == nil {
		select {
		case err := <-appended:
			t.Fatalf("it was written without room: %v", err)
		default:
		}
	}
	if text := s.Full().Error(); !strings.Contains(text, options.Dir) {
		t.Errorf("the error does not name the path: %v", text)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := <-appended; err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if s, err = store.Open(options); err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	table, _, err := load(s)
	if err != nil || !reflect.DeepEqual(contents(table), contents(w.table)) {
		t.Errorf("found %d messages, want %d: %v", table.Len(), w.table.Len(), err)
	}
}

// fill writes a file until there is no room.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	block := make([]byte, 64<<10)
	for err == nil {
		_, err = file.Write(block)
	}
	if !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		t.Fatal(err)
	}
}
