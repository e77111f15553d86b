// Package cli is the command line of bootstrap: it puts a node together from its configuration and runs it, and
// it holds the subcommands that ask a running one.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/bootstrap/config"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	// exitUsage: the command line or the configuration is wrong; nothing has been started.
	exitUsage = 2
)

// usageError is a fault of the command line or the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Process is what the operating system gives.
type Process struct {
	Args           []string
	Env            func(key string) (string, bool)
	Stdout, Stderr io.Writer
	Version        string
}

// Main runs the command line until it is done or ctx ends, which is a clean stop, and returns the exit code.
func Main(ctx context.Context, p Process) int {
	err := p.dispatch(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(p.Stderr, "bootstrap: %s\n", indent(err))
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitError
}

// indent sets the lines of a joined error below each other.
func indent(err error) string {
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "\n  ")
}

func (p Process) dispatch(ctx context.Context) error {
	options, _ := p.Env(ToolOptions)
	args, err := Parse(p.Args, options)
	switch {
	case err != nil:
		return usageError{err}
	case args.Version:
		_, err := fmt.Fprintf(p.Stdout, "bootstrap %s (%s %s/%s)\n", p.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	case args.Help:
		_, err := fmt.Fprint(p.Stdout, help)
		return err
	case args.Command != "":
		return p.subcommand(ctx, args)
	}
	return p.run(ctx, args)
}

const help = Usage + `

Runs one node of a cluster. One node, the master, works; the others stand by with a mirror of every message in
flight, and one of them goes on when the master is gone.

  -Dkey=value            overrides a property; any key
  -agent:NAME[=OPTIONS]  loads lib/NAME and hangs its hooks onto the adapter; may be repeated
  -javaagent:PATH        the same for a path to a jar; aspectjweaver is built in
  -cp FOLDER[:FOLDER]    where configuration files are looked for; default config, then the working folder
  -Xmx512m               soft limit of the memory
  --failover             as profiler.plugin.factory=failover
  -configcheck           reads and checks the configuration, starts nothing
  -version  -help

Commands for a running node (of the same data.dir; -D and -cp as above):

  status [-o json]       who leads, and how this node is

Options can also stand in the environment variable ` + ToolOptions + `.
Exit codes: 0 clean stop, 2 wrong command line or configuration, 1 everything else.
`

// subcommand asks a running node.
func (p Process) subcommand(ctx context.Context, args Args) error {
	root := &cobra.Command{Use: "bootstrap", SilenceUsage: true, SilenceErrors: true}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetArgs(append([]string{args.Command}, args.Rest...))
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	dataDir := func() (string, error) {
		// Faults elsewhere in the configuration do not keep anybody from asking a node that runs.
		cfg, _, err := config.Load(loadOptions(args))
		if cfg.DataDir == "" {
			return "", err
		}
		return cfg.DataDir, nil
	}
	root.AddCommand(newStatusCommand(dataDir)) //nolint:contextcheck // it gets ctx from ExecuteContext
	if cmd, _, err := root.Find([]string{args.Command}); err != nil || cmd == root {
		return usageError{fmt.Errorf("unknown command %q; there is: status\n%s", args.Command, Usage)}
	}
	return root.ExecuteContext(ctx)
}

func loadOptions(args Args) config.Options {
	return config.Options{File: args.File, Search: args.Search, Defines: args.Defines, Factories: args.Factories}
}
