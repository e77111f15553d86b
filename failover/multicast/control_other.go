//go:build !linux

package multicast

import "net"

// onlyOwnGroups leaves the socket as it is: datagrams of other groups are dropped by their destination, where the system
// tells it.
func onlyOwnGroups(*net.UDPConn) error { return nil }
