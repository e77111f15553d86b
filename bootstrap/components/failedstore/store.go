// Package failedstore keeps messages that have failed on a node's disk: one folder per message, with its contents,
// its metadata and the reason in files that people can read, and mend, before the message is tried again.
package failedstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/durable"
	"github.com/understudy-ha/understudy/bootstrap/components/filename"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// Limits bound the store.
type Limits struct {
	MaxMessages int
	MaxBytes    int64
}

// Store is an adapter.FailedStore in a folder. Only one process may have it open. It is safe for concurrent use.
//
// A message is written into a folder with a temporary name, each file made durable, and then given its name; so it is
// there whole, or not at all. What lies in the folder is the truth: a message that somebody removes by hand is gone.
type Store struct {
	dir string
	// create opens a new file for writing; tests have disks that are full.
	create func(path string) (writer, error)

	mu sync.Mutex
	// limits may be changed by who opens the store; sizes has each message folder's. Guarded by mu.
	limits Limits
	sizes  map[string]int64
	total  int64
	// known has what was read of each message, so that a list, for which a takeover waits, reads nothing twice.
	known map[string]knownRecord
}

// knownRecord is a record, and how its file looked when it was read.
type knownRecord struct {
	failed   adapter.Failed
	size     int64
	modified time.Time
}

// writer is what is needed of a file that is written.
type writer interface {
	Write(p []byte) (int, error)
	Sync() error
	Close() error
}

var _ adapter.FailedStore = (*Store)(nil)

// temporaryPrefix is on the names of folders that are not whole yet.
const temporaryPrefix = ".new-"

// Open makes the folder if need be, and removes what a write that was cut off has left.
func Open(dir string, limits Limits) (*Store, error) {
	return open(dir, limits, createFile)
}

func createFile(path string) (writer, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func open(dir string, limits Limits, create func(string) (writer, error)) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("failed-message store: %w", err)
	}
	s := &Store{dir: dir, create: create, limits: limits, sizes: map[string]int64{}, known: map[string]knownRecord{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("failed-message store: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporaryPrefix) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return nil, fmt.Errorf("failed-message store: remove what was not finished: %w", err)
			}
		}
	}
	s.measureLocked()
	for name := range s.sizes {
		_, _ = s.listedLocked(name) // what cannot be read is said by each list
	}
	return s, nil
}

// listedLocked is a message as a list has it.
func (s *Store) listedLocked(name string) (adapter.Failed, error) {
	info, err := os.Stat(filepath.Join(s.dir, name, recordFile))
	if err != nil {
		return adapter.Failed{}, err
	}
	known, found := s.known[name]
	if !found || known.size != info.Size() || !known.modified.Equal(info.ModTime()) {
		r, err := s.record(name)
		if err != nil {
			return adapter.Failed{}, err
		}
		known = knownRecord{failed: r.failed(0), size: info.Size(), modified: info.ModTime()}
		s.known[name] = known
	}
	known.failed.Bytes = s.sizes[name]
	return known.failed, nil
}

// measureLocked finds out what is there.
func (s *Store) measureLocked() {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return // what was known before counts
	}
	s.sizes, s.total = map[string]int64{}, 0
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), temporaryPrefix) {
			s.noteLocked(e.Name(), sizeOf(filepath.Join(s.dir, e.Name())))
		}
	}
}

func (s *Store) fullLocked(size int64) bool {
	return len(s.sizes) >= s.limits.MaxMessages || s.total+size > s.limits.MaxBytes
}

// noteLocked sets the size of a message's folder.
func (s *Store) noteLocked(name string, size int64) {
	s.total += size - s.sizes[name]
	s.sizes[name] = size
}

func (s *Store) forgetLocked(name string) {
	s.total -= s.sizes[name]
	delete(s.sizes, name)
	delete(s.known, name)
}

// sizeOf is what the files in a folder have.
func sizeOf(dir string) (size int64) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			size += info.Size()
		}
	}
	return size
}

// Dir is the folder.
func (s *Store) Dir() string { return s.dir }

