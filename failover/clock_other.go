//go:build !linux

package failover

// SystemClock returns Go's monotonic clock. Whether it goes on while the machine is suspended depends on the
// operating system.
func SystemClock() Clock { return monotonicClock() }
