// Command failover is the plugin that elects the master: it takes part in the election over multicast or TCP, holds
// the adapter's start until this node is promoted, and tells the host whenever the role changes. With
// failover.wire=interlok the election is that of an Interlok cluster.
package main

import (
	"os"

	"github.com/understudy-ha/understudy/plugins/contract"
)

const name = "failover"

// version is set by the build.
var version = "dev"

func main() {
	p := newPlugin(contract.NewLogger(name, nil), openTransport, nil)
	p.die = func() { os.Exit(1) }
	contract.Serve(contract.Plugin{Name: name, Version: version, Agent: p, Failover: p})
}
