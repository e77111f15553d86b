package cachesync_test

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// disk is what is left of a node when its process has ended. The real one is tested in package store.
type disk struct {
	mu       sync.Mutex // guards what follows
	position ledger.Position
	seals    ledger.Seals
	entries  map[string]ledger.Entry
	finished []ledger.Finished
	promise  cachesync.Promise
}

func newDisk() *disk { return &disk{entries: make(map[string]ledger.Entry)} }

// open gives the disk to a new process.
func (d *disk) open(n *network) *diskStore { return &diskStore{disk: d, net: n} }

// diskStore is a cachesync.Store that takes its time, and may be full.
type diskStore struct {
	disk  *disk
	net   *network
	parts []*ledger.Chunk // of a table that is not complete
	dead  atomic.Bool
	full  atomic.Bool
}

var errFull = errors.New("no space left in /the/path")

// write waits as an fsync does and changes the disk, unless the process has ended meanwhile.
func (s *diskStore) write(change func(d *disk)) error {
	s.net.mu.Lock()
	late := time.Duration(s.net.random.Int64N(int64(3 * time.Millisecond)))
	s.net.mu.Unlock()
	time.Sleep(late)
	for s.full.Load() && !s.dead.Load() {
		time.Sleep(time.Millisecond)
	}
	if s.dead.Load() {
		return nil
	}
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	change(s.disk)
	return nil
}

// Append implements cachesync.Store.
func (s *diskStore) Append(changes []ledger.Change) error {
	return s.write(func(d *disk) {
		for _, c := range changes {
			switch {
			case c.Seals != nil:
				d.seals = *c.Seals
			case c.Entry != nil:
				d.entries[c.MessageID] = *c.Entry
			case c.MessageID != "":
				delete(d.entries, c.MessageID)
				if c.Finished {
					d.finished = append(d.finished, ledger.Finished{MessageID: c.MessageID, UnixMilli: c.UnixMilli})
				}
			}
			d.position = c.Position
		}
	})
}

// Replace implements cachesync.Store.
func (s *diskStore) Replace(part *ledger.Chunk) error {
	if part.First {
		s.parts = nil
	}
	s.parts = append(s.parts, part)
	if !part.Last {
		return nil
	}
	return s.write(func(d *disk) {
		d.position, d.seals, d.finished = part.Position, part.Seals, nil
		clear(d.entries)
		for _, c := range s.parts {
			for _, e := range c.Entries {
				d.entries[e.MessageID] = e
			}
			d.finished = append(d.finished, c.Finished...)
		}
	})
}

// Keep implements cachesync.Store.
func (s *diskStore) Keep(promise cachesync.Promise) error {
	return s.write(func(d *disk) { d.promise = promise })
}

// Load implements cachesync.Store.
func (s *diskStore) Load(chunk func(*ledger.Chunk) error) (cachesync.Promise, error) {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	d := s.disk
	promise := d.promise
	if d.position.Index == 0 {
		return promise, nil
	}
	c := ledger.Chunk{First: true, Last: true, Position: d.position, Seals: d.seals, Finished: slices.Clone(d.finished)}
	for _, e := range d.entries {
		c.Entries = append(c.Entries, e)
	}
	return promise, chunk(&c)
}

// Full implements cachesync.Store.
func (s *diskStore) Full() error {
	if s.full.Load() {
		return errFull
	}
	return nil
}

// Path implements cachesync.Store.
func (s *diskStore) Path() string { return "/the/path" }
