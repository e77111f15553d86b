package config

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Workload is a program that runs in place of an adapter. It is off without a Command.
type Workload struct {
	// Command is the program and its arguments.
	Command []string
	// Dir is an absolute path; empty for the working directory. Env are NAME=value, sorted.
	Dir string
	Env []string

	StopSignal    string
	StopTimeout   time.Duration
	Restart       string
	RestartMax    int
	RestartWindow time.Duration
	CoolDown      time.Duration
	// Cgroup: auto for a control group if one can be made.
	Cgroup Toggle
}

// Enabled reports whether there is a program.
func (w Workload) Enabled() bool { return len(w.Command) > 0 }

const (
	workloadKey    = "workload.command"
	workloadDirKey = "workload.dir"
	// workloadEnv is followed by the name of an environment variable.
	workloadEnv = "workload.env."
)

// workloadKeys are those of a program as workload.
func workloadKeys() []key {
	const day = 24 * time.Hour
	return []key{
		{workloadKey, "", commandLine(func(c *Config) *[]string { return &c.Workload.Command })},
		{workloadDirKey, "", checked(optionalPath)},
		{"workload.stop.signal", "SIGTERM", text(checkName, func(c *Config) *string { return &c.Workload.StopSignal })},
		{"workload.stop.timeout", "2s", duration(time.Millisecond, day, func(c *Config) *time.Duration { return &c.Workload.StopTimeout })},
		{"workload.restart", "always", choice(func(c *Config) *string { return &c.Workload.Restart }, "always", "on-failure", "never")},
		{"workload.restart.max", "5", number(0, math.MaxInt32, func(c *Config) *int { return &c.Workload.RestartMax })},
		{"workload.restart.window", "1m", duration(time.Second, day, func(c *Config) *time.Duration { return &c.Workload.RestartWindow })},
		{"workload.cooldown", "30s", duration(0, day, func(c *Config) *time.Duration { return &c.Workload.CoolDown })},
		{"workload.cgroup", string(ToggleAuto), choice(func(c *Config) *Toggle { return &c.Workload.Cgroup }, ToggleAuto, ToggleOff)},
	}
}

// resolveWorkload takes the program of the command line, its environment and its folder. Without a program all keys of
// it but that are of no use, which is a warning.
func (l *loader) resolveWorkload(program []string) {
	w := &l.config.Workload
	if len(program) > 0 {
		w.Command = program
		l.config.settings[workloadKey] = setting{value: strings.Join(program, " "), from: define(0)}
	}
	for name, s := range l.config.settings {
		if variable, ok := strings.CutPrefix(name, workloadEnv); ok {
			w.Env = append(w.Env, variable+"="+s.value)
		}
	}
	slices.Sort(w.Env)
	if s := l.config.settings[workloadDirKey]; s.value != "" {
		s.value = l.absolute(s.value)
		w.Dir = s.value
		l.config.settings[workloadDirKey] = s
	}
	if w.Enabled() {
		// There are no messages to mirror.
		if l.config.CacheSyncEnabled == ToggleAuto {
			l.config.CacheSyncEnabled = ToggleOff
		}
		return
	}
	*w = Workload{}
	for name, s := range l.config.settings {
		if !strings.HasPrefix(name, "workload.") {
			continue
		}
		if s.from.isDefault() {
			delete(l.config.settings, name)
		} else if s.value != "" {
			l.warnAt(s.from, name, "means nothing without workload.command")
		}
	}
}

// withoutAdapter is about an adapter file beside a program: there is one workload.
func (l *loader) withoutAdapter() {
	s := l.config.settings[adapterKey]
	if !s.from.isDefault() {
		l.faultIn(s, adapterKey, "a node has one workload, and workload.command is set (%s); remove one of them",
			l.config.settings[workloadKey].from)
	} else if path, _ := find(s.value, l.search); path != "" {
		l.warnAt(l.config.settings[workloadKey].from, workloadKey, "%s is not read: the program is this node's workload", filepath.Base(path))
	}
	delete(l.config.settings, adapterKey)
}
