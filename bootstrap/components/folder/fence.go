package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/durable"
)

const (
	// stagingRoot is the folder, in an output folder, where files are written before they get their names. It
	// has one folder for each term.
	stagingRoot = ".understudy-term"
	// fencedPrefix is on the names of staging folders that a higher term has taken away.
	fencedPrefix = "fenced-"
	// unfenced is the staging folder of nodes that run without an election. They have no term, so they keep nobody
	// out and nobody keeps them out.
	unfenced = "unfenced"
)

// ErrFenced is returned for a produce of a term that is older than the last one that has written to the folder.
var ErrFenced = fmt.Errorf("%w, which has written to this folder", adapter.ErrFenced)

// fence lets only the highest term that a folder has seen put files into it.
//
// Each producer writes its files in a staging folder of its own, whose name has the term, and renames them into
// the output folder. A higher term makes its staging folder first, and then takes those of lower terms away: from
// that instant the rename of an old master fails, even if it was asleep just before it, because the path that it
// renames from is gone, and never comes back. So there is no lock that a sleeping process could hold. Two terms
// that arrive at the same time both make their folder before they look for others, so at least one of them sees
// both, and the lower gives way. The folders stay: they are how the folder remembers its highest term.
//
// It is safe for concurrent use.
type fence struct {
	folder, root string
	sync         bool

	mu      sync.Mutex
	current string // guarded by mu: the term as it was given, "" before the first
	staging string // guarded by mu: its folder
}

func newFence(folder string, sync bool) *fence {
	return &fence{folder: folder, root: filepath.Join(folder, stagingRoot), sync: sync}
}

// term is the number of a mastership, then its node.
type term struct {
	number uint64
	node   string
}

func (t term) less(other term) bool {
	if t.number != other.number {
		return t.number < other.number
	}
	return t.node < other.node
}

func (t term) String() string { return strconv.FormatUint(t.number, 10) + ":" + t.node }

// parseTerm reads number:node.
func parseTerm(text string) (term, error) {
	number, node, found := strings.Cut(text, ":")
	n, err := strconv.ParseUint(number, 10, 64)
	if !found || err != nil || node == "" {
		return term{}, fmt.Errorf("metadata term is %q: want number:node, or nothing on a node without an election", text)
	}
	return term{number: n, node: node}, nil
}

// newFolderName is a name that every file system takes, and that has never been used.
func (t term) newFolderName() string {
	return strconv.FormatUint(t.number, 10) + "=" + url.QueryEscape(t.node) + "=" + randomName()
}

// parseFolderName is false for a name that is not a staging folder's.
func parseFolderName(name string) (term, bool) {
	parts := strings.Split(name, "=")
	if len(parts) != 3 {
		return term{}, false
	}
	number, err := strconv.ParseUint(parts[0], 10, 64)
	if err != nil {
		return term{}, false
	}
	node, err := url.QueryUnescape(parts[1])
	return term{number: number, node: node}, err == nil && node != ""
}

// enter returns the staging folder of a term, or of no term.
func (f *fence) enter(text string) (string, error) {
	if text == "" {
		staging := filepath.Join(f.root, unfenced)
		if err := os.MkdirAll(staging, 0o777); err != nil {
			return "", fmt.Errorf("make staging folder: %w", err)
		}
		return staging, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if text == f.current {
		return f.staging, nil
	}
	mine, err := parseTerm(text)
	if err != nil {
		return "", err
	}
	staging, err := f.raise(mine)
	if err != nil {
		return "", err
	}
	f.current, f.staging = text, staging
	return staging, nil
}

// leave forgets a term, so that the next one to enter looks at the folder again.
func (f *fence) leave(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if text == f.current {
		f.current = ""
	}
}

// raise makes a staging folder for a term, if no higher one has been there.
func (f *fence) raise(mine term) (string, error) {
	staging := filepath.Join(f.root, mine.newFolderName())
	if err := os.Mkdir(f.root, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make staging folder: %w", err)
	}
	if err := os.Mkdir(staging, 0o777); err != nil {
		return "", fmt.Errorf("make staging folder: %w", err)
	}
	entries, err := os.ReadDir(f.root)
	if err != nil {
		return "", fmt.Errorf("list staging folders: %w", err)
	}
	for _, entry := range entries {
		if other, ok := parseFolderName(entry.Name()); ok && mine.less(other) {
			_ = os.Remove(staging) // if it stays, the next term removes it
			return "", fmt.Errorf("%w: its term is %s, that of this produce %s; %s", ErrFenced, other, mine, f.folder)
		}
	}
	for _, entry := range entries {
		if err := f.takeAway(entry.Name(), mine); err != nil {
			return "", fmt.Errorf("take away the staging folder of an older term: %w", err)
		}
	}
	if f.sync {
		if err := errors.Join(durable.SyncFolder(f.root), durable.SyncFolder(f.folder)); err != nil {
			return "", fmt.Errorf("staging folder: %w", err)
		}
	}
	return staging, nil
}

// takeAway ends an older term: the rename does it in one step, what lies there is then removed at leisure.
func (f *fence) takeAway(name string, mine term) error {
	path := filepath.Join(f.root, name)
	if other, ok := parseFolderName(name); ok {
		if !other.less(mine) {
			return nil
		}
		fenced := filepath.Join(f.root, fencedPrefix+randomName())
		if err := os.Rename(path, fenced); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		path = fenced
	} else if !strings.HasPrefix(name, fencedPrefix) {
		return nil
	}
	return os.RemoveAll(path)
}
