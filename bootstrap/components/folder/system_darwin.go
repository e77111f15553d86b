package folder

import (
	"errors"
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
	system := stat.Sys().(*syscall.Stat_t)
	return info{
		identity: identity{
			inode: system.Ino, size: stat.Size(), modified: stat.ModTime().UnixNano(),
			born: system.Birthtimespec.Nano(),
		},
		mode: stat.Mode(),
	}, nil
}

// renameNew renames a file, and fails with fs.ErrExist if the new name is taken.
func renameNew(from, to string) error {
	err := unix.RenamexNp(from, to, unix.RENAME_EXCL)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EINVAL):
		return renameLinking(from, to)
	}
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
}
