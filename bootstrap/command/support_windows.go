package command

import "errors"

// Supported reports why a command cannot be a workload on this system; nil if it can.
func Supported() error {
	return errors.New("a command as workload is not available on Windows: it has no way to ask a program to end that works " +
		"for all programs; run an adapter here, or the node on Linux")
}

// stopSignal knows no signals here, and Supported says why.
func stopSignal(string) (int, error) { return 0, nil }

// ShimMain is never reached, because a configuration with a command is refused.
func ShimMain() int { return 1 }
