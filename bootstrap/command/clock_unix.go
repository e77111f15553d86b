//go:build unix

package command

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime is the time by the clock that host and shim share.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(bootClock, &ts); err != nil {
		panic("clock_gettime: " + err.Error()) // the clock is there on every system that this is built for
	}
	return time.Duration(ts.Nano())
}
