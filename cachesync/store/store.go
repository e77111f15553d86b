// Package store keeps a mirror's table on disk, in a Pebble database (BSD licence; LIMITS measured it ahead of
// bbolt wherever several writers share an fsync). Pebble has the checksums, the write-ahead log that a torn write cannot
// mislead, and the compaction; the layout is ours:
//
//	m                     StoredTable: position and generation of the valid table
//	q                     Seals of that table
//	s                     StoredPromise
//	e GENERATION ID       a message in flight, without its payload
//	p GENERATION ID       its payload
//	f GENERATION NUMBER   an id of the dedupe window, in the order of finishing
//
// Every write is one batch with the new position in it, so that what is found after a crash is the table as it
// was at one position. A table that is replaced is written beside the old one under the next generation, and
// becomes valid with the batch that names it.
package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	"github.com/understudy-ha/understudy/cachesync/translate"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// format is the version of the layout above; it is part of the folder's name, so that an older build does not
// misread a newer layout.
const format = "v1"

// Options are how a Store behaves.
type Options struct {
	// Dir is the folder of the store; it is made if it is not there.
	Dir string
	// DedupeCount is the number of finished ids that are kept, or a few more.
	DedupeCount int
	// FS is the file system; nil is the real one.
	FS vfs.FS
	// Retry is how often a full disk is looked at. 0 is half a second.
	Retry time.Duration
	Log   *slog.Logger
}

// Store is a cachesync.Store on disk.
type Store struct {
	options Options
	path    string
	disk    vfs.FS // below the handling of a full disk
	db      *pebble.DB
	closing chan struct{}
	closed  sync.Once

	full atomic.Pointer[fullError]

	// What follows belongs to whoever writes.

	failed     error // the store is of no use any more
	position   ledger.Position
	generation uint64
	entries    int
	// first and next are the numbers of the finished ids that are kept: [first, next).
	first, next uint64
	staged      staged
	scratch     scratch
}

var _ cachesync.Store = (*Store)(nil)

// fullError says that there is no room.
type fullError struct{ path string }

func (e *fullError) Error() string {
	return fmt.Sprintf("no space left for the mirror in %s (data.dir): make room, it goes on by itself", e.path)
}

// Open opens the store or makes a new one. It fails if another process has it open.
func Open(options Options) (*Store, error) {
	s := &Store{options: options, path: filepath.Join(options.Dir, format), disk: options.FS, closing: make(chan struct{})}
	if s.disk == nil {
		s.disk = vfs.Default
	}
	if s.options.Retry <= 0 {
		s.options.Retry = 500 * time.Millisecond
	}
	if err := s.makeDir(s.path); err != nil {
		return nil, fmt.Errorf("open the mirror's store %s: %w", s.path, err)
	}
	db, err := open(s.path, &pebble.Options{
		FS:                    vfs.OnDiskFull(s.disk, s.awaitRoom),
		FormatMajorVersion:    pebble.FormatNewest,
		Logger:                logger{s.options.Log},
		MemTableSize:          4 << 20, // small, so that logs are soon written over earlier ones, which is cheaper to sync
		CacheSize:             1 << 20, // it is read once, at the start
		MaxOpenFiles:          100,
		L0CompactionThreshold: 4,
	})
	if err != nil {
		return nil, fmt.Errorf("open the mirror's store %s: %w", s.path, err)
	}
	s.db = db
	return s, nil
}

// makeDir makes a folder and those above it, and has their names on disk.
func (s *Store) makeDir(dir string) error {
	if _, err := s.disk.Stat(dir); err == nil {
		return nil
	}
	above := s.disk.PathDir(dir)
	if above != dir && above != "." {
		if err := s.makeDir(above); err != nil {
			return err
		}
	}
	if err := s.disk.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if above == "." && s.options.FS != nil {
		above = "" // the root of a file system in memory
	}
	folder, err := s.disk.OpenDir(above)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// open turns Pebble's fatal errors into errors, too.
func open(path string, options *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if fatal := recover(); fatal != nil {
			failure, ours := fatal.(fatalError)
			if !ours {
				panic(fatal)
			}
			err = failure
		}
	}()
	return pebble.Open(path, options)
}

// Path implements cachesync.Store.
func (s *Store) Path() string { return s.path }

// Full implements cachesync.Store.
func (s *Store) Full() error {
	if e := s.full.Load(); e != nil {
		return e
	}
	return nil
}

// probeBytes must fit before a disk counts as having room again: a log file and a flushed memtable need it.
const probeBytes = 4 << 20

