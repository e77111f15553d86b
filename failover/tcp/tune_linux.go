package tcp

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// tuneSystem sets what only Linux has. A connection is given up when what was sent is not acknowledged for so long: the
// system would otherwise go on for minutes, even for a process that has died, whose last words would then be heard much
// too late. And what is lost is sent again at even intervals at first, which is meant for connections like these, with
// little on the way; else the pauses double, and a short outage lasts twice as long.
func tuneSystem(conn *net.TCPConn, giveUp time.Duration) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(giveUp.Milliseconds()))
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_THIN_LINEAR_TIMEOUTS, 1)
	})
}
