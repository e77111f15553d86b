//go:build unix && !linux && !darwin

package folder

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func writable(dir string) error { return unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK) }

// look describes a file, without following a symbolic link.
func look(path string) (info, error) {
	stat, err := os.Lstat(path)
	if err != nil {
		return info{}, err
	}
	return info{
		identity: identity{
			inode: uint64(stat.Sys().(*syscall.Stat_t).Ino), size: stat.Size(), modified: stat.ModTime().UnixNano(),
		},
		mode: stat.Mode(),
	}, nil
}

// renameNew renames a file, and fails with fs.ErrExist if the new name is taken.
func renameNew(from, to string) error { return renameLinking(from, to) }
