package contract

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

const (
	// ProtocolVersion is the newest set of methods that this build speaks. A new field in a message keeps it;
	// a method whose meaning changes needs the next number, and both are served for a while.
	ProtocolVersion = 1

	// MaxPayload is the largest payload of a message that the mirror carries, in bytes.
	MaxPayload = 64 << 20

	// maxMessage is the largest gRPC message: a payload and what stands around it.
	maxMessage = 80 << 20
)

// What the host tells a plugin's process through its environment, beside what go-plugin says there.
const (
	// EnvParentWatch set to "stdin" says that standard input is a pipe that the host holds open as long as
	// it lives.
	EnvParentWatch = "UNDERSTUDY_PARENT_WATCH"
	// EnvLogLevel is the level of the host's log: debug, info, warn or error.
	EnvLogLevel = "UNDERSTUDY_LOG_LEVEL"
)

// The names under which the services are dispensed.
const (
	ServiceAgent     = "agent"
	ServiceFailover  = "failover"
	ServiceCacheSync = "cachesync"
)

// Handshake tells a plugin of ours from any other program. The cookie is not a secret.
func Handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		MagicCookieKey:   "UNDERSTUDY_PLUGIN",
		MagicCookieValue: "3a2f4a2b-an-understudy-waits-in-the-wings",
	}
}

// VersionedPlugins is what a host asks go-plugin for: every protocol version that this build speaks. The
// name is the plugin's and stands in every error.
func VersionedPlugins(name string) map[int]plugin.PluginSet {
	return map[int]plugin.PluginSet{
		ProtocolVersion: {
			ServiceAgent:     &agentPlugin{name: name},
			ServiceFailover:  &failoverPlugin{name: name},
			ServiceCacheSync: &cacheSyncPlugin{name: name},
		},
	}
}

// Versions lists the protocol versions that this build speaks, lowest first.
func Versions() []int {
	return slices.Sorted(maps.Keys(VersionedPlugins("")))
}

// NewGRPCServer makes the server of a plugin, with room for the largest payload (go-plugin's own stops at
// 4 MiB).
func NewGRPCServer(options []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(options, grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage))...)
}

// Plugin is what a plugin's main hands to Serve. A service that is nil is not served; at least one is needed.
type Plugin struct {
	// Name is the one that people know it by, usually the file's; Version is the build's.
	Name, Version string
	Agent         Agent
	Failover      Failover
	CacheSync     CacheSync
}

// Set is what p serves, by protocol version; for tests that serve p in their own process.
func (p Plugin) Set() (map[int]plugin.PluginSet, error) {
	set := plugin.PluginSet{}
	if p.Agent != nil {
		set[ServiceAgent] = &agentPlugin{name: p.Name, impl: p.Agent}
	}
	if p.Failover != nil {
		set[ServiceFailover] = &failoverPlugin{name: p.Name, impl: p.Failover}
	}
	if p.CacheSync != nil {
		set[ServiceCacheSync] = &cacheSyncPlugin{name: p.Name, impl: p.CacheSync}
	}
	if len(set) == 0 {
		return nil, fmt.Errorf("plugin %q serves nothing: set Agent, Failover or CacheSync", p.Name)
	}
	return map[int]plugin.PluginSet{ProtocolVersion: set}, nil
}
