package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/magiconair/properties"
)

// maxFileSize is far above any real properties file; it keeps a mistaken name from filling the memory.
const maxFileSize = 1 << 20

// entry is one key=value as it was written.
type entry struct {
	key, value string
	from       place
}

// profilerFiles are the names of the profiler's properties file: ours, and those of Interlok 3.8 and before.
func profilerFiles() []string {
	return []string{"profiler.properties", "interlok-profiler.properties", "adp-profiler.properties"}
}

// readFiles reads the properties file and the first profiler file that is there.
func (l *loader) readFiles() {
	where := append([]string{l.dir}, l.search...)
	path, looked := find(l.file, where)
	if path == "" {
		l.faultAt(place{source: fromFile, file: l.file}, "", "not found; looked for %s; "+
			"create it, it may be empty, or name another file as the last argument", strings.Join(looked, ", "))
	} else {
		l.config.File = path
		l.readFile(path, 0)
	}

	first := ""
	for _, name := range profilerFiles() {
		path, _ := find(name, l.search)
		switch {
		case path == "":
		case first == "":
			first = path
			l.readFile(path, 1)
		default:
			l.warnAt(place{source: fromFile, file: l.show(path), rank: 1}, "",
				"not read, because there is %s", l.show(first))
		}
	}
}

// readFile appends a file's entries. What is wrong with one line does not hide the others.
func (l *loader) readFile(path string, rank int) {
	whole := place{source: fromFile, file: l.show(path), rank: rank}
	text, err := readText(path)
	if err != nil {
		l.faultAt(whole, "", "%v", err)
		return
	}
	seen := map[string]place{}
	for number, line := range logicalLines(text) {
		at := whole
		at.line = number
		key, value, err := parseLine(line)
		if err != nil {
			l.faultAt(at, "", "%v", err)
			continue
		}
		if key == "" {
			continue
		}
		if before, ok := seen[key]; ok {
			l.warnAt(at, key, "given twice; this line counts, not %s", before)
		}
		seen[key] = at
		l.entries = append(l.entries, entry{key: key, value: value, from: at})
	}
}

// readText returns the text of a file, or the one thing that keeps it from being read.
func readText(path string) (string, error) {
	// Asked before the file is opened: opening a named pipe would wait for its other end.
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", withoutPath(err))
	}
	if info.IsDir() {
		return "", errors.New("is a directory; want a properties file")
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("is not a regular file; want a properties file")
	}
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", withoutPath(err))
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", withoutPath(err))
	}
	if len(data) > maxFileSize {
		return "", errors.New("is larger than 1 MiB; is this a properties file?")
	}
	for number, line := range numbered(data) {
		if !utf8.Valid(line) {
			return "", fmt.Errorf("line %d is not UTF-8; save the file as UTF-8, or write the character as \\uXXXX", number)
		}
	}
	return string(data), nil
}

func numbered(data []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		number := 0
		for line := range bytes.Lines(data) {
			number++
			if !yield(number, line) {
				return
			}
		}
	}
}

// withoutPath takes the path out of an error of package os, for messages that begin with it.
func withoutPath(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	return err
}

// logicalLines yields the lines of a properties file, continued ones joined, with the number of their first
// line; blank lines and comments are left out. It is here because the properties library parses whole files
// and keeps no line numbers: given line by line, each fault and each key has its own.
func logicalLines(text string) iter.Seq2[int, string] {
	text = strings.TrimPrefix(text, "\uFEFF")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.ReplaceAll(text, "\r", "\n")
	return func(yield func(int, string) bool) {
		number, first := 0, 0
		var joined strings.Builder
		for line := range strings.SplitSeq(text, "\n") {
			number++
			line = strings.TrimLeft(line, " \t\f")
			if joined.Len() == 0 {
				first = number
				if line == "" || line[0] == '#' || line[0] == '!' {
					continue
				}
			}
			rest, continued := cutContinuation(line)
			joined.WriteString(rest)
			if continued {
				continue
			}
			if joined.Len() > 0 && !yield(first, joined.String()) {
				return
			}
			joined.Reset()
		}
		if joined.Len() > 0 {
			yield(first, joined.String())
		}
	}
}

// cutContinuation cuts the backslash that continues a line: the last of an odd number of them.
func cutContinuation(line string) (string, bool) {
	backslashes := len(line) - len(strings.TrimRight(line, `\`))
	if backslashes%2 == 0 {
		return line, false
	}
	return line[:len(line)-1], true
}

// parseLine gives the key and the value of one logical line; no key for a line that is blank.
func parseLine(line string) (key, value string, err error) {
	if line[0] == '=' || line[0] == ':' {
		return "", "", errors.New("a value without a key; want key=value")
	}
	// No expansion: ${...} in the keys that we know is a fault (see reference), and in those that we do not
	// know it is somebody else's business.
	loader := properties.Loader{Encoding: properties.UTF8, DisableExpansion: true}
	parsed, err := loader.LoadBytes([]byte(line))
	if err != nil {
		reason := strings.TrimPrefix(err.Error(), "properties: Line 1: ")
		return "", "", fmt.Errorf("%s; want key=value, and \\uXXXX with four hexadecimal digits", reason)
	}
	keys := parsed.Keys()
	if len(keys) == 0 {
		return "", "", nil
	}
	value, _ = parsed.Get(keys[0])
	return keys[0], value, nil
}

// takeDefines appends the -D options. As on a JVM the last of one spelling counts, and says so to nobody.
func (l *loader) takeDefines(defines []Define) {
	for i, d := range defines {
		l.entries = append(l.entries, entry{key: d.Key, value: d.Value, from: define(i + 1)})
	}
}

// find looks for a file in folders. It returns its path and, in any case, where it has looked.
func find(name string, folders []string) (path string, looked []string) {
	if filepath.IsAbs(name) {
		folders = []string{""}
	}
	for _, folder := range folders {
		candidate := filepath.Join(folder, name)
		if _, err := os.Stat(candidate); err == nil || errors.Is(err, fs.ErrPermission) {
			// What must not be read is there all the same, and its owner wants to hear of it.
			return candidate, looked
		}
		looked = appendNew(looked, candidate)
	}
	return "", looked
}
