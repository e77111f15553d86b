// Command cachesync is the plugin that mirrors the messages in flight to the other nodes. The bootstrap loads
// it from lib/cachesync; everything it does is in package cachesync.
package main

import "github.com/understudy-ha/understudy/plugins/contract"

const name = "cachesync"

// version is set by the build.
var version = "dev"

func main() {
	contract.Serve(contract.Plugin{
		Name:      name,
		Version:   version,
		CacheSync: newMirror(contract.NewLogger(name, nil)),
	})
}
