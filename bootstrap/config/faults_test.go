package config_test

import (
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/config"
)

func TestFaults(t *testing.T) {
	const at = "bootstrap.properties:1: "
	tests := []struct {
		name    string
		files   files
		options config.Options
		want    []string
	}{
		{"no file", files{"adapter.yaml": ""}, config.Options{}, []string{
			"bootstrap.properties: not found; looked for DIR/bootstrap.properties, DIR/config/bootstrap.properties; create it, it may be empty, or name another file as the last argument",
		}},
		{"a file that is named and not there", props(), config.Options{File: "/none/x.properties"}, []string{
			"/none/x.properties: not found; looked for /none/x.properties; create it, it may be empty, or name another file as the last argument",
		}},
		{"a folder", files{"bootstrap.properties/": "", "adapter.yaml": ""}, config.Options{}, []string{
			"bootstrap.properties: is a directory; want a properties file",
		}},
		{"a device", props(), config.Options{File: "/dev/null"}, []string{
			"/dev/null: is not a regular file; want a properties file",
		}},
		{"too large", props(strings.Repeat("#", 1<<20+1)), config.Options{}, []string{
			"bootstrap.properties: is larger than 1 MiB; is this a properties file?",
		}},
		{"latin-1", props("a=1", "name=M\xfcller"), config.Options{}, []string{
			`bootstrap.properties: line 2 is not UTF-8; save the file as UTF-8, or write the character as \uXXXX`,
		}},
		{"no key", props("=v"), config.Options{}, []string{at + "a value without a key; want key=value"}},
		{"a broken escape", props(`k=\u12x4`, `node.id=%s\u`), config.Options{}, []string{
			at + `invalid unicode literal; want key=value, and \uXXXX with four hexadecimal digits`,
			`bootstrap.properties:2: invalid unicode literal; want key=value, and \uXXXX with four hexadecimal digits`,
		}},
		{"a circular reference", props("data.dir=${lib.dir}", "lib.dir=${data.dir}"), config.Options{}, []string{
			at + `data.dir: "${lib.dir}": ${...} is not replaced here; write the value, or give it with -D`,
			`bootstrap.properties:2: lib.dir: "${data.dir}": ${...} is not replaced here; write the value, or give it with -D`,
		}},

		{"two spellings", props("failover.group=230.0.0.1", "", "failover.multicast.group=230.0.0.2"), config.Options{}, []string{
			`bootstrap.properties:3: failover.multicast.group: "230.0.0.2" here, but failover.group, which means the same, is "230.0.0.1" (bootstrap.properties:1); keep one of them`,
		}},
		{"two spellings in two files", files{
			"bootstrap.properties": "profiler.plugin.factory=metrics", "adp-profiler.properties": "PLUGIN_FACTORY_CLASS=failover",
		}.with(), config.Options{}, []string{
			`adp-profiler.properties:1: PLUGIN_FACTORY_CLASS: "failover" here, but profiler.plugin.factory, which means the same, is "metrics" (bootstrap.properties:1); keep one of them`,
		}},
		{"two spellings with -D", props(), config.Options{Defines: define("failover.port", "1", "failover.multicast.port", "2")}, []string{
			`-D: failover.multicast.port: "2" here, but failover.port, which means the same, is "1" (-D); keep one of them`,
		}},
		{"one group for both", props("failover.port=4446"), config.Options{}, []string{
			at + "failover.port: failover and cachesync would both use 230.0.0.1:4446; give one of them another group or port",
		}},

		{"an ehcache.xml that is not there", props("cachesync.ehcache=cache.xml"), config.Options{}, []string{
			at + `cachesync.ehcache: "cache.xml" was not found; looked for DIR/config/cache.xml, DIR/cache.xml`,
		}},
		{"an ehcache.xml that is a folder", files{"config/ehcache.xml/": "", "bootstrap.properties": ""}.with(), config.Options{}, []string{
			`cachesync.ehcache: config/ehcache.xml is a folder; want a file`,
		}},
		{"one group for both, both said", files{
			"bootstrap.properties": "failover.port=4446\ncachesync.port=4446\ncachesync.group=230.0.0.1", "ehcache.xml": "",
		}.with(), config.Options{}, []string{
			"bootstrap.properties:2: cachesync.port: failover and cachesync would both use 230.0.0.1:4446; give one of them another group or port",
		}},

		{"no adapter", files{"bootstrap.properties": ""}, config.Options{}, []string{
			`adapter.config: "adapter.yaml" was not found; looked for DIR/config/adapter.yaml, DIR/adapter.yaml`,
		}},
		{"another adapter that is not there", props("adapterConfigUrl=file:///none/adapter.xml"), config.Options{}, []string{
			at + `adapterConfigUrl: "/none/adapter.xml" was not found; looked for /none/adapter.xml`,
		}},
		{"an adapter from the web", props("adapter.config=https://example.org/adapter.yaml"), config.Options{}, []string{
			at + `adapter.config: "https://example.org/adapter.yaml": only files can be read, not https URLs`,
		}},
		{"an adapter on another host", props("adapter.config=file://fileserver/adapter.yaml"), config.Options{}, []string{
			at + `adapter.config: "file://fileserver/adapter.yaml": the file is on another host; want file:///path or a path`,
		}},
		{"a URL without a path", props("adapter.config=file:"), config.Options{}, []string{
			at + `adapter.config: "file:" is not a file URL; want file:///path or a path`,
		}},
		{"an adapter that is a folder", props("adapter.config=config"), config.Options{}, []string{
			at + `adapter.config: config is a folder; want a file`,
		}},
		{"an adapter of no name", props("adapter.config="), config.Options{}, []string{at + "adapter.config: is empty; want a path"}},
		{"a weave file that is not there", props("org.aspectj.weaver.loadtime.configuration=aop.xml"), config.Options{}, []string{
			at + `org.aspectj.weaver.loadtime.configuration: "aop.xml" was not found; looked for DIR/config/aop.xml, DIR/aop.xml`,
		}},
		{"a path with a line break", props(`lib.dir=li\nb`), config.Options{}, []string{
			at + `lib.dir: "li\nb" is not a path: it has control characters`,
		}},
		{"a data folder that is a file", props("data.dir=bootstrap.properties"), config.Options{}, []string{
			at + "data.dir: DIR/bootstrap.properties is a file; want a folder",
		}},

		{"a key file that is not there", props("failover.key.file=cluster.keys"), config.Options{}, []string{
			at + `failover.key.file: "cluster.keys" was not found; looked for DIR/config/cluster.keys, DIR/cluster.keys; bootstrap keygen makes one`,
		}},
		{"a key file that is a folder", props("failover.key.file=config"), config.Options{}, []string{
			at + `failover.key.file: config: is not a regular file; want a key file`,
		}},
		{"tcp without peers", props("failover.socket.mode=tcp"), config.Options{}, []string{
			at + `failover.socket.mode: tcp needs failover.tcp.peers: at least one other node; the others learn of this one`,
		}},
		{"votes in an Interlok cluster", props("failover.wire=interlok", "failover.members=3"), config.Options{}, []string{
			at + `failover.wire: an Interlok cluster knows no votes; leave failover.members out`,
		}},
		{"two positions", props("failover.slave.position=1", "failover.secondary.position=2"), config.Options{}, []string{
			`bootstrap.properties:2: failover.secondary.position: "2" here, but failover.slave.position, which means the same, is "1" (bootstrap.properties:1); keep one of them`,
		}},
		{"a witness of another name", props("failover.witness=w", "node.id=a"), config.Options{Witness: true}, []string{
			at + `failover.witness: w is the witness, but this node, which was started with -witness, is a`,
		}},

		{"-D", props("failover.retries=7"), config.Options{Defines: define("failover.retries", "many")}, []string{
			`-D: failover.retries: "many" is not allowed; want a whole number from 3 to 1000`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := test.files.write(t)
			test.options.Dir = dir
			c, _, err := config.Load(test.options)
			if err == nil {
				t.Fatal("no fault")
			}
			checkLines(t, "faults", lines(dir, err.Error()), test.want)
			if c == nil || c.DataDir == "" || c.FailoverDelay == 0 {
				t.Errorf("not even the defaults: %+v", c)
			}
		})
	}
}

