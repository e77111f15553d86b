package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components"
	"github.com/understudy-ha/understudy/bootstrap/config"
	"github.com/understudy-ha/understudy/profiler"
)

// setup is everything that files and the command line say. Making it starts nothing.
type setup struct {
	args     Args
	cfg      *config.Config
	adapter  *adapter.Config
	weave    profiler.Weave
	warnings []string
}

// configure reads and checks it all. The error has every fault that was found.
func (p Process) configure(ctx context.Context, args Args) (*setup, error) {
	s := &setup{args: args, warnings: args.Warnings}
	cfg, warnings, err := config.Load(loadOptions(args))
	s.cfg = cfg
	s.warnings = append(s.warnings, warnings...)
	faults := []error{err}

	s.weave = profiler.DefaultWeave()
	faults = append(faults, s.checkPrograms(), s.checkWitness(), s.checkProgram())
	if cfg.WeaveFile != "" {
		weave, warnings, err := readWeave(cfg.WeaveFile)
		s.weave = weave
		s.warnings = append(s.warnings, warnings...)
		faults = append(faults, err)
	}
	if cfg.AdapterFile != "" {
		s.adapter, err = adapter.Load(cfg.AdapterFile)
		faults = append(faults, err)
		if s.adapter != nil {
			faults = append(faults, s.checkComponents(ctx))
		}
	}
	if cfg.CacheSyncEnabled == config.ToggleOn && len(cfg.Factories) == 0 {
		faults = append(faults, fmt.Errorf("%s: cachesync.enabled: a mirror needs an election that says who writes it; "+
			"set profiler.plugin.factory=failover too", cfg.Origin("cachesync.enabled")))
	}
	if err := errors.Join(faults...); err != nil {
		// A warning may be the reason of a fault: a key that was misspelt.
		for _, warning := range s.warnings {
			fmt.Fprintln(p.Stderr, "warning:", warning)
		}
		return nil, usageError{err}
	}
	return s, nil
}

// checkPrograms sees that the programs of hooks and checks are there, while nothing has been started.
func (s *setup) checkPrograms() error {
	var faults []error
	for key, words := range map[string][]string{"hooks.on.role": s.cfg.RoleHook, "failover.check": s.cfg.Check.Command} {
		if len(words) == 0 {
			continue
		}
		if _, err := exec.LookPath(words[0]); err != nil && !errors.Is(err, exec.ErrDot) {
			faults = append(faults, fmt.Errorf("%s: %s: %w", s.cfg.Origin(key), key, err))
		}
	}
	return errors.Join(faults...)
}

// checkWitness is about a node that only votes.
func (s *setup) checkWitness() error {
	if !s.cfg.Witness {
		return nil
	}
	var faults []error
	if s.cfg.ClusterName == "" {
		faults = append(faults, errors.New("cluster.name: a witness has no adapter to take the cluster's name from; set what the other "+
			"nodes have, by default the id of their adapter"))
	}
	if s.cfg.FailoverMembers == 0 {
		faults = append(faults, errors.New("failover.members: without it nobody votes, so a witness is of no use; set what the other nodes have"))
	}
	if len(s.cfg.Factories) == 0 {
		faults = append(faults, errors.New("profiler.plugin.factory: a witness takes part in an election; set it to failover, or start with -witness"))
	}
	return errors.Join(faults...)
}

func readWeave(file string) (profiler.Weave, []string, error) {
	f, err := os.Open(file)
	if err != nil {
		return profiler.Weave{}, nil, fmt.Errorf("weave file: %w", err)
	}
	defer f.Close()
	return profiler.ParseWeave(file, f)
}

// factory makes the components of an adapter file.
func (s *setup) factory(cfg *adapter.Config, log *slog.Logger) (*components.Factory, error) {
	return components.New(components.Options{
		File: cfg.File, Resources: cfg.Resources, HTTP: cfg.HTTP, Logger: log, LookupEnv: os.LookupEnv,
		StateDir: filepath.Join(s.cfg.DataDir, "schedules"),
	})
}

func (s *setup) checkComponents(ctx context.Context) error {
	// A factory with broken resources can check the rest all the same.
	factory, err := s.factory(s.adapter, slog.New(slog.DiscardHandler))
	return errors.Join(err, adapter.Check(s.adapter, factory), factory.Close(ctx))
}

// cluster is the name under which this node's datagrams go out: by default the adapter's id, so that two
// installations on one network stay strangers.
func (s *setup) cluster() string {
	if s.cfg.ClusterName != "" || s.adapter == nil {
		return s.cfg.ClusterName
	}
	return s.adapter.ID
}
