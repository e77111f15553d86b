package failover

import (
	"time"

	"golang.org/x/sys/unix"
)

// SystemClock returns the machine's CLOCK_BOOTTIME. Unlike Go's own monotonic clock it goes on while the
// machine is suspended, so that a lease cannot outlast a closed lid.
func SystemClock() Clock {
	fallback := monotonicClock()
	return func() time.Duration {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
			return fallback()
		}
		return time.Duration(now.Nano())
	}
}
