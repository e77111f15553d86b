package interlok

import (
	"time"

	"github.com/understudy-ha/understudy/failover/interlok/rules"
)

// report logs what the machine has to say, in the words of Interlok 4 where it has some. What others can cause is not
// said once per ping.
func (n *Node) report(r rules.Report) {
	say := n.log.Info
	switch r.Kind {
	case rules.Progress:
		say = n.log.Debug
	case rules.Conflict, rules.Yielded, rules.Stalled:
		say = n.log.Warn
	case rules.Crowded:
		say = n.log.Warn
		n.dropped[r.Kind.String()]++
	case rules.Assigned, rules.Moved, rules.Promoting, rules.TimedOut, rules.Muted, rules.Unmuted:
	}
	key := r.Kind.String() + " " + r.Peer
	if r.Kind == rules.Crowded {
		key = r.Kind.String()
	}
	if r.Peer != "" && !n.quiet.first(key, n.clock()) {
		say = n.log.Debug
	}
	attrs := []any{"kind", r.Kind.String()}
	if r.Peer != "" {
		attrs = append(attrs, "peer", r.Peer)
	}
	say(r.Text, attrs...)
}

// quietTime is how long a warning is not repeated; quietMost bounds those remembered: strangers can invent ids.
const (
	quietTime = time.Minute
	quietMost = 1024
)

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