// TestValues has one bad value per kind of value, and the borders of what is good.
func TestValues(t *testing.T) {
	const (
		noDuration = ` is not a duration; want milliseconds (1500), or a number with a unit (1.5s, 200ms, 2m)`
		noID       = ` is not allowed; want at most 64 letters, digits, dots, dashes and underscores`
		noPlugin   = ` is not the name of a plugin; want the name of a file in lib.dir, say failover`
		noAddress  = ` is not an address; want host:port, say 10.0.0.7:0 or [fd00::7]:4447`
		noPeer     = ` is not a peer; want host:port;host:port, and an IPv6 address in brackets, [fd00::7]:2710`
		noGroup    = ` is not a multicast group; want an IPv4 address from 224.0.0.0 to 239.255.255.255`
	)
	long := strings.Repeat("x", 65)
	tests := []struct{ key, value, fault string }{
		{"node.id", "orders-1.example_b", ""},
		{"node.id", "a/b", `"a/b"` + noID},
		{"node.id", "7:orders", `"7:orders"` + noID},
		{"node.id", long, `"` + long + `"` + noID},
		{"cluster.name", "FS-FS Adapter, Köln", ""},
		{"cluster.name", "a\tb", `"a\tb" is not allowed; want at most 128 bytes of printable text`},
		{"cluster.name", strings.Repeat("x", 129), `"` + strings.Repeat("x", 80) + `"... is not allowed; want at most 128 bytes of printable text`},
		{"log.format", "xml", `"xml" is not allowed; want text or json`},
		{"log.level", "Error", ""},
		{"log.level", "loud", `"loud" is not allowed; want trace, debug, info, warn or error`},
		{"plugin.checksums", "true", `"true" is not allowed; want enforce, warn or off`},
		{"stop.timeout", "1", ""},
		{"stop.timeout", "0", `"0" is too short; the least is 1ms`},
		{"stop.timeout", "25h", `"25h" is too long; the most is 24h0m0s`},
		{"stop.timeout", "30 s", `"30 s"` + noDuration},
		{"stop.timeout", "", `""` + noDuration},
		{"stop.timeout", "9223372036854775807", "9223372036854775807 milliseconds are out of range"},
		{"plugin.start.timeout", "99ms", `"99ms" is too short; the least is 100ms`},
		{"profiler.plugin.factory", " , ", ""},
		{"profiler.plugin.factory", "failover,../evil", `"../evil"` + noPlugin},
		{"profiler.plugin.factory", "..", `".."` + noPlugin},
		{"profiler.plugin.factory", "/bin/sh", `"/bin/sh"` + noPlugin},
		{"profiler.plugin.factory", "-x", `"-x"` + noPlugin},
		{"failover.group", "239.255.255.255", ""},
		{"failover.group", "10.0.0.1", `"10.0.0.1"` + noGroup},
		{"failover.group", "ff02::1", `"ff02::1"` + noGroup},
		{"failover.port", "65535", ""},
		{"failover.port", "0", `"0" is not allowed; want a whole number from 1 to 65535`},
		{"failover.port", "27.1", `"27.1" is not allowed; want a whole number from 1 to 65535`},
		{"failover.delay", "10", ""},
		{"failover.delay", "9ms", `"9ms" is too short; the least is 10ms`},
		{"failover.delay", "-1000", `"-1000" is too short; the least is 10ms`},
		{"failover.delay", "soon", `"soon"` + noDuration},
		{"failover.retries", "3", ""},
		{"failover.retries", "1", `"1" is not allowed; want a whole number from 3 to 1000`},
		{"failover.interface", "Ethernet 2", ""},
		{"failover.ttl", "256", `"256" is not allowed; want a whole number from 0 to 255`},
		{"failover.priority", "-5", ""},
		{"failover.priority", "high", `"high" is not allowed; want a whole number from -2147483648 to 2147483647`},
		{"failover.members", "", ""},
		{"failover.members", "3", ""},
		{"failover.members", "1", `1 is no quorum: two nodes alone could each be a cluster of one; want 3 or 5, or leave it out`},
		{"failover.members", "10", `"10" is not allowed; want a whole number from 0 to 9`},
		{"failover.unclean", "", ""},
		{"failover.unclean", "no", `"no" is not allowed; want true or false`},
		{"failover.preempt", "yes", `"yes" is not allowed; want true or false`},
		{"failover.drift", "0.01", ""},
		{"failover.drift", "NaN", `"NaN" is not allowed; want a number from 0 to 0.2, 0.05 for 5 %`},
		{"failover.drift", "5", `"5" is not allowed; want a number from 0 to 0.2, 0.05 for 5 %`},
		{"failover.drift", "5%", `"5%" is not allowed; want a number from 0 to 0.2, 0.05 for 5 %`},
		{"failover.socket.mode", "jgroups", `"jgroups" is not spoken here; set tcp or multicast on all members first, Java's too`},
		{"failover.socket.mode", "udp", `"udp" is not allowed; want multicast or tcp`},
		{"failover.tcp.peers", "a:1; [fd00::7]:2 ;", ""},
		{"failover.tcp.peers", "fd00::7:2710", `"fd00::7:2710"` + noPeer},
		{"failover.tcp.peers", "a:0", `"a:0"` + noPeer},
		{"failover.tcp.peers", ":1", `":1"` + noPeer},
		{"failover.wire", "jgroups", `"jgroups" is not allowed; want understudy or interlok`},
		{"failover.check", "HTTP://localhost:8080/healthy", ""},
		{"failover.check", "http:///healthy", `"http:///healthy" is not a URL; want http://host:port/path, or a command`},
		{"failover.check", "'' -x", `"'' -x" is not a command; want a program and its arguments`},
		{"failover.check", "a 'b", `"a 'b": a quote ' is not closed`},
		{"failover.check", "${a}", `"${a}": ${...} is not replaced here; write the value, or give it with -D`},
		{"failover.check.on", "standby", `"standby" is not allowed; want always or master`},
		{"failover.check.fall", "0", `"0" is not allowed; want a whole number from 1 to 1000`},
		{"hooks.on.role", "a\x01", `"a\x01" is not a command: it has control characters`},
		{"cachesync.enabled", "yes", `"yes" is not allowed; want auto, true or false`},
		{"cachesync.mode", "async", ""},
		{"cachesync.mode", "both", `"both" is not allowed; want sync or async`},
		{"cachesync.listen", "", ""},
		{"cachesync.listen", "[fd00::7]:0", ""},
		{"cachesync.listen", "10.0.0.7", `"10.0.0.7"` + noAddress},
		{"cachesync.listen", "10.0.0.7:65536", `"10.0.0.7:65536"` + noAddress},
		{"cachesync.listen", "a b:1", `"a b:1"` + noAddress},
		{"cachesync.lag.timeout", "0", `"0" is too short; the least is 10ms`},
		{"cachesync.store", "disk", ""},
		{"cachesync.store", "tape", `"tape" is not allowed; want memory or disk`},
		{"cachesync.min.insync", "63", ""},
		{"cachesync.min.insync", "0", `"0" is not allowed; want a whole number from 1 to 63`},
		{"cachesync.min.insync", "64", `"64" is not allowed; want a whole number from 1 to 63`},
		{"cachesync.alone", "wait", ""},
		{"cachesync.alone", "stop", `"stop" is not allowed; want go-on or wait`},
		{"cachesync.alone.after", "", ""},
		{"cachesync.alone.after", "0", ""},
		{"cachesync.alone.after", "25h", `"25h" is too long; the most is 24h0m0s`},
		{"cachesync.alone.after", "later", `"later"` + noDuration},
		{"cachesync.dedupe.count", "0", ""},
		{"cachesync.dedupe.count", "-1", `"-1" is not allowed; want a whole number from 0 to 100000000`},
		{"cachesync.dedupe.time", "0", ""},
		{"cachesync.dedupe.time", "a day", `"a day"` + noDuration},
	}
	dir := props().write(t)
	for _, test := range tests {
		t.Run(test.key+"="+test.value, func(t *testing.T) {
			_, _, err := config.Load(config.Options{Dir: dir, Defines: define(test.key, test.value)})
			got, want := "", ""
			if err != nil {
				got = err.Error()
			}
			if test.fault != "" {
				want = "-D: " + test.key + ": " + test.fault
			}
			if got != want {
				t.Errorf("fault:\n  %s\nwant:\n  %s", got, want)
			}
		})
	}
}

