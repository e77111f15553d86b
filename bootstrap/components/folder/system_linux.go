package folder

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func writable(dir string) error { return unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK) }

// look describes a file, without following a symbolic link.
func look(path string) (info, error) {
	var stat unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &stat)
	if errors.Is(err, unix.ENOSYS) {
		return lookWithoutBirth(path)
	}
	if err != nil {
		return info{}, &fs.PathError{Op: "look at", Path: path, Err: err}
	}
	result := info{identity: identity{
		inode: stat.Ino, size: int64(stat.Size), modified: stat.Mtime.Sec*1e9 + int64(stat.Mtime.Nsec),
	}}
	if stat.Mask&unix.STATX_BTIME != 0 {
		result.born = stat.Btime.Sec*1e9 + int64(stat.Btime.Nsec)
	}
	result.mode = fs.FileMode(stat.Mode & 0o777)
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		result.mode |= fs.ModeIrregular
	}
	return result, nil
}

// lookWithoutBirth is for kernels before 4.11.
func lookWithoutBirth(path string) (info, error) {
	stat, err := os.Lstat(path)
	if err != nil {
		return info{}, err
	}
	return info{
		identity: identity{
			inode: stat.Sys().(*syscall.Stat_t).Ino, size: stat.Size(), modified: stat.ModTime().UnixNano(),
		},
		mode: stat.Mode(),
	}, nil
}

// renameNew renames a file, and fails with fs.ErrExist if the new name is taken.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS): // NFS, old kernels
		return renameLinking(from, to)
	}
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
}