// SetLimits changes the limits; what is there stays.
func (s *Store) SetLimits(limits Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = limits
}

// Folder is where a message lies.
func (s *Store) Folder(id string) (path string, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, found, err := s.findLocked(id)
	return filepath.Join(s.dir, name), found && err == nil
}

// Put implements adapter.FailedStore.
func (s *Store) Put(ctx context.Context, f adapter.Failed) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, found, err := s.findLocked(f.MessageID)
	if err != nil {
		return err
	}
	if found {
		return s.updateLocked(name, f)
	}
	content, err := files(f)
	if err != nil {
		return fmt.Errorf("failed-message store: message %s: %w", f.MessageID, err)
	}
	var size int64
	for _, c := range content {
		size += int64(len(c.content))
	}
	if s.fullLocked(size) {
		s.measureLocked() // somebody may have removed some by hand
	}
	switch {
	case len(s.sizes) >= s.limits.MaxMessages:
		return fmt.Errorf("%w: it has %d messages, failed.max-messages is %d: retry or drop some, or raise the limit (%s)",
			adapter.ErrStoreFull, len(s.sizes), s.limits.MaxMessages, s.dir)
	case s.total+size > s.limits.MaxBytes:
		return fmt.Errorf("%w: it has %d bytes, this message %d, failed.max-size is %d: retry or drop some, or raise the limit (%s)",
			adapter.ErrStoreFull, s.total, size, s.limits.MaxBytes, s.dir)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.writeNew(name, content); err != nil {
		return fmt.Errorf("failed-message store: message %s: %w", f.MessageID, err)
	}
	s.noteLocked(name, size)
	return nil
}

// findLocked returns the folder of a message, or the name for a new one.
func (s *Store) findLocked(id string) (name string, found bool, err error) {
	// Names may differ in what the file system does not tell apart.
	for _, name = range []string{filename.ForID(id), filename.Hash(id)} {
		r, err := s.record(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if _, err := os.Lstat(filepath.Join(s.dir, name)); errors.Is(err, fs.ErrNotExist) {
				return name, false, nil
			}
		case err != nil:
			return "", false, fmt.Errorf("failed-message store: %s cannot be read: %w", filepath.Join(s.dir, name, recordFile), err)
		case r.MessageID == id:
			return name, true, nil
		}
	}
	return "", false, fmt.Errorf("failed-message store: %s has folders that are no messages, by the name of message %s: move them away",
		s.dir, id)
}

func (s *Store) record(name string) (record, error) {
	data, err := os.ReadFile(filepath.Join(s.dir, name, recordFile))
	if err != nil {
		return record{}, err
	}
	return parseRecord(data)
}

// writeNew writes the files of a message that is not there.
func (s *Store) writeNew(name string, content []file) error {
	temporary := filepath.Join(s.dir, temporaryPrefix+rand.Text())
	err := os.Mkdir(temporary, 0o700)
	for _, c := range content {
		if err != nil {
			break
		}
		err = s.write(filepath.Join(temporary, c.name), c.content)
	}
	if err == nil {
		err = durable.SyncFolder(temporary)
	}
	path := filepath.Join(s.dir, name)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(temporary))
	}
	if err := durable.SyncFolder(s.dir); err != nil {
		// It may not survive, so it must not count as kept.
		return errors.Join(err, os.RemoveAll(path))
	}
	return nil
}

// updateLocked notes that a message has failed again.
func (s *Store) updateLocked(name string, f adapter.Failed) error {
	old, err := s.record(name)
	if err != nil {
		return fmt.Errorf("failed-message store: message %s: %w", f.MessageID, err)
	}
	r := newRecord(f)
	r.Step, r.Batches, r.Parts, r.Received = old.Step, old.Batches, old.Parts, old.Received
	r.PossibleDuplicate = r.PossibleDuplicate || old.PossibleDuplicate
	status, err := r.status()
	if err != nil {
		return fmt.Errorf("failed-message store: message %s: %w", f.MessageID, err)
	}
	dir := filepath.Join(s.dir, name)
	for _, c := range status {
		if err := s.replace(dir, c); err != nil {
			return fmt.Errorf("failed-message store: message %s: %w", f.MessageID, err)
		}
	}
	if err := durable.SyncFolder(dir); err != nil {
		return fmt.Errorf("failed-message store: message %s: %w", f.MessageID, err)
	}
	s.noteLocked(name, sizeOf(dir))
	delete(s.known, name) // the clock of the file system may not have moved on
	return nil
}

