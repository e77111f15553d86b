package keyring

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// maxFile is the greatest size of a key file in bytes. Two keys and their comments need 300.
const maxFile = 64 << 10

// Load reads a key file. On Unix it is refused if others than its owner may read or change it.
func Load(path string) (Ring, error) {
	info, err := os.Stat(path) // First: to open a pipe would block.
	if err == nil {
		err = usable(info, path)
	}
	if err != nil {
		return Ring{}, explain(err, path)
	}
	file, err := os.Open(path)
	if err != nil {
		return Ring{}, explain(err, path)
	}
	defer file.Close()
	// And again: what stands under the name may be another file by now.
	if info, err = file.Stat(); err == nil {
		err = usable(info, path)
	}
	if err != nil {
		return Ring{}, explain(err, path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return Ring{}, explain(err, path)
	}
	return Parse(text, path)
}

// usable reports why a file cannot be a key file.
func usable(info fs.FileInfo, path string) error {
	switch {
	case !info.Mode().IsRegular() || info.Size() > maxFile:
		return errors.New("it is no small regular file")
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("it may be read or changed by others than its owner (mode %04o): chmod 600 %s", info.Mode().Perm(), path)
	}
	return nil
}

// explain says what to do about a key file that cannot be read.
func explain(err error, path string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("key file %s does not exist: make one with 'bootstrap keygen -o %s' and copy it to every node", path, path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("key file %s: %w: it must belong to the user that the node runs as", path, err)
	default:
		return fmt.Errorf("key file %s: %w", path, err)
	}
}

// Create writes a new key file that only its owner can read. It does not replace one, and leaves none behind if it
// cannot be written.
func (r Ring) Create(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already: a key that other nodes use is not thrown away; 'bootstrap keygen --add %s' adds a new one", path, path)
	}
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	if err := r.fill(file); err != nil {
		return fmt.Errorf("key file: %w", errors.Join(err, os.Remove(path)))
	}
	syncDir(filepath.Dir(path))
	return nil
}

// Replace writes a key file over an old one, so that at any moment, whenever the machine stops, one of both is there. The
// new one belongs to whom the old one belonged to: root may change the keys of a node that runs as another user. If
// path is a link, what it points to is replaced.
func (r Ring) Replace(path string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	old, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	err = r.fill(temp)
	if err == nil {
		err = giveTo(temp.Name(), old)
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("key file: %w", errors.Join(err, os.Remove(temp.Name())))
	}
	syncDir(filepath.Dir(path))
	return nil
}

// fill writes the ring's text onto the disk and closes the file.
func (r Ring) fill(file *os.File) error {
	_, err := file.Write(r.Text())
	return errors.Join(err, file.Sync(), file.Close())
}

// syncDir brings a folder's names onto the disk, on systems where a folder can be opened for that.
func syncDir(dir string) {
	if folder, err := os.Open(dir); err == nil {
		_ = folder.Sync()
		_ = folder.Close()
	}
}
