//go:build !unix

package wire_test

import (
	"testing"
	"time"
)

// reportCPU does nothing where the processor time of a process is not told.
func reportCPU(*testing.B, time.Duration) {}

func cpuTime(*testing.B) time.Duration { return 0 }
