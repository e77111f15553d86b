// Package folder consumes files from folders and produces files into folders: the consumer and the producer
// "fs" of an adapter file. Both are made for several nodes that share the folders, of which one works.
package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ensure checks that dir is a folder that can be worked in; create makes it first.
func ensure(dir string, create bool) error {
	if create {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return fmt.Errorf("create folder: %w", err)
		}
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("folder %s does not exist: create it, or set create: true", dir)
	case err != nil:
		return fmt.Errorf("folder: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", dir)
	}
	if err := writable(dir); err != nil {
		return fmt.Errorf("folder %s: reading, writing and entering must be permitted: %w", dir, err)
	}
	return nil
}

// absolute gives the path of an option relative to base; "" is the working directory.
func absolute(base, path string) (string, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(base, path)
	}
	return filepath.Abs(path)
}

// renameLinking is renameNew where the system has no such call. A hard link fails if the new name is taken;
// where there are no links either, the look and the rename are two steps, and somebody may come in between.
func renameLinking(from, to string) error {
	err := os.Link(from, to)
	if err == nil {
		return os.Remove(from)
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
		}
		return err
	}
	return os.Rename(from, to)
}
