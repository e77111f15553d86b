package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
	"github.com/google/uuid"

	"github.com/understudy-ha/understudy/bootstrap/components/durable"
	"github.com/understudy-ha/understudy/bootstrap/config"
)

// dataDir is a node's own folder: its id, its control socket and what its plugins keep.
type dataDir struct {
	path string
	lock *flock.Flock
}

// openDataDir makes the folder if need be and locks it: two nodes on one folder would share an id and a term.
func openDataDir(path string) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data.dir: %w", err)
	}
	lock := flock.New(filepath.Join(path, "lock"), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("data.dir: lock %s: %w", lock.Path(), err)
	}
	if !locked {
		return nil, fmt.Errorf("data.dir: %s is in use by another node; give each node a data.dir of its own", path)
	}
	return &dataDir{path: path, lock: lock}, nil
}

// close unlocks the folder.
func (d *dataDir) close() error { return d.lock.Close() }

// nodeID returns the id that was given, or the one that is kept in the folder, which is made at the first start.
func (d *dataDir) nodeID(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	file := filepath.Join(d.path, config.NodeIDFile)
	content, err := os.ReadFile(file)
	if err == nil {
		id := strings.TrimSpace(string(content))
		if id == "" || strings.ContainsAny(id, " \t\r\n/") {
			return "", fmt.Errorf("%s: %q is no node id; write one word there, or remove the file for a new one", file, id)
		}
		return id, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("node.id: %w", err)
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "node"
	}
	id := host + "-" + uuid.NewString()[:8]
	if err := durable.WriteFile(file, []byte(id+"\n")); err != nil {
		return "", fmt.Errorf("node.id: %w", err)
	}
	return id, nil
}

// socket is the path of the control socket.
func (d *dataDir) socket() string { return controlSocket(d.path) }

func controlSocket(dataDir string) string { return filepath.Join(dataDir, "control.sock") }
