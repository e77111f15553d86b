package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	"github.com/understudy-ha/understudy/cachesync/translate"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// Load implements cachesync.Store. It fails if what is there does not make a table: that is no torn write, and
// starting with less would hide a loss.
func (s *Store) Load(chunk func(*ledger.Chunk) error) (cachesync.Promise, error) {
	promise, err := s.load(chunk)
	if err != nil {
		return cachesync.Promise{}, fmt.Errorf("read the mirror's store %s: %w: "+
			"if another node has the messages, move the folder away and start again", s.path, err)
	}
	return promise, nil
}

func (s *Store) load(chunk func(*ledger.Chunk) error) (cachesync.Promise, error) {
	stored := &mirrorv1.StoredPromise{}
	if _, err := s.read(keyPromise, stored); err != nil {
		return cachesync.Promise{}, err
	}
	promise := promiseFromProto(stored)
	table := &mirrorv1.StoredTable{}
	found, err := s.read(keyTable, table)
	if err != nil || !found {
		return promise, err
	}
	s.position, s.generation, s.entries = translate.ToPosition(table.GetPosition()), table.GetGeneration(), int(table.GetEntries())
	first := true
	pass := func(c *ledger.Chunk) error {
		c.First, first = first, false
		return chunk(c)
	}
	if err := s.loadEntries(pass); err != nil {
		return promise, err
	}
	if err := s.loadFinished(pass); err != nil {
		return promise, err
	}
	seals := &mirrorv1.Seals{}
	if _, err := s.read(keySeals, seals); err != nil {
		return promise, err
	}
	return promise, pass(&ledger.Chunk{Last: true, Position: s.position, Seals: translate.ToSeals(seals, s.position)})
}

// read reads a single record.
func (s *Store) read(key byte, into proto.Message) (found bool, err error) {
	value, closer, err := s.db.Get([]byte{key})
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer closer.Close()
	if err := proto.Unmarshal(value, into); err != nil {
		return false, fmt.Errorf("record %q: %w", key, err)
	}
	return true, nil
}

// loadEntries walks over the messages and their payloads at the same time: both are sorted by id.
func (s *Store) loadEntries(pass func(*ledger.Chunk) error) error {
	entries, err := s.walk(keyEntry)
	if err != nil {
		return err
	}
	defer entries.Close()
	payloads, err := s.walk(keyPayload)
	if err != nil {
		return err
	}
	defer payloads.Close()
	const chunkBytes = 1 << 20
	chunk, size, count := &ledger.Chunk{}, 0, 0
	var last ledger.Term
	payloads.First()
	for entries.First(); entries.Valid(); entries.Next() {
		stored := &mirrorv1.Entry{}
		if err := proto.Unmarshal(entries.Value(), stored); err != nil {
			return fmt.Errorf("a message in flight: %w", err)
		}
		e := entryFromProto(stored)
		// One string for all of a term.
		last = shared(&e.Position.Term, last)
		last = shared(&e.Arrival.Term, last)
		if !payloads.Valid() || string(payloads.Key()[9:]) != e.MessageID {
			return fmt.Errorf("message %q has no payload", e.MessageID)
		}
		value, err := payloads.ValueAndErr()
		if err != nil {
			return fmt.Errorf("payload of message %q: %w", e.MessageID, err)
		}
		e.Payload = append([]byte{}, value...)
		payloads.Next()
		chunk.Entries = append(chunk.Entries, e)
		count++
		if size += e.Size(); size >= chunkBytes {
			if err := pass(chunk); err != nil {
				return err
			}
			chunk, size = &ledger.Chunk{}, 0
		}
	}
	if err := errors.Join(entries.Error(), payloads.Error()); err != nil {
		return err
	}
	if payloads.Valid() {
		return fmt.Errorf("a payload without a message: %q", payloads.Key()[9:])
	}
	if count != s.entries {
		return fmt.Errorf("%d messages in flight are there, %d were written", count, s.entries)
	}
	if len(chunk.Entries) == 0 {
		return nil
	}
	return pass(chunk)
}

func (s *Store) loadFinished(pass func(*ledger.Chunk) error) error {
	walk, err := s.walk(keyFinished)
	if err != nil {
		return err
	}
	defer walk.Close()
	const chunkIDs = 10_000
	chunk := &ledger.Chunk{}
	s.first, s.next = 0, 0
	for walk.First(); walk.Valid(); walk.Next() {
		stored := &mirrorv1.Done{}
		if err := proto.Unmarshal(walk.Value(), stored); err != nil {
			return fmt.Errorf("a finished id: %w", err)
		}
		if len(walk.Key()) != 17 {
			return fmt.Errorf("a finished id under the key %q", walk.Key())
		}
		n := binary.BigEndian.Uint64(walk.Key()[9:])
		if s.next == 0 {
			s.first = n
		}
		s.next = n + 1
		chunk.Finished = append(chunk.Finished, ledger.Finished{MessageID: stored.GetMessageId(), UnixMilli: stored.GetTimeUnixMillis()})
		if len(chunk.Finished) >= chunkIDs {
			if err := pass(chunk); err != nil {
				return err
			}
			chunk = &ledger.Chunk{}
		}
	}
	if err := walk.Error(); err != nil || len(chunk.Finished) == 0 {
		return err
	}
	return pass(chunk)
}

// walk iterates over one kind of keys of the valid table.
func (s *Store) walk(kind byte) (*pebble.Iterator, error) {
	return s.db.NewIter(&pebble.IterOptions{LowerBound: prefix(kind, s.generation), UpperBound: prefix(kind, s.generation+1)})
}

// shared makes a term use the same memory as the last one, if it is the same.
func shared(term *ledger.Term, last ledger.Term) ledger.Term {
	if *term == last {
		*term = last
	}
	return *term
}
