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

	"github.com/understudy-ha/understudy/bootstrap/command"
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
	if len(p.Args) > 0 && p.Args[0] == command.ShimArgument {
		return command.ShimMain()
	}
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
  -witness               votes in a cluster with failover.members, never leads; needs no adapter and no mirror
  -configcheck           reads and checks the configuration, starts nothing
  -- PROGRAM ARGS        runs a program while this node is master, in place of an adapter; as workload.command
  -version  -help

Commands for a running node (of the same data.dir; -D and -cp as above):

  status                 who leads, how this node is, and who hears whom
  handover [NODE]        make another node the master: the work is finished first (--timeout 30s)
  pause, resume          let nobody be promoted in the whole cluster, and end that
  members list           who votes; add NODE, remove NODE, replace OLD NEW change it, on the master
  failed list            the messages that wait for an operator; show, retry, drop ID (retry and drop on the master)
  workflow list          the workflows; metrics; start, stop ID of a workflow or a channel, on the master
  reload                 read the adapter file again, and change what differs (--dry-run); as SIGHUP
  takeovers              this node's changes of role, and how each went; the node need not run

Each takes -o json.

  keygen -o FILE         makes a key for failover.key.file; --add, --promote, --drop replace one while the cluster works

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
	root.AddCommand(commands(dataDir)...) //nolint:contextcheck // they get ctx from ExecuteContext
	if cmd, _, err := root.Find([]string{args.Command}); err != nil || cmd == root {
		var names []string
		for _, c := range root.Commands() {
			names = append(names, c.Name())
		}
		return usageError{fmt.Errorf("unknown command %q; there are: %s\n%s", args.Command, strings.Join(names, ", "), Usage)}
	}
	return root.ExecuteContext(ctx)
}

// commands are all subcommands; dataDir is the data folder of the node that is meant.
func commands(dataDir func() (string, error)) []*cobra.Command {
	return []*cobra.Command{
		newStatusCommand(dataDir), newHandoverCommand(dataDir), newPauseCommand(dataDir), newResumeCommand(dataDir),
		newMembersCommand(dataDir), newTakeoversCommand(dataDir), newFailedCommand(dataDir), newWorkflowCommand(dataDir),
		newReloadCommand(dataDir), newKeygenCommand(),
	}
}

func loadOptions(args Args) config.Options {
	return config.Options{File: args.File, Search: args.Search, Defines: args.Defines, Factories: args.Factories, Witness: args.Witness, Program: args.Program}
}
