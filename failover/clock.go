package failover

import "time"

// Clock tells the time since an origin of its choice. It never goes back, and is not set by people or by NTP.
// It may be called from several goroutines.
type Clock func() time.Duration

func monotonicClock() Clock {
	origin := time.Now()
	return func() time.Duration { return time.Since(origin) }
}
