//go:build unix

package wire_test

import (
	"syscall"
	"testing"
	"time"
)

// reportCPU reports the processor time of a benchmark, garbage collection included: on a busy machine the time on the
// clock says little. It is called at the end with what cpuTime was at the start.
func reportCPU(b *testing.B, start time.Duration) {
	b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N), "cpu-ns/op")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
