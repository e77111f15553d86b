package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/understudy-ha/understudy/cachesync/ledger"
	"github.com/understudy-ha/understudy/cachesync/store"
)

// history is the states that a store may be found in: those after each group.
type history struct {
	mu     sync.Mutex
	states []ledger.Chunk
	acked  int // index of the last state that was acknowledged
}

func (h *history) begin(state ledger.Chunk) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.states = append(h.states, state)
}

func (h *history) ack() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acked = len(h.states) - 1
}

// find returns which state it is, or -1.
func (h *history) find(state ledger.Chunk) int {
	return slices.IndexFunc(h.states, func(s ledger.Chunk) bool { return reflect.DeepEqual(s, state) })
}

// work writes groups, with a table that is replaced among them.
func (h *history) work(t *testing.T, s *store.Store, seed uint64, groups int) {
	w := newWriter(seed)
	h.begin(contents(w.table))
	h.ack()
	for i := range groups {
		var err error
		if i == groups/2 {
			other := newWriter(seed + 1)
			other.group(t, 60)
			w = other
			h.begin(contents(w.table))
			err = replace(s, w.table)
		} else {
			changes := w.group(t, 1+w.random.IntN(4))
			h.begin(contents(w.table))
			err = s.Append(changes)
		}
		if err != nil {
			t.Error(err)
			return
		}
		h.ack()
	}
}

// The power fails before any write, sync, rename or removal, with all, half or none of what was not synced on the
// disk: what was acknowledged is found, or that and the group under way.
func TestPowerLossAtAnyOperation(t *testing.T) {
	type crash struct {
		fs    *vfs.MemFS
		acked int
		what  string
	}
	var crashes []crash
	disk := vfs.NewCrashableMem()
	h := &history{}
	random := rand.New(rand.NewPCG(1, 1))
	var mu sync.Mutex
	var working atomic.Bool
	fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !working.Load() || op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, percent := range []int{0, 50, 100} {
			// The state is that before the operation; nothing is acknowledged meanwhile.
			clone := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: random})
			crashes = append(crashes, crash{clone, h.acked, fmt.Sprintf("before %v of %s, %d %%", op.Kind, filepath.Base(op.Path), percent)})
		}
		return nil
	}))
	s := open(t, fs)
	if _, _, err := load(s); err != nil {
		t.Fatal(err)
	}
	working.Store(true)
	h.work(t, s, 11, 40)
	working.Store(false)
	closeStore(t, s)
	if len(crashes) < 100 {
		t.Fatalf("only %d crashes", len(crashes))
	}
	for _, c := range crashes {
		s, err := tryOpen(c.fs)
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		table, _, err := load(s)
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if at := h.find(contents(table)); at != c.acked && at != c.acked+1 {
			t.Fatalf("%s: state %d was acknowledged, %d is found:\n%+v", c.what, c.acked, at, contents(table))
		}
		closeStore(t, s)
	}
}

// copyFS is a copy in which the named file has other contents.
func copyFS(t testing.TB, from vfs.FS, name string, data []byte) vfs.FS {
	t.Helper()
	to := vfs.NewMem()
	if ok, err := vfs.Clone(from, to, "data", "data"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if name == "" {
		return to
	}
	file, err := to.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(slices.Clone(data)); err != nil { // with -race this file system changes what it was given
		t.Fatal(err)
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		t.Fatal(err)
	}
	return to
}

// contentsOf returns the files whose name ends like that, biggest first.
func contentsOf(t testing.TB, fs vfs.FS, suffix string) (names []string, data map[string][]byte) {
	t.Helper()
	data = make(map[string][]byte)
	all, err := fs.List(dir + "/v1")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		name = dir + "/v1/" + name
		file, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if data[name], err = io.ReadAll(file); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return len(data[b]) - len(data[a]) })
	return names, data
}

// The log is cut at every byte. Whatever was written whole before the cut is found, nothing else is.
func TestLogCutAtAnyByte(t *testing.T) {
	disk := vfs.NewMem()
	s := open(t, disk)
	if _, _, err := load(s); err != nil {
		t.Fatal(err)
	}
	w := newWriter(3)
	h := &history{}
	h.begin(contents(w.table))
	ends := []int{0} // length of the log after each group
	for range 14 {
		changes := w.group(t, 1+w.random.IntN(3))
		h.begin(contents(w.table))
		if err := s.Append(changes); err != nil {
			t.Fatal(err)
		}
		names, data := contentsOf(t, disk, ".log")
		ends = append(ends, len(data[names[0]]))
	}
	names, data := contentsOf(t, disk, ".log")
	whole := data[names[0]]
	alive := copyFS(t, disk, "", nil)
	closeStore(t, s)
	step := 1
	if testing.Short() {
		step = 17
	}
	refused := 0
	for cut := 0; cut <= len(whole); cut += step {
		s, err := tryOpen(copyFS(t, alive, names[0], whole[:cut]))
		if err != nil {
			refused++
			continue // what is synced was cut, and it is noticed
		}
		table, _, err := load(s)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		at := h.find(contents(table))
		written, _ := slices.BinarySearch(ends, cut+1)
		if at < written-1 {
			t.Fatalf("cut at %d: %d groups were written before, state %d is found", cut, written-1, at)
		}
		closeStore(t, s)
	}
	if refused > 0 {
		t.Logf("%d of %d cuts are refused", refused, len(whole)+1)
	}
}

