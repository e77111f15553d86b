package multicast

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// onlyOwnGroups keeps a socket from hearing groups that only other sockets have joined, which is Linux's default.
func onlyOwnGroups(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = raw.Control(func(fd uintptr) {
		failure = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
	})
	return errors.Join(err, failure)
}
