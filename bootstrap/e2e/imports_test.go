package e2e_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"strings"
	"testing"
)

const module = "github.com/understudy-ha/understudy"

// importRule says what the packages that match may import. The first rule that matches a package is its rule.
type importRule struct {
	// packages are patterns for path.Match, relative to the module; "/..." at the end takes what is below, too.
	packages []string
	// ours are patterns for the packages of the module that may be imported, third for those of other modules.
	// Packages of the standard library may be imported unless std names them.
	ours, third []string
	// anyThird lets every other module in.
	anyThird bool
	// std are patterns for packages of the standard library that may not be imported.
	std []string
	why string
}

// noIO keeps a core pure. Only direct imports are looked at: fmt alone brings os in.
var noIO = []string{"net", "net/...", "os", "os/...", "log", "log/...", "syscall", "io/ioutil", "math/rand", "testing/..."}

// importRules is who may import whom. CONTRIBUTING.md shows it as a picture.
var importRules = []importRule{
	{
		packages: []string{"failover/election", "cachesync/ledger"},
		std:      noIO,
		why:      "a core is pure: events in, actions out, no I/O, no clock, no randomness of its own, so that any run can be replayed",
	},
	{
		packages: []string{"failover/wire"},
		ours:     []string{"proto/gen/..."},
		third:    []string{"google.golang.org/protobuf/...", "golang.org/x/crypto/chacha20poly1305"},
		std:      noIO,
		why:      "a core is pure; wire only knows what a datagram looks like",
	},
	{
		packages: []string{"proto/gen/..."},
		ours:     []string{"proto/gen/..."},
		third:    []string{"google.golang.org/...", "github.com/planetscale/vtprotobuf/protohelpers"},
		why:      "generated code imports nothing of ours but generated code",
	},
	{
		packages: []string{"profiler/..."},
		ours:     []string{"profiler/..."},
		why:      "weaving and step events know neither processes nor gRPC",
	},
	{
		packages: []string{"failover"},
		ours:     []string{"failover/election", "failover/wire", "proto/gen/..."},
		third:    []string{"golang.org/x/sys/..."},
		why:      "the node drives its two cores over a Transport, and knows none of the transports, nor cachesync, nor the host",
	},
	{
		packages: []string{"failover/multicast", "failover/tcp", "failover/memnet", "failover/transporttest"},
		ours:     []string{"failover"},
		third:    []string{"golang.org/x/net/...", "golang.org/x/sys/...", "github.com/cenkalti/backoff/v5"},
		why:      "a transport knows failover's Transport and Packet only",
	},
	{
		packages: []string{"failover/interlok", "failover/interlok/..."},
		ours:     []string{"failover", "failover/election", "failover/wire", "failover/multicast", "failover/interlok/..."},
		third:    []string{"golang.org/x/net/...", "golang.org/x/sys/..."},
		why:      "another wire and other rules: a member of an Interlok cluster shares only the node's types with the rest",
	},
	{
		packages: []string{"cachesync"},
		ours:     []string{"cachesync/ledger"},
		why:      "the replicator drives its core over Peers, and knows none of the transports, nor failover, nor the host",
	},
	{
		packages: []string{"cachesync/*"},
		ours:     []string{"cachesync", "cachesync/ledger", "cachesync/translate", "proto/gen/..."},
		third:    []string{"google.golang.org/...", "github.com/cockroachdb/pebble/v2/..."},
		why:      "what connects peers knows cachesync's interfaces only",
	},
	{
		packages: []string{"plugins/contract/..."},
		ours:     []string{"plugins/contract/...", "proto/gen/...", "profiler"},
		third:    []string{"github.com/hashicorp/...", "google.golang.org/...", "golang.org/x/sync/..."},
		why:      "the border knows both sides' types and no side's implementation",
	},
	{
		packages: []string{"plugins/failover/..."},
		ours:     []string{"plugins/contract/...", "profiler", "failover", "failover/..."},
		anyThird: true,
		why:      "a plugin is its domain package, that package's adapters, and the contract",
	},
	{
		packages: []string{"plugins/cachesync/..."},
		// The multicast sockets are the same as the election's; the two domain packages still do not know each other.
		ours:     []string{"plugins/contract", "plugins/contract/keyring", "cachesync", "cachesync/...", "failover", "failover/multicast"},
		anyThird: true,
		why:      "a plugin is its domain package, that package's adapters, and the contract",
	},
	{
		packages: []string{"bootstrap"},
		ours:     []string{"bootstrap/cli"},
		why:      "main has arguments, signals and the exit code; everything else is cli's",
	},
	{
		packages: []string{"bootstrap/cli/..."},
		ours: []string{
			"bootstrap/cli/...", "bootstrap/config", "bootstrap/host", "bootstrap/loader", "bootstrap/management",
			"bootstrap/adapter", "bootstrap/command", "bootstrap/components/...", "failover", "profiler", "plugins/contract/...", "proto/gen/...",
		},
		anyThird: true,
		// Of failover only how failover.interface is read.
		why: "cli puts the parts of the host together",
	},
	{
		packages: []string{"bootstrap/config/..."},
		ours:     []string{"bootstrap/config/...", "profiler"},
		third:    []string{"github.com/magiconair/properties", "github.com/google/uuid", "gopkg.in/yaml.v3"},
		why:      "reading the configuration starts nothing and needs nobody",
	},
	{
		packages: []string{"bootstrap/host"},
		ours:     []string{"bootstrap/adapter", "bootstrap/command", "profiler", "plugins/contract"},
		third:    []string{"golang.org/x/sys/...", "github.com/cenkalti/backoff/v5"},
		why:      "the host's life is told over small interfaces of its own; who fills them is cli's matter",
	},
	{
		packages: []string{"bootstrap/command"},
		third:    []string{"golang.org/x/sys/...", "github.com/cenkalti/backoff/v5"},
		why:      "the shim knows a program and the time; what a mastership is comes in through an interface of command's own",
	},
	{
		packages: []string{"bootstrap/adapter/..."},
		ours:     []string{"bootstrap/adapter/...", "profiler"},
		third:    []string{"gopkg.in/yaml.v3", "github.com/google/uuid", "github.com/cenkalti/backoff/v5", "golang.org/x/time/rate"},
		why:      "the engine does no I/O: components, gate and mirror come in through its ports",
	},
	{
		packages: []string{"bootstrap/components/..."},
		ours:     []string{"bootstrap/components/...", "bootstrap/adapter", "profiler", "proto/gen/..."},
		third: []string{
			"github.com/redpanda-data/benthos/v4/...", "google.golang.org/protobuf/...", "gopkg.in/yaml.v3", "golang.org/x/sys/...",
			"github.com/bmatcuk/doublestar/v4", "github.com/fsnotify/fsnotify", "github.com/magiconair/properties", "github.com/robfig/cron/v3",
		},
		why: "the only package that knows Benthos knows nothing else but the engine's ports",
	},
	{
		packages: []string{"bootstrap/loader/..."},
		ours:     []string{"plugins/contract/...", "profiler"},
		third:    []string{"github.com/hashicorp/...", "google.golang.org/grpc/...", "golang.org/x/sys/...", "github.com/cenkalti/backoff/v5"},
		why:      "the loader launches whatever speaks the contract",
	},
	{
		packages: []string{"bootstrap/management/..."},
		ours:     []string{"bootstrap/management/...", "proto/gen/...", "plugins/contract"},
		third:    []string{"google.golang.org/..."},
		why:      "the control endpoint asks the host over an interface of its own",
	},
	{
		packages: []string{"bootstrap/e2e/..."},
		// interloktest is bytes and timers only, written apart from what it tests.
		ours:  []string{"bootstrap/e2e/...", "proto/gen/...", "failover/interlok/interloktest"},
		third: []string{"google.golang.org/...", "golang.org/x/net/ipv4"},
		why:   "whole-system tests drive the binary that users start, from outside",
	},
}

