package cachesync

import "github.com/understudy-ha/understudy/cachesync/ledger"

// Store keeps the table where it survives the process. What it has written is durable when the call returns:
// all of it or nothing. Full may be called from several goroutines, everything else by one at a time.
type Store interface {
	// Load gives what was kept: the table in parts, none if there is no table, and the promise.
	Load(chunk func(*ledger.Chunk) error) (Promise, error)
	// Append follows the table. It blocks while there is no room. After an error the store is of no use any more.
	Append(changes []ledger.Change) error
	// Replace takes another table in parts, in order. The last part puts it in the place of the kept one, durably;
	// until then nothing has changed. A first part begins anew.
	Replace(part *ledger.Chunk) error
	// Keep keeps the promise.
	Keep(promise Promise) error
	// Full returns why nothing can be written at the moment, or nil. The error names the path.
	Full() error
	// Path is where the store is, for messages.
	Path() string
}

// Promise is what a node must not forget beside its table.
type Promise struct {
	// Term is the highest one that it has led or followed; it follows no lower one.
	Term ledger.Term
	// Record is the last in-sync set that it was told or has made.
	Record Record
}
