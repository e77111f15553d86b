// Package config turns bootstrap.properties, the profiler's properties file and -D options into one typed
// Config. It reads, checks and explains; it starts and writes nothing. Every fault is reported at once, each
// with file, line and key, because a start that fails five times for five typing errors is four too many.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"
)

// DefaultFile is the properties file that is read when the command line names none.
const DefaultFile = "bootstrap.properties"

// Define is one -Dkey=value of the command line.
type Define struct{ Key, Value string }

// Options say where to look. The zero value is a start in the working directory without arguments.
type Options struct {
	// Dir is the working directory; relative paths start there. Empty: the process's own.
	Dir string
	// Search are the folders in which configuration files are looked for, in this order, as on a JVM's class
	// path. Empty: Dir/config. Dir itself is always the last.
	Search []string
	// File is the properties file, looked for in Dir, then in Search. Empty: DefaultFile.
	File string
	// Defines override the files. Of two for one key the last counts.
	Defines []Define
	// Factories are added to those of profiler.plugin.factory, if they are not among them already.
	Factories []string
	// Witness: this node only votes, and needs no adapter.
	Witness bool
	// Program is a program and its arguments that are the workload, in place of workload.command.
	Program []string
}

// LogFormat is how log lines are written.
type LogFormat string

// The log formats.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// LevelTrace is below debug: the lifecycle lines of single components, as Interlok has them.
const LevelTrace = slog.LevelDebug - 4

// Checksums is what happens to a plugin that lib/SHA256SUMS does not vouch for.
type Checksums string

// The ways to treat checksums.
const (
	ChecksumsEnforce Checksums = "enforce"
	ChecksumsWarn    Checksums = "warn"
	ChecksumsOff     Checksums = "off"
)

// Toggle is a switch that can be left to the host.
type Toggle string

// The positions of a Toggle.
const (
	ToggleAuto Toggle = "auto"
	ToggleOn   Toggle = "true"
	ToggleOff  Toggle = "false"
)

// Config is what a node runs with. It does not change after Load and may be read from any goroutine.
type Config struct {
	// File is the properties file that was read, an absolute path.
	File string

	// NodeID is empty if node.id is not set: the host then takes the one that it keeps in DataDir.
	NodeID string
	// ClusterName is empty if cluster.name is not set: the adapter's id is the name then.
	ClusterName string

	// AdapterFile, DataDir and LibDir are absolute paths. Only the first is known to exist.
	AdapterFile, DataDir, LibDir string
	// WeaveFile is an absolute path; empty if no file is set and the default one is not there.
	WeaveFile string

	LogFormat LogFormat
	LogLevel  slog.Level

	// StopTimeout is how long a clean stop may take.
	StopTimeout time.Duration
	// PluginStartTimeout is how long a plugin may take from its launch to its first answer.
	PluginStartTimeout time.Duration
	PluginChecksums    Checksums

	// Factories are the plugins that profiler.plugin.factory names, in order, each once.
	Factories []string

	// FailoverDelay is the time between two heartbeats, FailoverRetries how many may be missed.
	FailoverDelay   time.Duration
	FailoverRetries int
	// Interlok is nil unless this node is a member of an Interlok cluster.
	Interlok *Interlok
	// FailoverInterface is the network interface of the heartbeats; empty is the system's choice.
	FailoverInterface string
	// FailoverEvidence: the processes of the nodes can be watched. FailoverLiveness is host:port of the socket for
	// that; empty is a free port on the interface.
	FailoverEvidence Toggle
	FailoverLiveness string
	// FailoverMembers is how many voters are enrolled when the cluster is born; 0 for no quorum.
	FailoverMembers int
	// FailoverKeyFile is an absolute path; empty if nothing is authenticated.
	FailoverKeyFile string
	// Witness: this node votes and never leads. AdapterFile may be empty then.
	Witness bool

	Check Check
	// RoleHook is a program and its arguments, run at each change of role; nil for none. HookTimeout is how long it
	// may run.
	RoleHook    []string
	HookTimeout time.Duration

	CacheSyncEnabled Toggle
	// EhcacheFile is the absolute path of the ehcache.xml that the mirror reads: the one that cachesync.ehcache names, or
	// one on the search path. Empty if there is none.
	EhcacheFile string

	// Workload is a program that runs in place of an adapter. With one AdapterFile is empty.
	Workload Workload

	settings map[string]setting
}

// Properties returns every property of the node after defaults, files and -D were merged, unknown ones
// included; paths are absolute. The map belongs to the caller.
func (c *Config) Properties() map[string]string {
	values := make(map[string]string, len(c.settings))
	for key, s := range c.settings {
		values[key] = s.value
	}
	return values
}

