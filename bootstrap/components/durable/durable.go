// Package durable brings files and their names onto the disk, so that they survive a power cut.
package durable

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
)

// WriteFile writes a file so that it is there whole or not at all, whenever the machine stops: under another name
// first, onto the disk, then renamed, and the name onto the disk, too, where the file system can do that. Only this
// user may read it.
func WriteFile(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	_, err = temp.Write(content)
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	_ = SyncFolder(dir) // some network file systems cannot; the file is there all the same
	return nil
}

// SyncFolder makes what was renamed, made and removed in a folder durable. Windows has no way to do that, and nothing
// is done there.
func SyncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