// replace puts a file into the place of another one, whole.
func (s *Store) replace(dir string, c file) error {
	temporary := filepath.Join(dir, temporaryPrefix+rand.Text())
	err := s.write(temporary, c.content)
	if err == nil {
		err = os.Rename(temporary, filepath.Join(dir, c.name))
	}
	if err != nil {
		return errors.Join(err, removeFile(temporary))
	}
	return nil
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *Store) write(path string, content []byte) error {
	f, err := s.create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Get implements adapter.FailedStore.
func (s *Store) Get(_ context.Context, id string) (adapter.Failed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, found, err := s.findLocked(id)
	if err != nil {
		return adapter.Failed{}, err
	}
	if !found {
		return adapter.Failed{}, fmt.Errorf("%w: %q", adapter.ErrNoSuchFailed, id)
	}
	f, err := s.read(name)
	if err != nil {
		return f, fmt.Errorf("failed-message store: %s: %w", filepath.Join(s.dir, name), err)
	}
	return f, nil
}

// read puts a message together from its files.
func (s *Store) read(name string) (adapter.Failed, error) {
	dir := filepath.Join(s.dir, name)
	r, err := s.record(name)
	if err != nil {
		return adapter.Failed{}, err
	}
	var payload mirrorv1.Payload
	i := 0
	for _, n := range r.Batches {
		batch := &mirrorv1.PayloadBatch{}
		for range n {
			part, err := readPart(dir, i, &r.Parts[i])
			if err != nil {
				return adapter.Failed{}, err
			}
			batch.Parts = append(batch.Parts, part)
			i++
		}
		payload.Batches = append(payload.Batches, batch)
	}
	f := r.failed(sizeOf(dir))
	f.Payload, err = proto.MarshalOptions{Deterministic: true}.Marshal(&payload)
	return f, err
}

func readPart(dir string, i int, r *partRecord) (*mirrorv1.PayloadPart, error) {
	suffix := partSuffix(i)
	content, err := os.ReadFile(filepath.Join(dir, payloadFile+suffix+payloadExt))
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, metadataFile+suffix+metadataExt))
	if err != nil {
		return nil, err
	}
	part, err := r.part(content, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", metadataFile+suffix+metadataExt, err)
	}
	return part, nil
}

// List implements adapter.FailedStore.
func (s *Store) List(ctx context.Context) ([]adapter.Failed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("failed-message store: %w", err)
	}
	var list []adapter.Failed
	var faults []error
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), temporaryPrefix) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := s.listedLocked(e.Name())
		if err != nil {
			faults = append(faults, fmt.Errorf("failed-message store: %s is no message that can be read: %w",
				filepath.Join(s.dir, e.Name()), err))
			continue
		}
		list = append(list, f)
	}
	slices.SortFunc(list, byFailed)
	return list, errors.Join(faults...)
}

// Remove implements adapter.FailedStore.
func (s *Store) Remove(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, found, err := s.findLocked(id)
	if err != nil || !found {
		return err
	}
	// Renamed first: half a message must not look like one.
	temporary := filepath.Join(s.dir, temporaryPrefix+rand.Text())
	if err := os.Rename(filepath.Join(s.dir, name), temporary); err != nil {
		return fmt.Errorf("failed-message store: remove message %s: %w", id, err)
	}
	s.forgetLocked(name)
	if err := errors.Join(durable.SyncFolder(s.dir), os.RemoveAll(temporary)); err != nil {
		return fmt.Errorf("failed-message store: remove message %s: %w", id, err)
	}
	return nil
}
