package tcp

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// tuneSystem sets what only Linux has: a connection is given up when what was sent is not acknowledged for so long. The
// system would otherwise go on for minutes, even for a process that has died, whose last words would then be heard much
// too late.
func tuneSystem(conn *net.TCPConn, giveUp time.Duration) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(giveUp.Milliseconds()))
	})
}
