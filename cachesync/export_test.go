package cachesync

import "github.com/understudy-ha/understudy/cachesync/ledger"

// Table returns everything that a node holds.
func (r *Replicator) Table() ledger.Chunk {
	r.mu.Lock()
	snapshot := r.table.Snapshot()
	r.mu.Unlock()
	var all ledger.Chunk
	for c := range snapshot.Chunks(1 << 30) {
		all = c
	}
	return all
}
