package failover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/wire"
)

// Store keeps what a node must not forget over a restart. It is used by one goroutine at a time.
type Store interface {
	// Load returns what was saved last; a node that never saved anything gets zeros.
	Load() (Saved, error)
	// SaveTerm returns when the highest claimed number and the boot are on disk.
	SaveTerm(term, boot uint64) error
	// SaveVote returns when the vote is on disk.
	SaveVote(vote election.Vote) error
	// SavePause keeps the last word on promotions.
	SavePause(pause election.Pause) error
	// SaveNodes keeps the ids of the other nodes.
	SaveNodes(nodes []string) error
	// SaveBoots keeps the last known boot of each node, so that no recording of an earlier life is believed after a restart.
	SaveBoots(boots map[string]uint64) error
}

// Saved is what a Store holds.
type Saved struct {
	// Term is the highest number that this node has ever claimed, Boot that of its last start.
	Term, Boot uint64
	Nodes      []string
	// Boots are the last known lives of the nodes; kept only if datagrams are sealed.
	Boots map[string]uint64
	Vote  election.Vote
	Pause election.Pause
}

// FileStore is a Store in a folder: the files "term", "vote", "pause", "nodes" and "boots".
type FileStore struct{ folder string }

// OpenFileStore makes the folder if it does not exist.
func OpenFileStore(folder string) (*FileStore, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("folder for the election's files: %w; check data.dir and its permissions", err)
	}
	return &FileStore{folder: folder}, nil
}

const termFormat = "understudy term %d boot %d\n"

// Load reads the files. A term file that cannot be understood is an error, because a node that goes on
// without its term could use one twice; so is a vote file, because a voter that has forgotten its promises could
// break one; a pause file, because somebody has relied on it; and a boots file, because without it recordings of old lives
// would be believed. A nodes file that cannot is only a loss of speed, and is ignored.
func (s *FileStore) Load() (Saved, error) {
	var saved Saved
	path := s.path("term")
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return Saved{}, fmt.Errorf("read the saved term: %w", err)
	default:
		if _, err := fmt.Sscanf(string(data), termFormat, &saved.Term, &saved.Boot); err != nil ||
			saved.Term > wire.MaxNumber || fmt.Sprintf(termFormat, saved.Term, saved.Boot) != string(data) {
			return Saved{}, fmt.Errorf("%s is damaged: want a line like %q; look up the current term with"+
				" 'bootstrap status' on another node and write it there, or delete the file if this node's cluster"+
				" is stopped everywhere", path, fmt.Sprintf(termFormat, 7, 1))
		}
	}
	if err := s.loadJSON("vote", &saved.Vote, "delete it on this node and admit the node anew with"+
		" 'bootstrap members replace ID ID' on the master"); err != nil {
		return Saved{}, err
	}
	if err := s.loadJSON("pause", &saved.Pause, "delete it if promotions are not to be paused"); err != nil {
		return Saved{}, err
	}
	if err := s.loadJSON("boots", &saved.Boots, "delete it; recordings of the earlier lives of other nodes are then"+
		" believed until the nodes themselves are heard"); err != nil {
		return Saved{}, err
	}
	if data, err := os.ReadFile(s.path("nodes")); err == nil {
		if json.Unmarshal(data, &saved.Nodes) != nil {
			saved.Nodes = nil
		}
	}
	return saved, nil
}

// SaveTerm writes the term file.
func (s *FileStore) SaveTerm(term, boot uint64) error {
	return s.replace("term", fmt.Appendf(nil, termFormat, term, boot))
}

// loadJSON leaves value as it is if there is no such file.
func (s *FileStore) loadJSON(name string, value any, help string) error {
	data, err := os.ReadFile(s.path(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("read the saved %s: %w", name, err)
	}
	if err := json.Unmarshal(data, value); err != nil {
		return fmt.Errorf("%s is damaged (%w): %s", s.path(name), err, help)
	}
	return nil
}

// SaveVote writes the vote file.
func (s *FileStore) SaveVote(vote election.Vote) error { return s.saveJSON("vote", vote) }

// SavePause writes the pause file.
func (s *FileStore) SavePause(pause election.Pause) error { return s.saveJSON("pause", pause) }

// SaveNodes writes the nodes file.
func (s *FileStore) SaveNodes(nodes []string) error { return s.saveJSON("nodes", nodes) }

// SaveBoots writes the boots file.
func (s *FileStore) SaveBoots(boots map[string]uint64) error { return s.saveJSON("boots", boots) }

func (s *FileStore) saveJSON(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.replace(name, append(data, '\n'))
}

func (s *FileStore) path(name string) string { return filepath.Join(s.folder, name) }

// replace writes a file so that after a crash at any moment either the old or the new content is there: into a
// new file, onto the disk, over the old one, and the folder onto the disk as well.
func (s *FileStore) replace(name string, data []byte) (err error) {
	temp, err := os.CreateTemp(s.folder, "."+name+"-*")
	if err != nil {
		return fmt.Errorf("save %s: %w", s.path(name), err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("save %s: %w", s.path(name), errors.Join(err, os.Remove(temp.Name())))
		}
	}()
	_, err = temp.Write(data)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return err
	}
	if err = os.Rename(temp.Name(), s.path(name)); err != nil {
		return err
	}
	return syncFolder(s.folder)
}

// syncFolder makes a rename survive a power cut. Windows cannot open a folder for that, and journals renames.
func syncFolder(folder string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
