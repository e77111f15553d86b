// The demo shows the main job on real files: three nodes, one works, two mirror it. While files flow it kills the
// one that works, later stops the next one, and counts at the end what is missing and what came twice. make demo
// runs it. Its last line is made to be read by programs as well:
//
//	demo: messages=2000 lost=0 duplicated=0 takeovers=2 crash_takeover_ms=N handover_ms=N
//
// The exit code is 0 only if nothing was lost, nothing came twice and there were two takeovers; 130 after Ctrl-C.
// It needs neither root nor a network, and leaves nothing behind but, when it failed or was asked to, the folder
// that it names.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

func main() { os.Exit(run()) }

func run() int {
	dist := flag.String("dist", "dist", "the `folder` that make dist has filled")
	work := flag.String("dir", filepath.Join("dist", "demo"), "the `folder` to work in; a run makes one of its own in it")
	messages := flag.Int("messages", 2000, "how many files of the Go source tree to feed")
	keep := flag.Bool("keep", false, "keep the run's folder (it is kept when something is wrong)")
	flag.Parse()
	if flag.NArg() > 0 || *messages < 100 {
		fmt.Fprintln(os.Stderr, "demo: no arguments, and at least 100 messages, please; -help lists the flags")
		return 2
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// A second Ctrl-C ends the demo at once.
	context.AfterFunc(ctx, stop)

	screen := newScreen(os.Stdout)
	dir, outcome, err := perform(ctx, screen, *dist, *work, *messages)
	screen.close()
	interrupted := ctx.Err() != nil
	good := err == nil && outcome.good()

	if dir != "" && (good || interrupted) && !*keep {
		if removeErr := os.RemoveAll(dir); removeErr != nil {
			err = errors.Join(err, removeErr)
		}
		// Another demo may have its folder there.
		_ = os.Remove(*work)
	} else if dir != "" {
		fmt.Printf("Configuration, logs, journals and outputs are in %s\n", dir)
	}
	switch {
	case interrupted:
		fmt.Fprintln(os.Stderr, "demo: interrupted; nothing is left running")
		return 130
	case err != nil:
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
	}
	if outcome.verified {
		fmt.Println(outcome)
	}
	if !good {
		return 1
	}
	return 0
}

// perform prepares the stage, plays the story and clears up. It returns the folder of the run, if there is one.
func perform(ctx context.Context, screen *screen, dist, work string, messages int) (dir string, outcome outcome, err error) {
	binaries, err := cluster.InDist(dist)
	if err != nil {
		return "", outcome, err
	}
	sources, err := cluster.GoSources(ctx, messages)
	if err != nil {
		return "", outcome, err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return "", outcome, err
	}
	dir, err = os.MkdirTemp(work, "run-")
	if err != nil {
		return "", outcome, err
	}
	nodes, err := cluster.New(cluster.Options{Dir: dir, Binaries: binaries, Nodes: 3})
	if err != nil {
		return dir, outcome, err
	}
	defer func() { err = errors.Join(err, nodes.Close()) }()
	outcome, err = newStory(nodes, screen, sources).play(ctx)
	return dir, outcome, err
}
