package loader

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/go-plugin"
)

// sumsFile is the name of the list of checksums in the lib folder.
const sumsFile = "SHA256SUMS"

// sums are the checksums that a SHA256SUMS file lists, by file name.
type sums map[string][]byte

// readSums reads a file as sha256sum writes it: 64 hex digits, a space, a space or an asterisk, the name.
func readSums(path string) (sums, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return parseSums(file, path)
}

func parseSums(r io.Reader, path string) (sums, error) {
	out := sums{}
	scanner := bufio.NewScanner(r)
	for line := 1; scanner.Scan(); line++ {
		text := strings.TrimRight(scanner.Text(), "\r")
		if strings.TrimSpace(text) == "" || strings.HasPrefix(text, "#") {
			continue
		}
		digits, name, found := strings.Cut(text, " ")
		sum, err := hex.DecodeString(digits)
		if !found || err != nil || len(sum) != sha256.Size || len(name) < 2 || (name[0] != ' ' && name[0] != '*') {
			return nil, fmt.Errorf("%s:%d: %q is not a line of sha256sum", path, line, text)
		}
		name = strings.TrimPrefix(name[1:], "./")
		if previous, ok := out[name]; ok && !slices.Equal(previous, sum) {
			return nil, fmt.Errorf("%s:%d: a second sum for %s", path, line, name)
		}
		out[name] = sum
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}

// check compares a plugin with the list and returns its checksum in hex, empty if nobody looked. The list is
// read anew each time, so that an upgrade needs no restart of the host.
func (l *Library) check(name, path string, logger *slog.Logger) (string, error) {
	if l.options.Checksums == Off {
		return "", nil
	}
	want, fault := l.listed(path)
	if fault == nil && want == nil {
		logger.Warn("checksum not verified: there is no list; make it in the lib folder with: sha256sum * > "+sumsFile,
			"path", filepath.Join(l.options.Dir, sumsFile))
	}
	if fault == nil && want != nil {
		fault = compare(path, want)
	}
	if fault != nil {
		if l.options.Checksums == Enforce {
			return "", fmt.Errorf("plugin %s: %w", name, fault)
		}
		logger.Warn("checksum not verified, starting all the same (plugin.checksums=warn)", "reason", fault)
		return "", nil
	}
	return hex.EncodeToString(want), nil
}

// listed gives the sum that the list has for a file; nil if there is no list.
func (l *Library) listed(path string) ([]byte, error) {
	list := filepath.Join(l.options.Dir, sumsFile)
	known, err := readSums(list)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	want, ok := known[filepath.Base(path)]
	if !ok {
		return nil, fmt.Errorf("%s has no line for %s (it has: %s); add it in that folder with: sha256sum %s >> %s",
			list, filepath.Base(path), strings.Join(slices.Sorted(maps.Keys(known)), ", "), filepath.Base(path), sumsFile)
	}
	return want, nil
}

func compare(path string, want []byte) error {
	// The hash is not shared: SecureConfig keeps its state.
	hash := sha256.New()
	secure := plugin.SecureConfig{Checksum: want, Hash: hash}
	same, err := secure.Check(path)
	if err != nil {
		return fmt.Errorf("checksum of %s: %w", path, err)
	}
	if !same {
		return fmt.Errorf("%s has the SHA-256 %x but %s says %x; if you have replaced the plugin on purpose, replace its line too",
			path, hash.Sum(nil), sumsFile, want)
	}
	return nil
}
