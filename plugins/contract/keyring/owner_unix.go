//go:build unix

package keyring

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// giveTo makes a file belong to whom another one belongs to. Only root can, and needs to: a file that its owner
// replaces is the owner's anyway.
func giveTo(path string, old fs.FileInfo) error {
	owner, ok := old.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
		return fmt.Errorf("give it to its owner: %w", err)
	}
	return nil
}
