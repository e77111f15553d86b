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

// Config is how a Replicator behaves.
type Config struct {
	// NodeID is this node's id.
	NodeID string
	Mode   Mode
	// LagTimeout is how long a standby may be silent before the master goes on without it, and how long a
	// standby that hears nothing believes to be in sync.
	LagTimeout time.Duration
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
