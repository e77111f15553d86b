package cachesync

import (
	"errors"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// Mode says when a change is committed.
type Mode string

// The modes.
const (
	// Sync: when every in-sync standby has it.
	Sync Mode = "sync"
	// Async: at once.
	Async Mode = "async"
)

// AlonePolicy says what a master does when too few standbys are in sync.
type AlonePolicy string

// The policies.
const (
	// GoOn: it goes on, loudly.
	GoOn AlonePolicy = "go-on"
	// Wait: nothing is committed until enough standbys are in sync.
	Wait AlonePolicy = "wait"
)

// Config is how a Replicator behaves.
type Config struct {
	// NodeID is this node's id.
	NodeID string
	Mode   Mode
	// LagTimeout is how long a standby may be silent before the master goes on without it, and how long a
	// standby that hears nothing believes to be in sync.
	LagTimeout time.Duration
	// AloneAfter is how long all standbys may be silent before the master goes on alone; never less than LagTimeout. A
	// standby that hears nothing may believe for as long that its master has not, so it should be longer than a takeover
	// takes.
	AloneAfter time.Duration
	// MinInSync is the number of standbys in sync below which Alone says what to do.
	MinInSync int
	Alone     AlonePolicy
	// SealTimeout is how long a new master waits for each peer to say how far it is.
	SealTimeout time.Duration
	// Backlog is how many bytes of changes may wait for the slowest connected standby before Commit blocks.
	Backlog int
	// MessageBytes bounds the batches and the parts of snapshots; a single large entry may exceed it.
	MessageBytes int
	Limits       ledger.Limits
}

// DefaultConfig returns the defaults. NodeID is empty.
func DefaultConfig() Config {
	return Config{
		Mode:        Sync,
		LagTimeout:  2 * time.Second,
		MinInSync:   1,
		Alone:       GoOn,
		SealTimeout: 500 * time.Millisecond,
		Backlog:     64 << 20,

		MessageBytes: 1 << 20,
		Limits:       ledger.Limits{DedupeCount: 100_000, DedupeTime: 24 * time.Hour},
	}
}

// Validate reports every fault, by the key of the property that it comes from.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.NodeID == "" {
		fault("node.id: must not be empty")
	}
	if c.Mode != Sync && c.Mode != Async {
		fault("cachesync.mode: %q: want sync or async", c.Mode)
	}
	if c.LagTimeout < 10*time.Millisecond || c.LagTimeout > time.Hour {
		fault("cachesync.lag.timeout: %v: want 10ms to 1h", c.LagTimeout)
	}
	if c.AloneAfter < 0 || c.AloneAfter > 24*time.Hour {
		fault("cachesync.alone.after: %v: want 0 to 24h", c.AloneAfter)
	}
	if c.MinInSync < 1 || c.MinInSync > 63 {
		fault("cachesync.min.insync: %d: want 1 to 63 standbys", c.MinInSync)
	}
	if c.Alone != GoOn && c.Alone != Wait {
		fault("cachesync.alone: %q: want go-on or wait", c.Alone)
	}
	if c.SealTimeout <= 0 {
		fault("seal timeout: %v: want more than 0", c.SealTimeout)
	}
	if c.Backlog <= 0 {
		fault("backlog: %d bytes: want more than 0", c.Backlog)
	}
	if c.MessageBytes <= 0 {
		fault("message bytes: %d: want more than 0", c.MessageBytes)
	}
	if c.Limits.DedupeCount < 0 || c.Limits.DedupeCount > 100_000_000 {
		fault("cachesync.dedupe.count: %d: want 0 to 100000000", c.Limits.DedupeCount)
	}
	if c.Limits.DedupeTime < 0 {
		fault("cachesync.dedupe.time: %v: want 0 or more", c.Limits.DedupeTime)
	}
	return errors.Join(faults...)
}

// minSize is the number of nodes without which a master does not go on, itself included.
func (c Config) minSize() int {
	if c.Alone == Wait {
		return c.MinInSync + 1
	}
	return 1
}

func (c Config) aloneAfter() time.Duration { return max(c.AloneAfter, c.LagTimeout) }
