package contract

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
)

// Serve is the body of a plugin's main. It does not return until the host has ended the plugin; when the
// host dies it ends the process. Nothing may be printed to standard output before the call: the first line
// there is the handshake. After it, os.Stdout and os.Stderr reach the host's log.
func Serve(p Plugin) {
	handshake := Handshake()
	if os.Getenv(handshake.MagicCookieKey) != handshake.MagicCookieValue {
		fmt.Fprint(stderr, byHand(p))
		os.Exit(1)
	}
	set, err := p.Set()
	if err != nil {
		fmt.Fprintln(stderr, err)
		os.Exit(1)
	}

	// A service manager signals every process of the group, and a terminal does too. The host then stops its
	// work in order and needs its plugins for that, so only the host ends them.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	go exitWithParent(NewLogger(p.Name, nil))

	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: set,
		GRPCServer:       NewGRPCServer,
		Logger: hclog.New(&hclog.LoggerOptions{
			Name: p.Name, Level: hclog.Warn, Output: stderr, JSONFormat: true,
		}),
	})
}

// byHand is what somebody reads who starts a plugin from a shell.
func byHand(p Plugin) string {
	return fmt.Sprintf(`%[1]s %[2]s is a plugin of Understudy (protocol version %[3]d). It cannot be started by hand.

Put it into the lib folder of a node and name it:

    profiler.plugin.factory=%[1]s      in profiler.properties, or
    bootstrap -agent:%[1]s             on the command line

The bootstrap starts it, talks to it over gRPC and ends it.
`, p.Name, p.Version, ProtocolVersion)
}

// parentPoll is how often the parent's process id is looked at when there is no pipe to wait on.
const parentPoll = time.Second

// exitWithParent ends this process when the host is gone, however it went. A host of ours holds the other
// end of standard input open, which the kernel closes with it, on every system. Under any other host (a test,
// a debugger) the parent's process id changes when it dies, except on Windows.
func exitWithParent(logger *slog.Logger) {
	if os.Getenv(EnvParentWatch) == "stdin" {
		_, _ = io.Copy(io.Discard, os.Stdin)
	} else {
		for parent := os.Getppid(); os.Getppid() == parent; {
			time.Sleep(parentPoll)
		}
	}
	logger.Error("the host is gone, ending")
	os.Exit(1)
}
