// Package loader is the folder of plugins: what is in it, whether it may run, and running it. A plugin is a
// program of its own; the loader starts it, shakes hands, hands out its services, tells when it dies and
// starts it again. It is the only user of go-plugin's client.
package loader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Policy says what is done about checksums.
type Policy string

// The policies. A lib folder without a SHA256SUMS file is a warning under Enforce and Warn alike.
const (
	// Enforce refuses a plugin that SHA256SUMS does not list, or lists with another sum.
	Enforce Policy = "enforce"
	// Warn starts it all the same, and says so.
	Warn Policy = "warn"
	// Off does not look.
	Off Policy = "off"
)

// DefaultStartTimeout is how long a plugin may take from its start to its first answer.
const DefaultStartTimeout = 10 * time.Second

// Options says where plugins are and how they are run.
type Options struct {
	// Dir is the lib folder.
	Dir string
	// Checksums is Enforce if empty.
	Checksums Policy
	// StartTimeout is DefaultStartTimeout if 0.
	StartTimeout time.Duration
	// SocketDir is where the plugins' unix sockets go, below the node's data folder. It is made if it is not
	// there, with mode 0700. If its path is too long for a socket, or it is empty, a temporary folder is used.
	SocketDir string
	// Logger takes what plugins log, with the attribute plugin; slog.Default() if nil.
	Logger *slog.Logger
}

// Library is an open lib folder. Its methods may be called concurrently.
type Library struct {
	options Options
	sockets socketDir

	mu      sync.Mutex // guards plugins and closed
	plugins map[*Plugin]struct{}
	closed  bool
}

// Open checks the folder and makes a place for sockets. Nothing is started.
func Open(options Options) (*Library, error) {
	if options.Checksums == "" {
		options.Checksums = Enforce
	}
	if options.StartTimeout == 0 {
		options.StartTimeout = DefaultStartTimeout
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if !slices.Contains([]Policy{Enforce, Warn, Off}, options.Checksums) {
		return nil, fmt.Errorf("plugin.checksums=%s: want enforce, warn or off", options.Checksums)
	}
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, fmt.Errorf("lib.dir=%s: %w", options.Dir, err)
	}
	options.Dir = dir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("lib.dir=%s: there is no such folder; make it and put the plugins into it", dir)
	case err != nil:
		return nil, fmt.Errorf("lib.dir: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("lib.dir=%s: this is not a folder", dir)
	}
	sockets, err := openSocketDir(options.SocketDir)
	if err != nil {
		return nil, err
	}
	return &Library{options: options, sockets: sockets, plugins: map[*Plugin]struct{}{}}, nil
}

// List names the plugins in the folder, in order. That a name is listed does not say that it may run.
func (l *Library) List() ([]string, error) {
	entries, err := os.ReadDir(l.options.Dir)
	if err != nil {
		return nil, fmt.Errorf("list plugins: %w", err)
	}
	var names []string
	for _, entry := range entries {
		info, err := os.Stat(filepath.Join(l.options.Dir, entry.Name()))
		if err != nil || !info.Mode().IsRegular() || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		name, isExe := strings.CutSuffix(entry.Name(), exeSuffix())
		if isExe && isExecutable(info) {
			names = append(names, name)
		}
	}
	return names, nil
}

// Close ends the plugins that still run, hard, and removes what Open made. Safe twice.
func (l *Library) Close() error {
	l.mu.Lock()
	l.closed = true
	running := make([]*Plugin, 0, len(l.plugins))
	for p := range l.plugins {
		running = append(running, p)
	}
	l.mu.Unlock()
	for _, p := range running {
		p.process.kill()
	}
	for _, p := range running {
		<-p.released
	}
	return l.sockets.remove()
}

// keep registers a plugin until it is released; false if the library is closed.
func (l *Library) keep(p *Plugin) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.plugins[p] = struct{}{}
	return true
}

func (l *Library) forget(p *Plugin) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.plugins, p)
}

// logger is the one for what the plugin name says.
func (l *Library) logger(name string) *slog.Logger {
	return l.options.Logger.With("plugin", name)
}

// level is the lowest level that the host's log takes, for the plugin's own logger.
func (l *Library) level() slog.Level {
	for _, level := range []slog.Level{slog.LevelDebug - 4, slog.LevelDebug, slog.LevelInfo, slog.LevelWarn} {
		if l.options.Logger.Enabled(context.Background(), level) {
			return level
		}
	}
	return slog.LevelError
}