// testImports are the modules that tests may import whatever the rule of their package says.
var testImports = []string{"go.uber.org/goleak"}

type goPackage struct {
	ImportPath, Dir                    string
	Standard                           bool
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

// TestImports holds every package of the module to its rule.
func TestImports(t *testing.T) {
	packages := listPackages(t, "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"/...")
	if len(packages) < 10 {
		t.Fatalf("go list shows %d packages", len(packages))
	}
	for _, p := range packages {
		name := relative(p.ImportPath)
		rule, found := ruleFor(name)
		if !found {
			t.Errorf("%s: no rule says what it may import; add one to importRules in bootstrap/e2e/imports_test.go", name)
			continue
		}
		for _, imported := range p.Imports {
			if !rule.allows(imported) {
				t.Errorf("%s must not import %s: %s", name, imported, rule.why)
			}
		}
		// Tests may use anything of the standard library and the package's own folder, and otherwise what the package
		// may, or what its neighbours below may.
		for _, imported := range append(p.TestImports, p.XTestImports...) {
			if isStandard(imported) || matches(testImports, imported) || rule.allows(imported) {
				continue
			}
			if top, _, _ := strings.Cut(name, "/"); strings.HasPrefix(relative(imported), top+"/") || relative(imported) == top {
				continue
			}
			t.Errorf("a test of %s must not import %s: %s", name, imported, rule.why)
		}
	}
}

// TestPluginsStayLight: a plugin that links Benthos starts 50 ms later and is three times as large.
func TestPluginsStayLight(t *testing.T) {
	for _, p := range listPackages(t, "list", "-json=ImportPath,Deps", module+"/plugins/...") {
		for _, dep := range p.Deps {
			if strings.HasPrefix(dep, "github.com/redpanda-data/") || strings.HasPrefix(dep, module+"/bootstrap") {
				t.Errorf("%s links %s, directly or not; see go mod why", relative(p.ImportPath), dep)
			}
		}
	}
}

func listPackages(t *testing.T, args ...string) []goPackage {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.Command("go", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}

func ruleFor(name string) (importRule, bool) {
	for _, rule := range importRules {
		if matches(rule.packages, name) {
			return rule, true
		}
	}
	return importRule{}, false
}

func (r importRule) allows(imported string) bool {
	switch {
	case imported == "C":
		return false
	case imported == module || strings.HasPrefix(imported, module+"/"):
		return matches(r.ours, relative(imported))
	case isStandard(imported):
		return !matches(r.std, imported)
	default:
		return r.anyThird || matches(r.third, imported)
	}
}

func matches(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if stem, deep := strings.CutSuffix(pattern, "/..."); deep {
			if name == stem || strings.HasPrefix(name, stem+"/") {
				return true
			}
		} else if ok, err := path.Match(pattern, name); ok && err == nil {
			return true
		}
	}
	return false
}

func relative(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

// isStandard: other modules have a dot in the first element of their path.
func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}
