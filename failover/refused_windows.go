package failover

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

// isRefused reports whether a connection was refused by a living kernel. Windows tries for some two seconds before
// it says so.
func isRefused(err error) bool {
	return errors.Is(err, windows.WSAECONNREFUSED) || errors.Is(err, syscall.ECONNREFUSED)
}
