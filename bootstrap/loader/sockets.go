package loader

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

const (
	// longestSocket is the longest path of a unix socket that works everywhere (macOS has 104 bytes with the
	// final zero, Linux 108).
	longestSocket = 103
	// below is what go-plugin puts below the folder: /plugin-dir and /plugin, each with up to ten digits.
	below = len("/plugin-dir1234567890/plugin1234567890")
)

// socketDir is where go-plugin makes one folder for each plugin.
type socketDir struct {
	path string
	// temporary: ours to remove.
	temporary bool
}

// openSocketDir makes dir, or a temporary folder where dir is not fit for sockets. Nobody else may look into
// it: who can open the socket can try to talk to the plugin.
func openSocketDir(dir string) (socketDir, error) {
	if dir != "" {
		path, err := filepath.Abs(dir)
		if err != nil {
			return socketDir{}, fmt.Errorf("socket folder %s: %w", dir, err)
		}
		if len(path)+below <= longestSocket {
			if err := makePrivate(path); err != nil {
				return socketDir{}, fmt.Errorf("socket folder for the plugins: %w; data.dir must be writable for this user", err)
			}
			return socketDir{path: path}, removeStale(path)
		}
	}
	path, err := os.MkdirTemp("", "us")
	if err != nil {
		return socketDir{}, fmt.Errorf("socket folder for the plugins: %w; set TMPDIR to a writable folder, or data.dir to a shorter path", err)
	}
	if len(path)+below > longestSocket {
		_ = os.Remove(path)
		return socketDir{}, fmt.Errorf("socket folder for the plugins: with more than %d bytes %s is too long for unix sockets, as is %q; set data.dir or TMPDIR to a shorter path",
			longestSocket-below, path, dir)
	}
	return socketDir{path: path, temporary: true}, nil
}

func makePrivate(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	// It may have been there, or have been made under an odd umask.
	return os.Chmod(path, 0o700)
}

// removeStale removes what plugins of a host that was killed have left: folders with a socket on which
// nobody listens.
func removeStale(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("socket folder for the plugins: %w", err)
	}
	for _, entry := range entries {
		old := filepath.Join(dir, entry.Name())
		if entry.IsDir() && strings.HasPrefix(entry.Name(), "plugin-dir") && !inUse(old) {
			_ = os.RemoveAll(old)
		}
	}
	return nil
}

func inUse(dir string) bool {
	sockets, err := os.ReadDir(dir)
	if err != nil {
		return true
	}
	for _, socket := range sockets {
		if conn, err := net.Dial("unix", filepath.Join(dir, socket.Name())); err == nil {
			_ = conn.Close()
			return true
		}
	}
	return false
}

func (s socketDir) remove() error {
	if !s.temporary {
		return nil
	}
	if err := os.RemoveAll(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the plugins' socket folder: %w", err)
	}
	return nil
}
