package cachesync

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// Record is a recorded in-sync set: the nodes that hold everything that is committed. The master writes it, and
// commits without a node only after a Record without that node is known to all that stay in it.
type Record struct {
	Term    ledger.Term
	Version uint64
	// Members are node ids, sorted; the master of the term is one of them. The slice is never changed.
	Members []string
	// AloneAfter is how long the master waits for the last of its standbys, if all are silent, before it goes on
	// alone.
	AloneAfter time.Duration
}

// IsZero reports whether nothing was recorded.
func (r Record) IsZero() bool { return r.Term.IsZero() }

// Compare orders records by term, then by version.
func (r Record) Compare(other Record) int {
	return cmp.Or(r.Term.Compare(other.Term), cmp.Compare(r.Version, other.Version))
}

// Less reports whether r was made before other.
func (r Record) Less(other Record) bool { return r.Compare(other) < 0 }

// Has reports whether a node is in the set.
func (r Record) Has(node string) bool {
	_, found := slices.BinarySearch(r.Members, node)
	return found
}

// String gives term/version and the members.
func (r Record) String() string {
	if r.IsZero() {
		return "none"
	}
	return fmt.Sprintf("%v/%d [%s]", r.Term, r.Version, strings.Join(r.Members, " "))
}