// awaitRoom holds up all writing until there is room. Pebble tries the write that has failed again after that.
func (s *Store) awaitRoom() {
	s.full.Store(&fullError{s.path})
	defer s.full.Store(nil)
	s.options.Log.Error("mirror: no space left on the disk, no new messages are taken until there is", "path", s.path)
	for {
		timer := time.NewTimer(s.options.Retry)
		select {
		case <-timer.C:
		case <-s.closing:
			timer.Stop()
			return
		}
		if s.probe() == nil {
			s.options.Log.Info("mirror: there is space on the disk again", "path", s.path)
			return
		}
	}
}

// probe writes a file as a log would be, and removes it.
func (s *Store) probe() error {
	name := s.disk.PathJoin(s.path, "room")
	file, err := s.disk.Create(name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = file.Write(make([]byte, probeBytes))
		err = errors.Join(err, file.Sync(), file.Close())
	}
	return errors.Join(err, s.disk.Remove(name))
}

// Close ends the store. While there is no room it cannot be ended in an orderly way, which loses nothing.
func (s *Store) Close() error {
	var err error
	s.closed.Do(func() {
		full := s.Full()
		close(s.closing)
		if full != nil {
			return // the next Open recovers
		}
		// What has failed before has been said.
		if err = s.db.Close(); err != nil && s.failed == nil {
			err = fmt.Errorf("close the mirror's store %s: %w", s.path, err)
		} else {
			err = nil
		}
	})
	return err
}

// commit writes a batch durably, or as part of a later one.
func (s *Store) commit(batch *pebble.Batch, durably bool) (err error) {
	defer func() {
		// Pebble cannot go on after a failed write of its log, and says so with the logger's Fatalf.
		if fatal := recover(); fatal != nil {
			failure, ours := fatal.(fatalError)
			if !ours {
				panic(fatal)
			}
			s.failed = fmt.Errorf("write the mirror's store %s: %w", s.path, failure)
			err = s.failed
		}
	}()
	options := pebble.NoSync
	if durably {
		options = pebble.Sync
	}
	if err := s.db.Apply(batch, options); err != nil {
		s.failed = fmt.Errorf("write the mirror's store %s: %w", s.path, err)
		return s.failed
	}
	return nil
}

