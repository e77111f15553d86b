//go:build !linux

package host

import "time"

var processStart = time.Now()

// Boottime is the time since the process started, by the monotonic clock. Whether that clock goes on while the
// machine sleeps depends on the system.
func Boottime() time.Duration { return time.Since(processStart) }