// TestAllFaultsAtOnce: in the order of the files, and of the lines in them.
func TestAllFaultsAtOnce(t *testing.T) {
	dir := files{
		"bootstrap.properties":       "failover.retries=1\n=x\nlog.level=loud\n",
		"config/profiler.properties": "\nprofiler.plugin.factory=a/b",
	}.write(t)
	_, _, err := config.Load(config.Options{Dir: dir, Defines: define("failover.port", "x", "failover.delay", "y")})
	if err == nil {
		t.Fatal("no fault")
	}
	checkLines(t, "faults", lines(dir, err.Error()), []string{
		`adapter.config: "adapter.yaml" was not found; looked for DIR/config/adapter.yaml, DIR/adapter.yaml`,
		`bootstrap.properties:1: failover.retries: "1" is not allowed; want a whole number from 3 to 1000`,
		`bootstrap.properties:2: a value without a key; want key=value`,
		`bootstrap.properties:3: log.level: "loud" is not allowed; want trace, debug, info, warn or error`,
		`config/profiler.properties:2: profiler.plugin.factory: "a/b" is not the name of a plugin; want the name of a file in lib.dir, say failover`,
		`-D: failover.port: "x" is not allowed; want a whole number from 1 to 65535`,
		`-D: failover.delay: "y" is not a duration; want milliseconds (1500), or a number with a unit (1.5s, 200ms, 2m)`,
	})
}

