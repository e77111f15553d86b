package benthos

import (
	"io/fs"
	"os"
	"path/filepath"
)

// files is the file system that Benthos components see: relative paths begin at dir. It has the methods that
// service.NewFS looks for.
type files struct{ dir string }

func (f files) at(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(f.dir, name)
}

// Open opens a file for reading.
func (f files) Open(name string) (fs.File, error) { return os.Open(f.at(name)) }

// OpenFile opens a file as os.OpenFile does.
func (f files) OpenFile(name string, flag int, perm fs.FileMode) (fs.File, error) {
	return os.OpenFile(f.at(name), flag, perm)
}

// Stat describes a file.
func (f files) Stat(name string) (fs.FileInfo, error) { return os.Stat(f.at(name)) }

// Remove removes a file or an empty directory.
func (f files) Remove(name string) error { return os.Remove(f.at(name)) }

// MkdirAll creates a directory and its parents.
func (f files) MkdirAll(path string, perm fs.FileMode) error { return os.MkdirAll(f.at(path), perm) }
