package failover

import (
	"time"

	"github.com/understudy-ha/understudy/failover/election"
)

// report logs what the machine has to say: its normal course for those who look for it, everything that
// people should do something about loudly, but not once per datagram.
func (n *Node) report(r election.Report) {
	say := n.log.Warn
	switch r.Kind {
	case election.Progress:
		say = n.log.Debug
	case election.OldBoot, election.Impossible:
		n.dropped[r.Kind.String()]++
		say = n.log.Debug
	case election.Crowded:
		n.dropped[r.Kind.String()]++
	case election.Unmuted:
		say = n.log.Info
		n.quiet.end(election.Muted.String() + " ") // The next silence is news again.
	}
	if !n.quiet.first(r.Kind.String()+" "+r.Peer, n.clock()) {
		say = n.log.Debug
	}
	attrs := []any{"kind", r.Kind.String()}
	if r.Peer != "" {
		attrs = append(attrs, "peer", r.Peer)
	}
	say("Election: "+r.Text, attrs...)
}

// quietTime is how long a warning is not repeated.
const quietTime = time.Minute

// quietMost bounds the warnings remembered: strangers can invent node ids.
const quietMost = 1024

// quiet remembers which warnings were given lately.
type quiet struct{ given map[string]time.Duration }

// first reports whether a warning was not given lately, and remembers it.
func (q *quiet) first(key string, now time.Duration) bool {
	if at, given := q.given[key]; given && now-at < quietTime {
		return false
	}
	if q.given == nil || len(q.given) >= quietMost {
		q.given = make(map[string]time.Duration)
	}
	q.given[key] = now
	return true
}

// end forgets a warning whose cause has gone, so that its return is told at once.
func (q *quiet) end(key string) { delete(q.given, key) }
