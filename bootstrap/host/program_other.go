//go:build !unix

package host

import "os/exec"

// ownGroup: there are no process groups to kill; the program itself is.
func ownGroup(*exec.Cmd) {}
