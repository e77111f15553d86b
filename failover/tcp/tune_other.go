//go:build !linux

package tcp

import (
	"net"
	"time"
)

// tuneSystem does nothing: the deadlines of reading and writing remain.
func tuneSystem(*net.TCPConn, time.Duration) {}