func TestWarnings(t *testing.T) {
	const onlyInterlok = "counts with failover.wire=interlok only; failover.delay and failover.retries are the times of this cluster"
	tests := []struct {
		name    string
		files   files
		defines []config.Define
		want    []string
	}{
		{"an Interlok installation", files{
			"config/adp-profiler.properties": "com.adaptris.profiler.plugin.factory=com.adaptris.failover.plugin.FailoverInterlokPluginFactory",
			"bootstrap.properties":           "adapterConfigUrl=file://localhost/./config/adapter.yaml\nfailover.multicast.group=230.0.0.1\nfailover.multicast.port=2710\nmanagementComponents=jmx:jetty",
		}.with(), nil, []string{
			"bootstrap.properties:1: adapterConfigUrl: read as adapter.config",
			"bootstrap.properties:2: failover.multicast.group: read as failover.group",
			"bootstrap.properties:3: failover.multicast.port: read as failover.port",
			"config/adp-profiler.properties:1: com.adaptris.profiler.plugin.factory: read as profiler.plugin.factory",
			"config/adp-profiler.properties:1: com.adaptris.profiler.plugin.factory: com.adaptris.failover.plugin.FailoverInterlokPluginFactory is read as failover",
		}},
		{"two spellings that agree", props("failover.group=230.0.0.7", "failover.multicast.group=230.0.0.7"), nil, []string{
			"bootstrap.properties:2: failover.multicast.group: read as failover.group",
		}},
		{"-D overrides a file, by any spelling", props("failover.group=230.0.0.7"), define("failover.multicast.group", "230.0.0.8"), []string{
			"-D: failover.multicast.group: read as failover.group",
		}},
		{"typing errors", props("failover.gruop=230.0.0.7", "cachesync.dedupe.cuont=1", "failover.something.else=1", "node.name=x"), nil, []string{
			"bootstrap.properties:1: failover.gruop: not a key of this version; did you mean failover.group?",
			"bootstrap.properties:2: cachesync.dedupe.cuont: not a key of this version; did you mean cachesync.dedupe.count?",
			"bootstrap.properties:3: failover.something.else: not a key of this version",
			"bootstrap.properties:4: node.name: not a key of this version",
		}},
		{"a key that would spoil the terminal", props(`failover.\u001b[2J=1`), nil, []string{
			`bootstrap.properties:1: "failover.\x1b[2J": not a key of this version`,
		}},
		{"keys of others", props("java.io.tmpdir=/tmp", "failovr.group=x", "variable-substitution.properties.url.1=x"), define("user.name", "x"), nil},
		{"both generations of Interlok's failover", props(
			"failover.slave.position=1", "interval.instance.timeout.seconds=20", "failover.ping.interval.seconds=3",
			"failover.jgroups.cluster.name=x", "adapterConfigUrl.1=file:b.xml", "startAdapterQuietly=true",
		), define("interlok.config.url", "adapter.yaml", "interlok.failover.debug", "true"), []string{
			"bootstrap.properties:1: failover.slave.position: read as failover.secondary.position",
			"bootstrap.properties:2: interval.instance.timeout.seconds: read as failover.instance.timeout.seconds; " +
				"Interlok's documentation has this key, but Interlok itself never read it",
			"bootstrap.properties:2: interval.instance.timeout.seconds: " + onlyInterlok,
			"bootstrap.properties:3: failover.ping.interval.seconds: " + onlyInterlok,
			"bootstrap.properties:4: failover.jgroups.cluster.name: means nothing here: JGroups is not spoken here; " +
				"failover.socket.mode=tcp does without multicast",
			"bootstrap.properties:5: adapterConfigUrl.1: means nothing here: there is no second adapter to fall back to; only adapterConfigUrl is read",
			"bootstrap.properties:6: startAdapterQuietly: means nothing here: a node whose adapter does not start says so, " +
				"gives the role up and does not stand for election; it is never quiet about it",
			"-D: interlok.config.url: read as adapter.config",
			"-D: interlok.failover.debug: means nothing here: log.level=debug shows what the election does",
		}},
		{"a member of an Interlok cluster", props("failover.wire=interlok", "failover.ping.interval.seconds=3"), nil, nil},
		{"an alias is reported once", props("failover.multicast.port=2711"), define("failover.multicast.port", "2712"), []string{
			"bootstrap.properties:1: failover.multicast.port: read as failover.port",
		}},
		{"a position and a priority", props("failover.slave.position=1", "failover.priority=-1"), nil, []string{
			"bootstrap.properties:1: failover.slave.position: read as failover.secondary.position",
			"bootstrap.properties:1: failover.slave.position: failover.priority is given too, and says the same in another way: " +
				"position k is the priority -k; keep one of them",
		}},
		{"evidence and a quorum", props("failover.members=3", "failover.evidence=true"), nil, []string{
			"bootstrap.properties:2: failover.evidence: with failover.members the promise of one master at any time now hangs on every " +
				"firewall between the nodes: one that resets connections in a master's name can feign its death",
		}},
		{"keys that need others", props("failover.witness=w", "failover.preempt.delay=5s"), nil, []string{
			"bootstrap.properties:1: failover.witness: there is nothing to vote on without failover.members",
			"bootstrap.properties:2: failover.preempt.delay: counts with failover.preempt=true only",
		}},
		{"two profiler files", files{"config/interlok-profiler.properties": "", "adp-profiler.properties": "log.level=loud"}.with(), nil, []string{
			"adp-profiler.properties: not read, because there is config/interlok-profiler.properties",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := test.files.write(t)
			_, warnings := mustLoad(t, dir, config.Options{Defines: test.defines})
			checkLines(t, "warnings", warnings, test.want)
		})
	}
}

