package folder

import (
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

func writable(string) error { return nil }

// look describes a file, without following a symbolic link.
func look(path string) (info, error) {
	stat, err := os.Lstat(path)
	if err != nil {
		return info{}, err
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return info{}, &fs.PathError{Op: "look at", Path: path, Err: err}
	}
	handle, err := windows.CreateFile(name, windows.FILE_READ_ATTRIBUTES,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil, windows.OPEN_EXISTING,
		windows.FILE_FLAG_OPEN_REPARSE_POINT|windows.FILE_FLAG_BACKUP_SEMANTICS, 0)
	if err != nil {
		return info{}, &fs.PathError{Op: "look at", Path: path, Err: err}
	}
	defer windows.CloseHandle(handle)
	var found windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(handle, &found); err != nil {
		return info{}, &fs.PathError{Op: "look at", Path: path, Err: err}
	}
	return info{
		identity: identity{
			inode:    uint64(found.FileIndexHigh)<<32 | uint64(found.FileIndexLow),
			size:     int64(found.FileSizeHigh)<<32 | int64(found.FileSizeLow),
			modified: found.LastWriteTime.Nanoseconds(),
			born:     found.CreationTime.Nanoseconds(),
		},
		mode: stat.Mode(),
	}, nil
}

// renameNew renames a file, and fails with fs.ErrExist if the new name is taken.
func renameNew(from, to string) error {
	source, err := windows.UTF16PtrFromString(from)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	target, err := windows.UTF16PtrFromString(to)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	// Without MOVEFILE_REPLACE_EXISTING.
	if err := windows.MoveFileEx(source, target, windows.MOVEFILE_WRITE_THROUGH); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}