// A byte that has changed on the disk is noticed, or the state is one of the past.
func FuzzRecovery(f *testing.F) {
	disk := vfs.NewMem()
	s := open(f, disk)
	if _, _, err := load(s); err != nil {
		f.Fatal(err)
	}
	h := &history{}
	w := newWriter(3)
	h.begin(contents(w.table))
	for range 25 {
		changes := w.group(f, 1+w.random.IntN(3))
		h.begin(contents(w.table))
		if err := s.Append(changes); err != nil {
			f.Fatal(err)
		}
	}
	names, data := contentsOf(f, disk, ".log")
	whole := data[names[0]]
	alive := copyFS(f, disk, "", nil)
	closeStore(f, s)
	f.Add(uint32(0), byte(1), uint32(len(whole)))
	f.Add(uint32(100), byte(0x80), uint32(200))
	f.Add(uint32(len(whole)-1), byte(0xff), uint32(len(whole)))
	f.Fuzz(func(t *testing.T, at uint32, mask byte, length uint32) {
		broken := bytes.Clone(whole[:min(int(length), len(whole))])
		if int(at) < len(broken) {
			broken[at] ^= mask
		}
		s, err := tryOpen(copyFS(t, alive, names[0], broken))
		if err != nil {
			return
		}
		defer closeStore(t, s)
		table, _, err := load(s)
		if err != nil {
			return
		}
		if h.find(contents(table)) < 0 {
			t.Errorf("it makes up a state:\n%+v", contents(table))
		}
	})
}

// full is a file system that can run out of room, or break.
type faulty struct {
	vfs.FS
	fault atomic.Pointer[error]
}

func newFaulty(inner vfs.FS) *faulty {
	f := &faulty{}
	f.FS = errorfs.Wrap(inner, errorfs.InjectorFunc(func(op errorfs.Op) error {
		fault := f.fault.Load()
		if fault == nil {
			return nil
		}
		switch op.Kind {
		case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpCreate, errorfs.OpReuseForWrite, errorfs.OpFileSync, errorfs.OpFileSyncData:
			return *fault
		}
		return nil
	}))
	return f
}

func (f *faulty) set(err error) {
	if err == nil {
		f.fault.Store(nil)
		return
	}
	f.fault.Store(&err)
}

func TestFullDisk(t *testing.T) {
	disk := vfs.NewMem()
	fs := newFaulty(disk)
	s := open(t, fs)
	if _, _, err := load(s); err != nil {
		t.Fatal(err)
	}
	w := newWriter(9)
	if err := s.Append(w.group(t, 10)); err != nil || s.Full() != nil {
		t.Fatal(err, s.Full())
	}
	for range 3 {
		fs.set(syscall.ENOSPC)
		appended := make(chan error, 1)
		go func() { appended <- s.Append(w.group(t, 10)) }()
		for s.Full() == nil {
			select {
			case err := <-appended:
				t.Fatalf("it was written without room: %v", err)
			default:
			}
		}
		if text := s.Full().Error(); !strings.Contains(text, s.Path()) || !strings.Contains(text, "space") {
			t.Errorf("the error does not name the path: %v", text)
		}
		fs.set(nil)
		if err := <-appended; err != nil {
			t.Fatal(err)
		}
		if s.Full() != nil {
			t.Error("it still says that it is full")
		}
	}
	closeStore(t, s)
	s = open(t, disk)
	defer closeStore(t, s)
	table, _, err := load(s)
	if err != nil || !reflect.DeepEqual(contents(table), contents(w.table)) {
		t.Errorf("%v: found\n%+v\nwant\n%+v", err, contents(table), contents(w.table))
	}
}

func TestBrokenDiskEndsTheStore(t *testing.T) {
	disk := vfs.NewMem()
	fs := newFaulty(disk)
	s := open(t, fs)
	if _, _, err := load(s); err != nil {
		t.Fatal(err)
	}
	w := newWriter(9)
	if err := s.Append(w.group(t, 10)); err != nil {
		t.Fatal(err)
	}
	before := contents(w.table)
	fs.set(syscall.EIO)
	err := s.Append(w.group(t, 10))
	if err == nil || !strings.Contains(err.Error(), s.Path()) {
		t.Fatalf("error %v", err)
	}
	fs.set(nil)
	if err := s.Append(w.group(t, 1)); err == nil {
		t.Error("it goes on after a failed write")
	}
	snapshot := copyFS(t, disk, "", nil)
	closeStore(t, s)
	s = open(t, snapshot)
	defer closeStore(t, s)
	table, _, err := load(s)
	if err != nil || !reflect.DeepEqual(contents(table), before) {
		t.Errorf("%v: found\n%+v\nwant\n%+v", err, contents(table), before)
	}
}
