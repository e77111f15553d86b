package config_test

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/config"
)

// files is a working directory: path and content. A path that ends in a slash is a folder.
type files map[string]string

func (f files) write(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range f {
		path := filepath.Join(dir, filepath.FromSlash(name))
		folder := filepath.Dir(path)
		if strings.HasSuffix(name, "/") {
			folder = path
		}
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// with adds the files that every start needs.
func (f files) with() files {
	all := files{"bootstrap.properties": "", "config/adapter.yaml": ""}
	maps.Copy(all, f)
	return all
}

// props is a working directory with this properties file.
func props(lines ...string) files {
	return files{"bootstrap.properties": strings.Join(lines, "\n")}.with()
}

func define(keysAndValues ...string) (defines []config.Define) {
	for pair := range slices.Chunk(keysAndValues, 2) {
		defines = append(defines, config.Define{Key: pair[0], Value: pair[1]})
	}
	return defines
}

// mustLoad loads what has no fault.
func mustLoad(t *testing.T, dir string, options config.Options) (*config.Config, []string) {
	t.Helper()
	options.Dir = dir
	c, warnings, err := config.Load(options)
	if err != nil {
		t.Fatal(err)
	}
	return c, warnings
}

// lines gives the faults or warnings with the working directory as DIR.
func lines(dir, text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.ReplaceAll(text, dir, "DIR"), "\n")
}

func checkLines(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n  %s\nwant:\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestDefaults(t *testing.T) {
	dir := props().write(t)
	c, warnings := mustLoad(t, dir, config.Options{})
	checkLines(t, "warnings", warnings, nil)
	in := func(path string) string { return filepath.Join(dir, path) }

	properties, want := c.Properties(), map[string]string{
		"adapter.config": in("config/adapter.yaml"), "data.dir": in("data"), "lib.dir": in("lib"),
		"log.format": "text", "log.level": "info", "stop.timeout": "30s", "plugin.start.timeout": "10s",
		"plugin.checksums": "enforce",
		"failover.group":   "230.0.0.1", "failover.port": "2710", "failover.delay": "1000", "failover.retries": "5",
		"failover.ttl": "1", "failover.priority": "0", "failover.evidence": "true",
		"cachesync.enabled": "auto", "cachesync.group": "230.0.0.1", "cachesync.port": "4446", "cachesync.ttl": "1",
		"cachesync.mode": "sync", "cachesync.lag.timeout": "2s", "cachesync.dedupe.count": "100000",
		"cachesync.dedupe.time": "24h", "cachesync.store": "memory", "cachesync.min.insync": "1", "cachesync.alone": "go-on",
		"failover.observe": "false", "failover.preempt": "false", "failover.socket.mode": "multicast", "failover.tcp.port": "2710",
		"failover.wire": "understudy", "failover.check.on": "always", "failover.check.interval": "5s",
		"failover.check.timeout": "3s", "failover.check.rise": "2", "failover.check.fall": "3",
		"failover.check.cooldown": "1m", "hooks.timeout": "30s",
	}
	if !maps.Equal(properties, want) {
		t.Errorf("properties:\n%v\nwant:\n%v", properties, want)
	}
	for key := range properties {
		if origin := c.Origin(key); origin != "default" {
			t.Errorf("origin of %s: %q", key, origin)
		}
	}
	checkConfig(t, c, &config.Config{
		File:        in("bootstrap.properties"),
		AdapterFile: in("config/adapter.yaml"), DataDir: in("data"), LibDir: in("lib"),
		LogFormat: config.LogText, LogLevel: slog.LevelInfo,
		StopTimeout: 30 * time.Second, PluginStartTimeout: 10 * time.Second, PluginChecksums: config.ChecksumsEnforce,
		FailoverDelay: time.Second, FailoverRetries: 5, FailoverEvidence: config.ToggleOn, CacheSyncEnabled: config.ToggleAuto,
		Check: defaultCheck(), HookTimeout: 30 * time.Second,
	})
}

func defaultCheck() config.Check {
	return config.Check{
		Interval: 5 * time.Second, Timeout: 3 * time.Second, Rise: 2, Fall: 3, Cooldown: time.Minute, On: config.CheckAlways,
	}
}

// checkConfig compares the exported fields.
func checkConfig(t *testing.T, got, want *config.Config) {
	t.Helper()
	g, w := reflect.ValueOf(got).Elem(), reflect.ValueOf(want).Elem()
	for i := range g.NumField() {
		field := g.Type().Field(i)
		if field.IsExported() && !reflect.DeepEqual(g.Field(i).Interface(), w.Field(i).Interface()) {
			t.Errorf("%s: %v, want %v", field.Name, g.Field(i), w.Field(i))
		}
	}
}

func TestEveryField(t *testing.T) {
	dir := files{
		"bootstrap.properties": strings.Join([]string{
			"node.id = orders-1", "cluster.name=Orders (test)", "adapter.config=orders.yaml",
			"data.dir=/var/lib/orders", "lib.dir=plugins", "log.format=json", "log.level=WARN", "stop.timeout=1500",
			"plugin.start.timeout=2s", "plugin.checksums=off", "profiler.plugin.factory = failover, metrics ,failover,",
			"org.aspectj.weaver.loadtime.configuration=weave.xml",
			"failover.delay=200ms", "failover.retries=3", "failover.interface=lo", "cachesync.enabled=false",
			"failover.evidence=false", "failover.liveness.listen=10.0.0.7:4711",
			"failover.members=3", "failover.key.file=cluster.keys", "failover.check=curl -f 'http://localhost/a b'",
			"failover.check.on=master", "failover.check.interval=1s", "failover.check.timeout=500", "failover.check.rise=4",
			"failover.check.fall=5", "failover.check.cooldown=0", "hooks.on.role=/opt/move address", "hooks.timeout=1m",
			"their.own=x",
		}, "\n"),
		"orders.yaml":         "",
		"config/cluster.keys": "",
		"config/weave.xml":    "",
	}.write(t)
	c, warnings := mustLoad(t, dir, config.Options{Factories: []string{"metrics", "audit"}})
	checkLines(t, "warnings", warnings, nil)
	checkConfig(t, c, &config.Config{
		File: filepath.Join(dir, "bootstrap.properties"), NodeID: "orders-1", ClusterName: "Orders (test)",
		AdapterFile: filepath.Join(dir, "orders.yaml"), DataDir: "/var/lib/orders", LibDir: filepath.Join(dir, "plugins"),
		WeaveFile: filepath.Join(dir, "config/weave.xml"), LogFormat: config.LogJSON, LogLevel: slog.LevelWarn,
		StopTimeout: 1500 * time.Millisecond, PluginStartTimeout: 2 * time.Second, PluginChecksums: config.ChecksumsOff,
		Factories:     []string{"failover", "metrics", "audit"},
		FailoverDelay: 200 * time.Millisecond, FailoverRetries: 3, FailoverInterface: "lo",
		FailoverEvidence: config.ToggleOff, FailoverLiveness: "10.0.0.7:4711",
		CacheSyncEnabled: config.ToggleOff,
		FailoverMembers:  3, FailoverKeyFile: filepath.Join(dir, "config/cluster.keys"),
		Check: config.Check{
			Command: []string{"curl", "-f", "http://localhost/a b"}, Interval: time.Second, Timeout: 500 * time.Millisecond,
			Rise: 4, Fall: 5, On: config.CheckMaster,
		},
		RoleHook: []string{"/opt/move", "address"}, HookTimeout: time.Minute,
	})
	properties := c.Properties()
	for key, want := range map[string]string{
		"their.own": "x", "cachesync.interface": "lo", "profiler.plugin.factory": "failover,metrics,audit",
		"failover.key.file": filepath.Join(dir, "config/cluster.keys"),
	} {
		if properties[key] != want {
			t.Errorf("%s: %q, want %q", key, properties[key], want)
		}
	}
	properties["node.id"] = "changed"
	if c.Properties()["node.id"] != "orders-1" {
		t.Error("a caller can change the properties of others")
	}
}

func TestPrecedence(t *testing.T) {
	dir := files{
		"bootstrap.properties":       "\n\nfailover.delay=1\nfailover.delay=2000\nfailover.retries=7\nfailover.ttl=2",
		"config/profiler.properties": "failover.retries=8\nprofiler.plugin.factory=metrics\n",
	}.with().write(t)
	c, warnings := mustLoad(t, dir, config.Options{Defines: define("failover.ttl", "3", "failover.ttl", "4", "other", "")})
	checkLines(t, "warnings", warnings, []string{
		"bootstrap.properties:4: failover.delay: given twice; this line counts, not bootstrap.properties:3",
	})
	tests := []struct{ key, value, origin string }{
		{"failover.port", "2710", "default"},
		{"failover.delay", "2000", "bootstrap.properties:4"},
		{"failover.retries", "8", "config/profiler.properties:1"},
		{"profiler.plugin.factory", "metrics", "config/profiler.properties:2"},
		{"failover.ttl", "4", "-D"},
		{"other", "", "-D"},
		{"nowhere", "", ""},
	}
	properties := c.Properties()
	for _, test := range tests {
		if properties[test.key] != test.value || c.Origin(test.key) != test.origin {
			t.Errorf("%s: %q from %q, want %q from %q", test.key, properties[test.key], c.Origin(test.key), test.value, test.origin)
		}
	}
}

func TestSearchPath(t *testing.T) {
	all := files{
		"a/adapter.yaml": "", "a/META-INF/profiler-aop.xml": "", "b/adapter.yaml": "", "b/other.properties": "log.level=debug",
		"b/profiler.properties": "", "adapter.yaml": "", "bootstrap.properties": "", "config/bootstrap.properties": "",
	}
	tests := []struct {
		name                 string
		options              config.Options
		file, adapter, weave string
	}{
		{"by default config, then the working directory", config.Options{}, "bootstrap.properties", "adapter.yaml", ""},
		{"the first folder wins", config.Options{Search: []string{"a", "b"}}, "bootstrap.properties", "a/adapter.yaml", "a/META-INF/profiler-aop.xml"},
		{"a file that is in the second folder", config.Options{Search: []string{"nowhere", "b"}, File: "other.properties"}, "b/other.properties", "b/adapter.yaml", ""},
		{"a file with its path", config.Options{File: "config/bootstrap.properties"}, "config/bootstrap.properties", "adapter.yaml", ""},
		{"a file is no folder", config.Options{Search: []string{"adapter.yaml", "a"}}, "bootstrap.properties", "a/adapter.yaml", "a/META-INF/profiler-aop.xml"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := all.write(t)
			c, warnings := mustLoad(t, dir, test.options)
			checkLines(t, "warnings", warnings, nil)
			for what, pair := range map[string][2]string{
				"file": {c.File, test.file}, "adapter": {c.AdapterFile, test.adapter}, "weave": {c.WeaveFile, test.weave},
			} {
				want := pair[1]
				if want != "" {
					want = filepath.Join(dir, want)
				}
				if pair[0] != want {
					t.Errorf("%s: %q, want %q", what, pair[0], want)
				}
			}
		})
	}
}

func TestAdapterURLs(t *testing.T) {
	for _, url := range []string{
		"adapter.yaml", "config/adapter.yaml", "./config/adapter.yaml", "file:config/adapter.yaml",
		"file://localhost/./config/adapter.yaml", "file:///./config/adapter.yaml", "file:./config/%61dapter.yaml",
		"FILE://DIR/config/adapter.yaml", "file://localhostDIR/config/adapter.yaml", "file:DIR/config/adapter.yaml",
	} {
		dir := props().write(t)
		url = strings.ReplaceAll(url, "DIR", dir)
		c, _, err := config.Load(config.Options{Dir: dir, Defines: define("adapterConfigUrl", url)})
		if want := filepath.Join(dir, "config/adapter.yaml"); err != nil || c.AdapterFile != want {
			t.Errorf("%s: %q, %v", url, c.AdapterFile, err)
		}
	}
}

// TestPropertiesFormat: the file is read as java.util.Properties reads it.
func TestPropertiesFormat(t *testing.T) {
	tests := []struct{ name, file, key, value, origin string }{
		{"equals", "k=v", "k", "v", "1"},
		{"colon", "k: v", "k", "v", "1"},
		{"blank", "k v", "k", "v", "1"},
		{"no value", "k", "k", "", "1"},
		{"equals in the value", "k=a=b", "k", "a=b", "1"},
		{"blanks around", "  \t k  =  v w ", "k", "v w ", "1"},
		{"comments", "# one\n! two\n\nk=v", "k", "v", "4"},
		{"no comment behind a value", "k=v # w", "k", "v # w", "1"},
		{"continued", "a=1\nk=v\\\n   w\\\n\tx\nb=2", "k", "vwx", "2"},
		{"continued with a blank line", "k=v\\\n\nb=2", "k", "v", "1"},
		{"a comment is not continued", "#c\\\nk=v", "k", "v", "2"},
		{"an even number of backslashes", "k=v\\\\\nb=2", "k", `v\`, "1"},
		{"a backslash at the end", "k=v\\", "k", "v", "1"},
		{"windows", "a=1\r\nk=v\\\r\n  w\r\nb=2\r\n", "k", "vw", "2"},
		{"old macintosh", "a=1\rk=v\rb=2", "k", "v", "2"},
		{"a byte order mark", "\uFEFFk=v", "k", "v", "1"},
		{"unicode", "k=\\u00fcber ü", "k", "über ü", "1"},
		{"an escaped key", `a\=b\ c=v`, "a=b c", "v", "1"},
		{"a reference in somebody else's key", "k=${k}", "k", "${k}", "1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := props(test.file).write(t)
			c, _ := mustLoad(t, dir, config.Options{})
			if got := c.Properties()[test.key]; got != test.value {
				t.Errorf("%q, want %q", got, test.value)
			}
			if got, want := c.Origin(test.key), "bootstrap.properties:"+test.origin; got != want {
				t.Errorf("from %s, want %s", got, want)
			}
		})
	}
}
