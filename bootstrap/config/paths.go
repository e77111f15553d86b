package config

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// resolvePaths makes the paths absolute and finds the files that must be there.
func (l *loader) resolvePaths(witness bool) {
	l.config.DataDir = l.folder(dataKey)
	l.config.LibDir = l.folder(libKey)
	l.keyFile()
	l.resolveWitness(witness)
	if l.config.Witness {
		delete(l.config.settings, adapterKey)
		delete(l.config.settings, weaveKey)
		return
	}
	if l.config.Workload.Enabled() {
		l.withoutAdapter()
	} else {
		l.config.AdapterFile = l.searched(adapterKey)
	}
	l.config.WeaveFile = l.searched(weaveKey)
	l.ehcache()
}

// ehcacheFile is the file of Ehcache's own configuration, which lies on the class path of an Interlok node.
const ehcacheFile = "ehcache.xml"

// ehcache finds the file that the mirror takes its defaults from. It need not be there unless it is named.
func (l *loader) ehcache() {
	if l.config.CacheSyncEnabled == ToggleOff {
		return
	}
	if l.value(ehcacheKey) == "" {
		path, _ := find(ehcacheFile, l.search)
		if path == "" {
			return
		}
		l.config.settings[ehcacheKey] = setting{value: path}
	}
	l.config.EhcacheFile = l.searched(ehcacheKey)
}

// folder resolves a folder of the node's own, which starts at the working directory, not at the search path.
func (l *loader) folder(key string) string {
	s := l.config.settings[key]
	folder := l.absolute(s.value)
	if info, err := os.Stat(folder); err == nil && !info.IsDir() {
		l.faultIn(s, key, "%s is a file; want a folder", folder)
	}
	s.value = folder
	l.config.settings[key] = s
	return folder
}

// searched finds a configuration file on the search path. The default weave file need not be there.
func (l *loader) searched(key string) string {
	s := l.config.settings[key]
	file, err := fileName(s.value)
	if err != nil {
		l.faultIn(s, key, "%v", err)
		return ""
	}
	path, looked := find(file, l.search)
	switch {
	case path != "":
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			l.faultIn(s, key, "%s is a folder; want a file", l.show(path))
			return ""
		}
		s.value = path
		l.config.settings[key] = s
		return path
	case key == weaveKey && s.from.isDefault():
		delete(l.config.settings, key)
		return ""
	}
	l.faultIn(s, key, "%s was not found; looked for %s", quoted(file), strings.Join(looked, ", "))
	return ""
}

// fileName takes the path out of a file: URL. Interlok's own files have file://localhost/./config/adapter.xml,
// where /./ stands for the working directory.
func fileName(value string) (string, error) {
	scheme, rest, found := strings.Cut(value, ":")
	// One letter is a drive, not a scheme.
	if !found || len(scheme) < 2 || strings.ContainsAny(scheme, `/\`) {
		return value, nil
	}
	if !strings.EqualFold(scheme, "file") {
		return "", fmt.Errorf("%s: only files can be read, not %s URLs", quoted(value), scheme)
	}
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		host, path, _ := strings.Cut(after, "/")
		if host != "" && host != "localhost" {
			return "", fmt.Errorf("%s: the file is on another host; want file:///path or a path", quoted(value))
		}
		rest = "/" + path
	}
	path, err := url.PathUnescape(rest)
	if err != nil || strings.Trim(path, "/") == "" {
		return "", fmt.Errorf("%s is not a file URL; want file:///path or a path", quoted(value))
	}
	if relative, ok := strings.CutPrefix(path, "/./"); ok {
		return filepath.FromSlash(relative), nil
	}
	return filepath.FromSlash(path), nil
}

func (l *loader) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(l.dir, path)
}

// show gives a path as short as it can be said: from the working directory, if it is below it.
func (l *loader) show(path string) string {
	if relative, err := filepath.Rel(l.dir, path); err == nil && filepath.IsLocal(relative) {
		return relative
	}
	return path
}
