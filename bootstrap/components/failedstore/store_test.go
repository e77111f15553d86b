package failedstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/failedstore"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

var generous = failedstore.Limits{MaxMessages: 1000, MaxBytes: 1 << 30}

func open(t testing.TB, dir string, limits failedstore.Limits) *failedstore.Store {
	t.Helper()
	s, err := failedstore.Open(dir, limits)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func text(key, value string) *mirrorv1.PayloadMeta {
	return &mirrorv1.PayloadMeta{Key: []byte(key), Kind: mirrorv1.PayloadMetaKind_PAYLOAD_META_KIND_TEXT, Value: []byte(value)}
}

func part(content string, meta ...*mirrorv1.PayloadMeta) *mirrorv1.PayloadPart {
	return &mirrorv1.PayloadPart{Content: []byte(content), Meta: meta}
}

// payload is a message whose batches have these parts.
func payload(t testing.TB, batches ...[]*mirrorv1.PayloadPart) []byte {
	t.Helper()
	p := &mirrorv1.Payload{}
	for _, parts := range batches {
		p.Batches = append(p.Batches, &mirrorv1.PayloadBatch{Parts: parts})
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func failed(t testing.TB, id, content string) adapter.Failed {
	t.Helper()
	return adapter.Failed{
		MessageID: id, Channel: "files", Workflow: "w", ErrorStep: "stamp", Error: "no field \"id\"", Attempts: 1, Term: "7:n1",
		Received: time.Unix(1, 2).UTC(), Failed: time.Unix(3, 4).UTC(),
		Payload: payload(t, []*mirrorv1.PayloadPart{part(content, text("colour", "red"))}),
	}
}

func TestRoundTrip(t *testing.T) {
	messages := map[string][]byte{
		"plain": payload(t, []*mirrorv1.PayloadPart{part("hello", text("a", "b"), text("fs_name", "x.json"))}),
		"odd metadata": payload(t, []*mirrorv1.PayloadPart{part("x", text("", "empty key"), text("!bang", "1"), text("#hash", "2"), text("${a}", "${b}"),
			text("a b", " leading"), text("bad\xff", "v"), text("k=v:", "line\nbreak\\ \t"), text("list", "a,b"), text("n", "bad\xfe"), text("uni", "grün"))}),
		"other kinds": payload(t, []*mirrorv1.PayloadPart{part("x",
			&mirrorv1.PayloadMeta{Key: []byte("bytes"), Kind: mirrorv1.PayloadMetaKind_PAYLOAD_META_KIND_BYTES, Value: []byte{0, 255}},
			&mirrorv1.PayloadMeta{Key: []byte("json"), Kind: mirrorv1.PayloadMetaKind_PAYLOAD_META_KIND_JSON, Value: []byte(`{"a":1}`)})}),
		"several parts":             payload(t, []*mirrorv1.PayloadPart{part("1", text("n", "1")), part("2", text("n", "2"))}, []*mirrorv1.PayloadPart{part("3")}),
		"empty":                     payload(t, []*mirrorv1.PayloadPart{{Content: []byte{}}}),
		"no batch":                  {},
		"marked":                    payload(t, []*mirrorv1.PayloadPart{{Content: []byte("x"), Failed: true, Error: []byte("bad\xff")}}),
		"../../etc/evil":            payload(t, []*mirrorv1.PayloadPart{part("x")}),
		".hidden":                   payload(t, []*mirrorv1.PayloadPart{part("x")}),
		"a\x00b\xff/ü":              payload(t, []*mirrorv1.PayloadPart{part("x")}),
		strings.Repeat("long", 500): payload(t, []*mirrorv1.PayloadPart{part("x")}),
	}
	dir := t.TempDir()
	store := open(t, dir, generous)
	for id, data := range messages {
		f := failed(t, id, "")
		f.Payload, f.Step, f.PossibleDuplicate = data, "s1", true
		if err := store.Put(t.Context(), f); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for name, s := range map[string]*failedstore.Store{"same": store, "opened again": open(t, dir, generous)} {
		for id, data := range messages {
			got, err := s.Get(t.Context(), id)
			if err != nil {
				t.Errorf("%s: %q: %v", name, id, err)
				continue
			}
			if !bytes.Equal(got.Payload, data) {
				t.Errorf("%s: %q: %x\nwant %x", name, id, got.Payload, data)
			}
			want := failed(t, id, "")
			if got.MessageID != id || got.Error != want.Error || got.ErrorStep != "stamp" ||
				got.Step != "s1" || !got.PossibleDuplicate || !got.Failed.Equal(want.Failed) || !got.Received.Equal(want.Received) || got.Term != "7:n1" {
				t.Errorf("%s: %q: %+v", name, id, got)
			}
		}
		list, err := s.List(t.Context())
		if err != nil || len(list) != len(messages) {
			t.Errorf("%s: %d of %d, %v", name, len(list), len(messages), err)
		}
	}
	for id := range messages {
		if err := errors.Join(store.Remove(t.Context(), id), store.Remove(t.Context(), id)); err != nil {
			t.Error(err)
		}
		if _, err := store.Get(t.Context(), id); !errors.Is(err, adapter.ErrNoSuchFailed) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// What people find there, and what they mend.
func TestFilesArePeoples(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir, generous)
	if err := store.Put(t.Context(), failed(t, "m-1", "{broken")); err != nil {
		t.Fatal(err)
	}
	folder, found := store.Folder("m-1")
	if !found || folder != filepath.Join(dir, "m-1") {
		t.Errorf("%s %t", folder, found)
	}
	for file, want := range map[string]string{
		"payload.blob": "{broken", "metadata.properties": "colour = red\n",
		"error.txt": "no field \"id\"\n\nfailed at step stamp of workflow w, 1970-01-01T00:00:03Z, attempt 1\n",
	} {
		if got, err := os.ReadFile(filepath.Join(folder, file)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", file, got, err)
		}
		if info, err := os.Stat(filepath.Join(folder, file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
	mend := func(file, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mend("payload.blob", "{}")
	mend("metadata.properties", "colour: blue\nsize = ${big}\n")
	f, err := store.Get(t.Context(), "m-1")
	if err != nil {
		t.Fatal(err)
	}
	parts, err := failedstore.Parts(f.Payload)
	if err != nil || len(parts) != 1 || string(parts[0].Content) != "{}" || parts[0].Metadata["colour"] != "blue" || parts[0].Metadata["size"] != "${big}" {
		t.Errorf("%+v, %v", parts, err)
	}
	mend("metadata.properties", "colour = \\u00zz")
	if _, err := store.Get(t.Context(), "m-1"); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "m-1")+": metadata.properties: ") {
		t.Errorf("what the user reads: %v", err)
	}
}

// A message that fails again keeps its content, and has the new reason.
func TestFailsAgain(t *testing.T) {
	store := open(t, t.TempDir(), generous)
	first, second := failed(t, "a", "original"), failed(t, "a", "changed by services")
	first.PossibleDuplicate = true
	second.Error, second.Attempts, second.Step = "worse", 2, "later"
	if err := errors.Join(store.Put(t.Context(), first), store.Put(t.Context(), second)); err != nil {
		t.Fatal(err)
	}
	got, err := store.Get(t.Context(), "a")
	if err != nil || got.Error != "worse" || got.Attempts != 2 || got.Step != "" || !got.PossibleDuplicate || !bytes.Equal(got.Payload, first.Payload) {
		t.Errorf("%+v, %v", got, err)
	}
	list, err := store.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Payload != nil || list[0].Bytes == 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestLimits(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir, failedstore.Limits{MaxMessages: 2, MaxBytes: 10_000})
	if err := errors.Join(store.Put(t.Context(), failed(t, "a", "x")), store.Put(t.Context(), failed(t, "b", "x"))); err != nil {
		t.Fatal(err)
	}
	err := store.Put(t.Context(), failed(t, "c", "x"))
	if !errors.Is(err, adapter.ErrStoreFull) || err.Error() != "the failed-message store is full: it has 2 messages, failed.max-messages is 2: "+
		"retry or drop some, or raise the limit ("+dir+")" {
		t.Error(err)
	}
	if err := store.Put(t.Context(), failed(t, "a", "again")); err != nil {
		t.Errorf("one that is there: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "b")); err != nil { // by hand
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), failed(t, "c", strings.Repeat("x", 20_000))); !errors.Is(err, adapter.ErrStoreFull) ||
		!strings.Contains(err.Error(), "failed.max-size is 10000") {
		t.Error(err)
	}
	if err := store.Put(t.Context(), failed(t, "c", "x")); err != nil {
		t.Error(err)
	}
	again := open(t, dir, failedstore.Limits{MaxMessages: 2, MaxBytes: 10_000})
	if err := again.Put(t.Context(), failed(t, "d", "x")); !errors.Is(err, adapter.ErrStoreFull) {
		t.Errorf("opened again: %v", err)
	}
	again.SetLimits(generous)
	if err := again.Put(t.Context(), failed(t, "d", "x")); err != nil {
		t.Error(err)
	}
}

// disk is full after a number of bytes, or its syncs fail.
type disk struct {
	failedstore.Writer
	room   *int
	noSync bool
}

func (d disk) Write(p []byte) (int, error) {
	if len(p) > *d.room {
		n, _ := d.Writer.Write(p[:*d.room])
		*d.room = 0
		return n, syscall.ENOSPC
	}
	*d.room -= len(p)
	return d.Writer.Write(p)
}

func (d disk) Sync() error {
	if d.noSync {
		return syscall.EIO
	}
	return d.Writer.Sync()
}

// Whenever the disk is full, the message is not there, the others are, and there is room again once there is.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	const enough = 1 << 20
	room := enough
	store, err := failedstore.OpenWith(dir, generous, func(path string) (failedstore.Writer, error) {
		f, err := failedstore.CreateFile(path)
		return disk{Writer: f, room: &room}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), failed(t, "old", "old")); err != nil {
		t.Fatal(err)
	}
	need := enough - room
	for full := 0; full < need; full += 29 {
		for _, id := range []string{"new", "old"} {
			room = full
			f := failed(t, id, "old")
			f.Attempts = 2
			err := store.Put(t.Context(), f)
			if id == "new" && !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("room %d: %v", full, err)
			}
			got, gone := store.Get(t.Context(), id)
			if id == "new" && !errors.Is(gone, adapter.ErrNoSuchFailed) {
				t.Fatalf("room %d: %v", full, gone)
			}
			if id == "old" && (gone != nil || err != nil && got.Attempts == 2 || err == nil && got.Attempts != 2) {
				t.Fatalf("room %d: %+v, %v, %v", full, got, gone, err)
			}
			if id == "old" {
				room = enough
				if err := store.Put(t.Context(), failed(t, "old", "old")); err != nil {
					t.Fatal(err)
				}
			}
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Fatalf("room %d: %v, %v", full, entries, err)
		}
	}
	room = enough
	if err := store.Put(t.Context(), failed(t, "new", "old")); err != nil {
		t.Error(err)
	}
}

func TestSyncFails(t *testing.T) {
	dir := t.TempDir()
	room := 1 << 20
	store, err := failedstore.OpenWith(dir, generous, func(path string) (failedstore.Writer, error) {
		f, err := failedstore.CreateFile(path)
		return disk{Writer: f, room: &room, noSync: true}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), failed(t, "a", "x")); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// A process that dies leaves half a message, which is no message, and keeps nobody from starting.
func TestOpenTidiesUp(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir, generous)
	if err := store.Put(t.Context(), failed(t, "a", "x")); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, ".new-ABC")
	if err := errors.Join(os.Mkdir(half, 0o700), os.WriteFile(filepath.Join(half, "payload.blob"), nil, 0o600),
		os.Mkdir(filepath.Join(dir, "notes"), 0o700), os.WriteFile(filepath.Join(dir, "readme"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	store = open(t, dir, generous)
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	list, err := store.List(t.Context())
	if len(list) != 1 || err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "notes")+" is no message that can be read") {
		t.Errorf("%v, %v", list, err)
	}
	// The name that a message would have is taken by something else.
	if err := errors.Join(store.Put(t.Context(), failed(t, "notes", "y"))); err != nil {
		t.Error(err)
	}
	if f, err := store.Get(t.Context(), "notes"); err != nil || f.MessageID != "notes" {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestUnreadable(t *testing.T) {
	for name, content := range map[string]string{
		"no JSON": "{", "another version": `{"version": 2, "message_id": "a"}`, "no id": `{"version": 1}`,
		"parts that do not fit":       `{"version": 1, "message_id": "a", "batches": [2], "parts": [{}]}`,
		"parts that do not fit, less": `{"version": 1, "message_id": "a", "batches": [-1, 2], "parts": [{}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			store := open(t, dir, generous)
			if err := store.Put(t.Context(), failed(t, "a", "x")); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "a", "record.json")
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := store.Get(t.Context(), "a")
			if err == nil || !strings.Contains(err.Error(), file+" cannot be read") {
				t.Error(err)
			}
			if err := store.Put(t.Context(), failed(t, "a", "x")); err == nil {
				t.Error("a message was taken for stored that cannot be read")
			}
		})
	}
}

func TestConcurrentUse(t *testing.T) {
	store := open(t, t.TempDir(), generous)
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() {
			for i := range 10 {
				id := fmt.Sprintf("%d-%d", w, i)
				if err := store.Put(context.Background(), failed(t, id, id)); err != nil {
					t.Error(err)
				}
				if _, err := store.List(context.Background()); err != nil {
					t.Error(err)
				}
				if i%2 == 0 {
					if err := store.Remove(context.Background(), id); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	workers.Wait()
	list, err := store.List(t.Context())
	if err != nil || len(list) != 20 || !slices.IsSortedFunc(list, func(a, b adapter.Failed) int { return a.Failed.Compare(b.Failed) }) {
		t.Errorf("%d, %v", len(list), err)
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("id", "key", "value", "content", int32(1))
	f.Add("a/../b", "#k", " v\\", "\x00", int32(2))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, id, key, value, content string, kind int32) {
		if id == "" {
			return
		}
		store := open(t, filepath.Join(dir, t.Name()), generous)
		message := failed(t, id, "")
		message.Payload = payload(t, []*mirrorv1.PayloadPart{part(content, &mirrorv1.PayloadMeta{
			Key: []byte(key), Kind: mirrorv1.PayloadMetaKind(kind), Value: []byte(value),
		})})
		defer func() { _ = store.Remove(context.Background(), id) }()
		if err := store.Put(t.Context(), message); err != nil {
			t.Fatal(err)
		}
		got, err := store.Get(t.Context(), id)
		if err != nil || !bytes.Equal(got.Payload, message.Payload) {
			t.Errorf("%x\nwant %x, %v", got.Payload, message.Payload, err)
		}
	})
}

func generousFor(n int) failedstore.Limits {
	return failedstore.Limits{MaxMessages: n, MaxBytes: 1 << 40}
}
