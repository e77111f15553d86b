package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// find checks that name is a program in the folder that nobody but its owner and group can have put there,
// and returns its path.
//
// What is checked here could change before the process is started, by whoever may write to the folder: that
// is why a folder that everybody may write to is refused.
func (l *Library) find(name string) (string, error) {
	if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return "", fmt.Errorf("plugin %q: want the name of a file in %s, without a path", name, l.options.Dir)
	}
	path := filepath.Join(l.options.Dir, name+exeSuffix())
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", l.missing(name, path)
	}
	if err != nil {
		return "", fmt.Errorf("plugin %s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("plugin %s: %s is not a regular file but %s", name, path, info.Mode().Type())
	}
	if !isExecutable(info) {
		return "", fmt.Errorf("plugin %s: %s is not executable (%s); run: chmod +x %s", name, path, info.Mode(), path)
	}
	// A link may lead out of the folder: what it leads to is checked as well.
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("plugin %s: %w", name, err)
	}
	for _, p := range []string{l.options.Dir, filepath.Dir(target), target} {
		if err := checkWritable(p); err != nil {
			return "", fmt.Errorf("plugin %s: %w", name, err)
		}
	}
	return path, nil
}

func (l *Library) missing(name, path string) error {
	names, err := l.List()
	if err != nil {
		return fmt.Errorf("plugin %s: there is no %s, and %w", name, path, err)
	}
	there := "the folder has no plugins"
	if len(names) > 0 {
		there = "the folder has: " + strings.Join(names, ", ")
	}
	return fmt.Errorf("plugin %s: there is no %s; %s", name, path, there)
}

func checkWritable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if isWorldWritable(info) {
		return fmt.Errorf("%s may be written by everybody (%s), so anybody could choose what runs here; run: chmod o-w %s",
			path, info.Mode(), path)
	}
	return nil
}

func exeSuffix() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}

// Windows has access lists in place of mode bits; Go makes the bits up.

func isExecutable(info fs.FileInfo) bool {
	return runtime.GOOS == "windows" || info.Mode().Perm()&0o111 != 0
}

func isWorldWritable(info fs.FileInfo) bool {
	return runtime.GOOS != "windows" && info.Mode().Perm()&0o002 != 0
}
