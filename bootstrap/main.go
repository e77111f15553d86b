// Bootstrap runs one node: it loads the plugins that the properties name, waits at the gate until this node is
// promoted, and then runs the adapter. See README.md in this folder.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/understudy-ha/understudy/bootstrap/cli"
)

// version is set by the linker.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // from here on a second signal ends the process at once
	}()
	os.Exit(cli.Main(ctx, cli.Process{
		Args: os.Args[1:], Env: os.LookupEnv, Stdout: os.Stdout, Stderr: os.Stderr, Version: version,
	}))
}
