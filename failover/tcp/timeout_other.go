//go:build !linux

package tcp

import (
	"net"
	"time"
)

// setUserTimeout does nothing: the deadlines of reading and writing remain.
func setUserTimeout(*net.TCPConn, time.Duration) {}
