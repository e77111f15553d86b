package cli

import (
	"errors"
	"os"
	"path/filepath"
)

// writeFile writes a file so that it is there whole or not at all, whenever the machine stops: under another name
// first, onto the disk, then renamed, and the name onto the disk, too. Only this user may read it.
func writeFile(path string, content []byte) (err error) {
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
	syncDir(dir)
	return nil
}

// syncDir brings a folder's names onto the disk, on systems where a folder can be opened for that.
func syncDir(dir string) {
	if folder, err := os.Open(dir); err == nil {
		_ = folder.Sync()
		_ = folder.Close()
	}
}