// Defaults returns the keys of Properties whose values nobody has set, in alphabetical order.
func (c *Config) Defaults() []string {
	var keys []string
	for key, s := range c.settings {
		if s.from.isDefault() {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Origin says where a property got its value: "default", "-D", or file:line. It is empty for a key that has
// none.
func (c *Config) Origin(key string) string {
	s, ok := c.settings[key]
	if !ok {
		return ""
	}
	return s.from.String()
}

// Load reads and checks everything, in the order defaults, properties file, profiler's properties file, -D;
// the later wins. The warnings and the error name their places; the error joins all faults.
//
// The Config is never nil. Beside an error it holds what could be read, with defaults for the rest, for
// commands that need no more than, say, the data folder of a running node.
func Load(options Options) (*Config, []string, error) {
	l, err := newLoader(options)
	if err != nil {
		return &Config{}, nil, err
	}
	l.readFiles()
	l.takeDefines(options.Defines)
	l.merge()
	l.check()
	l.interlokDefaults()
	l.addFactories(options.Factories)
	l.resolveWorkload(options.Program)
	l.resolvePaths(options.Witness)
	l.crossCheck()
	l.crossCheckElection()
	return l.config, l.warningTexts(), l.fault()
}

// setting is the value that counts for a key, and where it stands.
type setting struct {
	value string
	from  place
	// spelled is the key as it was written there, which may be an alias; empty for a default.
	spelled string
}

// loader carries what the steps of Load hand on to each other.
type loader struct {
	config *Config
	dir    string
	search []string
	file   string

	// entries are all that was read, in the order of precedence, lowest first.
	entries  []entry
	faults   []remark
	warnings []remark
	// reported are the aliases that have been reported.
	reported []string
}

func newLoader(options Options) (*loader, error) {
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, fmt.Errorf("find the working directory: %w", err)
	}
	l := &loader{
		config: &Config{settings: map[string]setting{}},
		dir:    dir,
		file:   options.File,
	}
	if l.file == "" {
		l.file = DefaultFile
	}
	search := options.Search
	if len(search) == 0 {
		search = []string{"config"}
	}
	for _, folder := range append(search[:len(search):len(search)], dir) {
		l.search = appendNew(l.search, l.absolute(folder))
	}
	return l, nil
}

// fault joins all faults, in the order of their places.
func (l *loader) fault() error {
	var errs []error
	for _, text := range inOrder(l.faults) {
		errs = append(errs, errors.New(text))
	}
	return errors.Join(errs...)
}

func (l *loader) warningTexts() []string { return inOrder(l.warnings) }

// check gives every known key its value, and the typed fields theirs. A wrong value is a fault, and the
// default stands in for it.
func (l *loader) check() {
	for _, k := range knownKeys() {
		s, given := l.config.settings[k.name]
		if !given {
			s = setting{value: k.value}
		}
		if err := k.set(l.config, s.value); err != nil {
			l.faultIn(s, k.name, "%v", err)
			s = setting{value: k.value}
			// The default of a table that is tested: it cannot fail.
			_ = k.set(l.config, s.value)
		}
		if given || s.value != "" {
			l.config.settings[k.name] = s
		}
	}
	if l.value("cachesync.interface") == "" && l.value("failover.interface") != "" {
		l.config.settings["cachesync.interface"] = setting{value: l.value("failover.interface")}
	}
}

// addFactories appends what the command line asks for.
func (l *loader) addFactories(names []string) {
	before := len(l.config.Factories)
	for _, name := range names {
		l.config.Factories = appendNew(l.config.Factories, name)
	}
	if len(l.config.Factories) != before {
		l.config.settings[factoryKey] = setting{value: joinNames(l.config.Factories), from: define(0)}
	}
}

// crossCheck is for rules between keys.
func (l *loader) crossCheck() {
	group, port := l.value("failover.group"), l.value("failover.port")
	if l.config.CacheSyncEnabled == ToggleOff || group != l.value("cachesync.group") || port != l.value("cachesync.port") {
		return
	}
	// The defaults differ, so that one of these has been set.
	keys := []string{"cachesync.port", "failover.port", "cachesync.group", "failover.group"}
	if l.config.EhcacheFile != "" {
		for _, key := range []string{"cachesync.port", "cachesync.group"} {
			if l.config.settings[key].from.isDefault() {
				return // the file may say otherwise; the plugin reads it, and looks then
			}
		}
	}
	for _, key := range keys {
		if s := l.config.settings[key]; !s.from.isDefault() {
			l.faultIn(s, key, "failover and cachesync would both use %s:%s; give one of them another group or port",
				group, port)
			return
		}
	}
}

func (l *loader) value(key string) string { return l.config.settings[key].value }
