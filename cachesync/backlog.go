package cachesync

import "github.com/understudy-ha/understudy/cachesync/ledger"

// backlog is the end of the log that some connected standby has not acknowledged yet.
type backlog struct {
	entries fifo[ledger.LogEntry]
	before  uint64 // index before the first entry
	bytes   int
}

func (b *backlog) last() uint64 { return b.before + uint64(b.entries.len()) }

func (b *backlog) push(e ledger.LogEntry) {
	b.entries.push(e)
	b.bytes += e.Size()
}

// dropTo forgets the entries up to an index and reports whether there were any.
func (b *backlog) dropTo(index uint64) bool {
	if index <= b.before {
		return false
	}
	n := int(min(index, b.last()) - b.before)
	for i := range b.entries.all()[:n] {
		b.bytes -= b.entries.all()[i].Size()
	}
	b.entries.drop(n)
	b.before += uint64(n)
	return n > 0
}

// take appends the entries after an index to batch, up to limit bytes but at least one if there is one. It
// returns the bytes taken.
func (b *backlog) take(batch []ledger.LogEntry, after uint64, limit int) ([]ledger.LogEntry, int) {
	size := 0
	waiting := b.entries.all()[after-b.before:]
	for i := range waiting {
		n := waiting[i].Size()
		if size > 0 && size+n > limit {
			break
		}
		batch, size = append(batch, waiting[i]), size+n
	}
	return batch, size
}
