// Package command is the other workload: one external program that runs while its node is master.
//
// A program cannot ask the gate. So a process of its own, the shim, stands between the host and the program: it
// starts the program, holds the moment until which the mastership is valid, and ends the program and everything
// that the program has started before that moment, whatever becomes of the host. See README.md.
//
// Workload is the host's side, ShimMain the shim's. What the shim does when is decided by guard, which has neither
// clock nor process.
package command

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
	"unicode"
)

// Restart says when a program that has ended by itself is started again.
type Restart string

// The restart policies.
const (
	// RestartAlways starts it again however it ended.
	RestartAlways Restart = "always"
	// RestartOnFailure starts it again unless it ended with exit code 0: then its work is done, and stays done
	// until another mastership begins.
	RestartOnFailure Restart = "on-failure"
	// RestartNever never starts it again. An exit code other than 0 means that this node cannot lead.
	RestartNever Restart = "never"
)

// Config is what to run and how. It is not changed by anything here.
type Config struct {
	// Command is the program and its arguments. A program without a slash is looked for in PATH.
	Command []string
	// Dir is the folder in which it is started; empty for the node's own.
	Dir string
	// Env are NAME=value that are set beside the node's own environment.
	Env []string
	// StopSignal asks the program to end; the name of a signal, say SIGTERM.
	StopSignal string
	// StopTimeout is how long it may take to do so when the mastership is lost. What is left then is killed.
	StopTimeout time.Duration

	// NoCgroup has the program run without a control group of its own. With one, which needs the right to make it,
	// nothing that it starts can get away even if the shim dies.
	NoCgroup bool

	Restart Restart
	// RestartMax is how many times it is started again within RestartWindow. After that this node gives the
	// mastership up.
	RestartMax    int
	RestartWindow time.Duration
	// CoolDown is how long the node then does not stand for election.
	CoolDown time.Duration
}

// DefaultConfig runs nothing yet; all else has its default.
func DefaultConfig() Config {
	return Config{
		StopSignal: "SIGTERM", StopTimeout: 2 * time.Second, Restart: RestartAlways,
		RestartMax: 5, RestartWindow: time.Minute, CoolDown: 30 * time.Second,
	}
}

// Validate reports all faults, each with its property key.
func (c Config) Validate() error {
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, fmt.Errorf(key+": "+format, args...))
	}
	if err := Supported(); err != nil {
		fault("workload.command", "%w", err)
	}
	if len(c.Command) == 0 || c.Command[0] == "" {
		fault("workload.command", "is empty; want a program and its arguments")
	}
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		fault("workload.dir", "%q is not absolute", c.Dir)
	}
	for _, entry := range c.Env {
		name, value, found := strings.Cut(entry, "=")
		switch {
		case !found || name == "" || strings.ContainsFunc(name, unicode.IsSpace):
			fault("workload.env."+name, "is no name of an environment variable")
		case strings.ContainsRune(value, 0):
			fault("workload.env."+name, "the value has a zero byte")
		case strings.HasPrefix(name, "UNDERSTUDY_"):
			fault("workload.env."+name, "names that begin with UNDERSTUDY_ are set by the node; choose another")
		}
	}
	if _, err := stopSignal(c.StopSignal); err != nil {
		fault("workload.stop.signal", "%w", err)
	}
	if c.StopTimeout <= 0 {
		fault("workload.stop.timeout", "%s is too short; want more than 0", c.StopTimeout)
	}
	switch c.Restart {
	case RestartAlways, RestartOnFailure, RestartNever:
	default:
		fault("workload.restart", "%q is not allowed; want always, on-failure or never", string(c.Restart))
	}
	if c.RestartMax < 0 {
		fault("workload.restart.max", "%d is not allowed; want 0 or more", c.RestartMax)
	}
	if c.RestartWindow <= 0 {
		fault("workload.restart.window", "%s is too short; want more than 0", c.RestartWindow)
	}
	if c.CoolDown < 0 {
		fault("workload.cooldown", "%s is not allowed; want 0 or more", c.CoolDown)
	}
	return errors.Join(faults...)
}

// Name is what the program is called where a short name is wanted: the last part of its path.
func (c Config) Name() string {
	if len(c.Command) == 0 {
		return ""
	}
	return filepath.Base(c.Command[0])
}
