package failover

import "time"

// quietTime is how long a warning is not repeated.
const quietTime = time.Minute

// quietMost bounds the warnings remembered: strangers can invent node ids.
const quietMost = 1024

// Quiet remembers which warnings were given lately, so that a node's log does not say the same with each datagram. The
// zero value has given none. It belongs to one goroutine.
type Quiet struct{ given map[string]time.Duration }

// First reports whether a warning was not given in the last minute, and remembers it. now is by the node's clock.
func (q *Quiet) First(key string, now time.Duration) bool {
	if at, given := q.given[key]; given && now-at < quietTime {
		return false
	}
	if q.given == nil || len(q.given) >= quietMost {
		q.given = make(map[string]time.Duration)
	}
	q.given[key] = now
	return true
}

// End forgets a warning whose cause has gone, so that its return is told at once.
func (q *Quiet) End(key string) { delete(q.given, key) }