func TestOneGroupIsNoFaultWithoutCacheSync(t *testing.T) {
	dir := props("failover.port=4446", "cachesync.enabled=false").write(t)
	mustLoad(t, dir, config.Options{})
}

// FuzzLoad: whatever is in the files, there is an answer, with a usable Config; each message is one printable
// line; and what was accepted is accepted again when it comes as -D.
func FuzzLoad(f *testing.F) {
	f.Add("failover.delay=1000\n", "profiler.plugin.factory=failover")
	f.Add("a=${b}\nb=${a}\ndata.dir=${data.dir}", "=x")
	f.Add("k\\\n=v\\", "\uFEFF#\n!\n\\u00")
	f.Add("failover.multicast.port=1\nfailover.port=2", "cachesync.port=\x00")
	f.Add("failover.check=sh -c 'a b\nhooks.on.role=\"\nfailover.tcp.peers=[::1]:1;;x", "failover.members=3\nfailover.witness=w")
	f.Add("failover.slave.position=1\nfailover.priority=1\nfailover.jgroups.x=1", "failover.drift=1e9%\nfailover.key.file=.")
	f.Add("adapterConfigUrl=file://localhost/./adapter.yaml", "node.id=\x1b[2J")
	f.Fuzz(func(t *testing.T, bootstrap, profiler string) {
		dir := files{"bootstrap.properties": bootstrap, "profiler.properties": profiler, "adapter.yaml": ""}.write(t)
		c, warnings, err := config.Load(config.Options{Dir: dir})
		messages := warnings
		if err != nil {
			messages = append(messages, strings.Split(err.Error(), "\n")...)
		}
		for _, message := range messages {
			if strings.ContainsFunc(message, func(r rune) bool { return r < ' ' }) {
				t.Errorf("not a line: %q", message)
			}
		}
		if c.DataDir == "" || c.FailoverDelay <= 0 || c.FailoverRetries < 2 || c.LogFormat == "" {
			t.Errorf("not usable: %+v", c)
		}
		if err != nil {
			return
		}
		var again []config.Define
		for key, value := range c.Properties() {
			again = append(again, config.Define{Key: key, Value: value})
		}
		if _, _, err := config.Load(config.Options{Dir: files{"bootstrap.properties": ""}.write(t), Defines: again}); err != nil {
			t.Errorf("not accepted a second time: %v", err)
		}
	})
}
