package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// walk returns the files of the folder, by their paths below it, sorted, and sub-folders' if those are asked for. A
// sub-folder that cannot be listed is reported, and the others are looked at; one that has just gone is none.
func (s *scan) walk() ([]string, error) {
	entries, err := os.ReadDir(s.config.Directory) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("list folder: %w", err)
	}
	s.watch.add(s.config.Directory)
	names := s.collect("", entries, nil)
	if s.config.Recursive {
		slices.Sort(names)
	}
	return names, nil
}

// collect adds the files among entries, which are those of a folder, and goes down into its folders.
func (s *scan) collect(below string, entries []os.DirEntry, names []string) []string {
	for _, entry := range entries {
		name := filepath.Join(below, entry.Name())
		if !entry.IsDir() {
			names = append(names, name)
			continue
		}
		if !s.config.Recursive || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		path := filepath.Join(s.config.Directory, name)
		s.watch.add(path) // before it is listed: what comes in between is told
		inner, err := os.ReadDir(path)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				s.reportSub(path, err)
			}
			continue
		}
		delete(s.subTrouble, path)
		names = s.collect(name, inner, names)
	}
	return names
}

// reportSub logs a sub-folder that cannot be listed, once.
func (s *scan) reportSub(path string, err error) {
	if s.subTrouble[path] == err.Error() {
		return
	}
	if s.subTrouble == nil {
		s.subTrouble = map[string]string{}
	}
	s.subTrouble[path] = err.Error()
	s.config.Logger.Error("sub-folder cannot be listed, and is tried again", "path", path, "error", err)
}