// Append implements cachesync.Store.
func (s *Store) Append(changes []ledger.Change) error {
	if s.failed != nil {
		return s.failed
	}
	if len(changes) == 0 {
		return nil
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	for i := range changes {
		if err := s.change(batch, &changes[i]); err != nil {
			return err
		}
	}
	s.trim(batch)
	last := &changes[len(changes)-1]
	s.position, s.entries = last.Position, last.InFlight
	if err := s.putTable(batch); err != nil {
		return err
	}
	return s.commit(batch, true)
}

func (s *Store) change(batch *pebble.Batch, c *ledger.Change) error {
	switch {
	case c.Seals != nil:
		return putSeals(batch, *c.Seals)
	case c.MessageID == "":
		return nil
	case c.Entry != nil:
		return s.putEntry(batch, s.generation, c.Entry, c.Payload)
	}
	if err := batch.Delete(s.scratch.text(keyEntry, s.generation, c.MessageID), nil); err != nil {
		return err
	}
	if err := batch.Delete(s.scratch.text(keyPayload, s.generation, c.MessageID), nil); err != nil {
		return err
	}
	if !c.Finished {
		return nil
	}
	s.next++
	return s.putFinished(batch, s.generation, s.next-1, ledger.Finished{MessageID: c.MessageID, UnixMilli: c.UnixMilli})
}

// trimStep is how many finished ids may gather beyond those that are remembered before they are removed.
const trimStep = 1024

// trim removes ids that have left the dedupe window by number. Those that have left it by age stay until then; the
// table forgets them when it is loaded.
func (s *Store) trim(batch *pebble.Batch) {
	keep := uint64(max(s.options.DedupeCount, 0))
	if s.next-s.first < keep+trimStep {
		return
	}
	first := s.next - keep
	// A batch in memory takes everything.
	_ = batch.DeleteRange(number(keyFinished, s.generation, s.first), number(keyFinished, s.generation, first), nil)
	s.first = first
}

// Replace implements cachesync.Store.
func (s *Store) Replace(part *ledger.Chunk) error {
	if s.failed != nil {
		return s.failed
	}
	next := s.generation + 1
	if part.First {
		s.staged = staged{}
		if err := s.remove(next); err != nil { // of an earlier attempt
			return err
		}
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	for i := range part.Entries {
		if err := s.putEntry(batch, next, &part.Entries[i], true); err != nil {
			return err
		}
	}
	for _, f := range part.Finished {
		if err := s.putFinished(batch, next, s.staged.finished, f); err != nil {
			return err
		}
		s.staged.finished++
	}
	s.staged.entries += len(part.Entries)
	if !part.Last {
		return s.commit(batch, false)
	}
	return s.exchange(batch, part, next)
}

// staged counts what has been written of a table that is not valid yet.
type staged struct {
	entries  int
	finished uint64
}

// exchange makes the next generation the valid one.
func (s *Store) exchange(batch *pebble.Batch, last *ledger.Chunk, next uint64) error {
	old := s.generation
	s.position, s.generation, s.entries, s.first, s.next = last.Position, next, s.staged.entries, 0, s.staged.finished
	if err := s.putTable(batch); err != nil {
		return err
	}
	if err := putSeals(batch, last.Seals); err != nil {
		return err
	}
	if err := deleteGeneration(batch, old); err != nil {
		return err
	}
	return s.commit(batch, true)
}

// remove deletes a generation.
func (s *Store) remove(generation uint64) error {
	batch := s.db.NewBatch()
	defer batch.Close()
	if err := deleteGeneration(batch, generation); err != nil {
		return err
	}
	return s.commit(batch, false)
}

func deleteGeneration(batch *pebble.Batch, generation uint64) error {
	for _, kind := range [...]byte{keyEntry, keyPayload, keyFinished} {
		if err := batch.DeleteRange(prefix(kind, generation), prefix(kind, generation+1), nil); err != nil {
			return err
		}
	}
	return nil
}

// Keep implements cachesync.Store.
func (s *Store) Keep(promise cachesync.Promise) error {
	if s.failed != nil {
		return s.failed
	}
	value, err := proto.Marshal(promiseToProto(promise))
	if err != nil {
		return fmt.Errorf("write the mirror's store %s: %w", s.path, err)
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	if err := batch.Set([]byte{keyPromise}, value, nil); err != nil {
		return err
	}
	return s.commit(batch, true)
}

func (s *Store) putTable(batch *pebble.Batch) error {
	value, err := proto.Marshal(&mirrorv1.StoredTable{
		Position: translate.FromPosition(s.position), Generation: s.generation, Entries: uint64(s.entries),
	})
	if err != nil {
		return err
	}
	return batch.Set([]byte{keyTable}, value, nil)
}

func putSeals(batch *pebble.Batch, seals ledger.Seals) error {
	value, err := proto.Marshal(translate.FromSeals(seals))
	if err != nil {
		return err
	}
	return batch.Set([]byte{keySeals}, value, nil)
}

func (s *Store) putEntry(batch *pebble.Batch, generation uint64, e *ledger.Entry, payload bool) error {
	value, err := s.scratch.entry(e)
	if err != nil {
		return err
	}
	if err := batch.Set(s.scratch.text(keyEntry, generation, e.MessageID), value, nil); err != nil || !payload {
		return err
	}
	return batch.Set(s.scratch.text(keyPayload, generation, e.MessageID), e.Payload, nil)
}

func (s *Store) putFinished(batch *pebble.Batch, generation, n uint64, f ledger.Finished) error {
	value, err := proto.Marshal(&mirrorv1.Done{MessageId: f.MessageID, TimeUnixMillis: f.UnixMilli})
	if err != nil {
		return err
	}
	return batch.Set(number(keyFinished, generation, n), value, nil)
}

// The kinds of keys.
const (
	keyEntry    = 'e'
	keyFinished = 'f'
	keyTable    = 'm'
	keyPayload  = 'p'
	keyPromise  = 's'
	keySeals    = 'q'
)

func prefix(kind byte, generation uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, generation)
}

func number(kind byte, generation, n uint64) []byte {
	return binary.BigEndian.AppendUint64(prefix(kind, generation), n)
}

// fatalError is why Pebble cannot go on.
type fatalError struct{ text string }

func (e fatalError) Error() string { return e.text }

// logger passes on what Pebble has to say. A fatal error must not return: it ends the writing call, and where there is
// none the process, because a database that goes on after that would lie.
type logger struct{ log *slog.Logger }

func (l logger) Infof(string, ...any) {}

func (l logger) Errorf(format string, args ...any) {
	l.log.Warn("mirror: store: " + fmt.Sprintf(format, args...))
}

func (l logger) Fatalf(format string, args ...any) { panic(fatalError{fmt.Sprintf(format, args...)}) }

// Exists reports whether there is a store in a folder.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, format))
	return err == nil
}
