package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

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

func readWeave(file string) (profiler.Weave, []string, error) {
	f, err := os.Open(file)
	if err != nil {
		return profiler.Weave{}, nil, fmt.Errorf("weave file: %w", err)
	}
	defer f.Close()
	return profiler.ParseWeave(file, f)
}

// factory makes the components of one adapter.
func (s *setup) factory(log *slog.Logger) (*components.Factory, error) {
	return components.New(components.Options{
		File: s.adapter.File, Resources: s.adapter.Resources, Logger: log, LookupEnv: os.LookupEnv,
	})
}

func (s *setup) checkComponents(ctx context.Context) error {
	// A factory with broken resources can check the rest all the same.
	factory, err := s.factory(slog.New(slog.DiscardHandler))
	return errors.Join(err, adapter.Check(s.adapter, factory), factory.Close(ctx))
}

// cluster is the name under which this node's datagrams go out: by default the adapter's id, so that two
// installations on one network stay strangers.
func (s *setup) cluster() string {
	if s.cfg.ClusterName != "" {
		return s.cfg.ClusterName
	}
	return s.adapter.ID
}
