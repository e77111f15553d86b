package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Source is a real file to feed.
type Source struct {
	// Name is flat and unique; Path is where the file is.
	Name, Path string
}

// largestSource keeps one odd file from making a run slow.
const largestSource = 1 << 20

// GoSources returns n files of the Go source tree, which every machine that builds this project has: the same n,
// spread over the tree, in the same order each time.
func GoSources(ctx context.Context, n int) ([]Source, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	// Debian has src as a symbolic link.
	root, err := filepath.EvalSymlinks(filepath.Join(strings.TrimSpace(string(out)), "src"))
	if err != nil {
		return nil, fmt.Errorf("source tree of Go: %w", err)
	}
	var paths []string
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Size() > 0 && info.Size() <= largestSource {
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("source tree of Go: %w", err)
	}
	if len(paths) < n {
		return nil, fmt.Errorf("the Go source tree at %s has %d files, %d are needed", root, len(paths), n)
	}
	sources := make([]Source, n)
	for i := range sources {
		path := paths[i*len(paths)/n]
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return nil, err
		}
		flat := strings.ReplaceAll(filepath.ToSlash(rel), "/", "-")
		sources[i] = Source{Name: fmt.Sprintf("%05d-%s", i, flat), Path: path}
	}
	return sources, nil
}

// Read returns the content and its SHA-256 in hex.
func (s Source) Read() (content []byte, digest string, err error) {
	content, err = os.ReadFile(s.Path)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(content)
	return content, hex.EncodeToString(sum[:]), nil
}
