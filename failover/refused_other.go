//go:build !windows

package failover

import (
	"errors"
	"syscall"
)

// isRefused reports whether a connection was refused by a living kernel.
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
