package multicast

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// control keeps a socket from hearing groups that only other sockets have joined, which is Linux's default.
// Sharing the port is what Go sets up by itself for a multicast address.
func control(_, _ string, raw syscall.RawConn) error {
	var failure error
	err := raw.Control(func(fd uintptr) {
		failure = errors.Join(
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0),
		)
	})
	return errors.Join(err, failure)
}
