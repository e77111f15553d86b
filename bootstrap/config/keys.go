package config

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"
)

const (
	factoryKey   = "profiler.plugin.factory"
	adapterKey   = "adapter.config"
	dataKey      = "data.dir"
	libKey       = "lib.dir"
	weaveKey     = "org.aspectj.weaver.loadtime.configuration"
	defaultWeave = "META-INF/profiler-aop.xml"

	evidenceKey        = "failover.evidence"
	witnessKey         = "failover.witness"
	keyFileKey         = "failover.key.file"
	wireKey            = "failover.wire"
	wireInterlok       = "interlok"
	socketModeKey      = "failover.socket.mode"
	tcpPeersKey        = "failover.tcp.peers"
	tcpPortKey         = "failover.tcp.port"
	uncleanKey         = "failover.unclean"
	priorityKey        = "failover.priority"
	ehcacheKey         = "cachesync.ehcache"
	positionKey        = "failover.secondary.position"
	pingIntervalKey    = "failover.ping.interval.seconds"
	instanceTimeoutKey = "failover.instance.timeout.seconds"
)

// key is a property that we know: its default, and how its value is checked and taken over.
type key struct {
	name, value string
	set         func(c *Config, value string) error
}

// knownKeys are all properties that this version reads. Those that only a plugin reads are checked here all the
// same, so that a typing error is found before anything has been started.
func knownKeys() []key {
	const (
		anyLength = time.Duration(math.MaxInt64)
		day       = 24 * time.Hour
	)
	return append([]key{
		{"node.id", "", text(checkName, func(c *Config) *string { return &c.NodeID })},
		{"cluster.name", "", text(checkTitle, func(c *Config) *string { return &c.ClusterName })},
		{adapterKey, "adapter.yaml", checked(checkPath)},
		{dataKey, "data", checked(checkPath)},
		{libKey, "lib", checked(checkPath)},
		{weaveKey, defaultWeave, checked(checkPath)},
		{"log.format", string(LogText), choice(func(c *Config) *LogFormat { return &c.LogFormat }, LogText, LogJSON)},
		{"log.level", "info", func(c *Config, value string) (err error) { c.LogLevel, err = logLevel(value); return err }},
		{"stop.timeout", "30s", duration(time.Millisecond, day, func(c *Config) *time.Duration { return &c.StopTimeout })},
		{"plugin.start.timeout", "10s",
			duration(100*time.Millisecond, time.Hour, func(c *Config) *time.Duration { return &c.PluginStartTimeout })},
		{"plugin.checksums", string(ChecksumsEnforce),
			choice(func(c *Config) *Checksums { return &c.PluginChecksums }, ChecksumsEnforce, ChecksumsWarn, ChecksumsOff)},
		{factoryKey, "", func(c *Config, value string) (err error) { c.Factories, err = pluginNames(value); return err }},

		{"failover.group", "230.0.0.1", checked(multicastGroup)},
		{"failover.port", "2710", number(1, math.MaxUint16, nil)},
		{"failover.delay", "1000",
			duration(10*time.Millisecond, time.Hour, func(c *Config) *time.Duration { return &c.FailoverDelay })},
		{"failover.retries", "5", number(3, 1000, func(c *Config) *int { return &c.FailoverRetries })},
		{"failover.interface", "", text(checkTitle, func(c *Config) *string { return &c.FailoverInterface })},
		{evidenceKey, string(ToggleOn), choice(func(c *Config) *Toggle { return &c.FailoverEvidence }, ToggleOn, ToggleOff)},
		{"failover.liveness.listen", "", text(listenAddress, func(c *Config) *string { return &c.FailoverLiveness })},
		{"failover.ttl", "1", number(0, math.MaxUint8, nil)},
		{priorityKey, "0", number(math.MinInt32, math.MaxInt32, nil)},

		{"failover.members", "", optional(members)},
		{witnessKey, "", checked(checkName)},
		{"failover.observe", string(ToggleOff), choice[Toggle](nil, ToggleOn, ToggleOff)},
		{"failover.preempt", string(ToggleOff), choice[Toggle](nil, ToggleOn, ToggleOff)},
		{"failover.preempt.delay", "", optional(duration(0, day, nil))},
		{"failover.drift", "", optional(checked(fraction(0, 0.2)))},
		{keyFileKey, "", checked(optionalPath)},
		{uncleanKey, "", optional(choice[Toggle](nil, ToggleOn, ToggleOff))},
		{socketModeKey, "multicast", socketMode},
		{"failover.tcp.host", "", checked(checkTitle)},
		{tcpPortKey, "2710", number(1, math.MaxUint16, nil)},
		{tcpPeersKey, "", checked(peers)},
		{wireKey, "understudy", choice[string](nil, "understudy", wireInterlok)},
		{positionKey, "", optional(number(0, maxPosition, nil))},
		{pingIntervalKey, "", optional(number(1, 3600, nil))},
		{instanceTimeoutKey, "", optional(number(1, 86400, nil))},

		{"failover.check", "", checkTarget},
		{"failover.check.on", string(CheckAlways), choice(func(c *Config) *CheckOn { return &c.Check.On }, CheckAlways, CheckMaster)},
		{"failover.check.interval", "5s",
			duration(10*time.Millisecond, time.Hour, func(c *Config) *time.Duration { return &c.Check.Interval })},
		{"failover.check.timeout", "3s",
			duration(10*time.Millisecond, time.Hour, func(c *Config) *time.Duration { return &c.Check.Timeout })},
		{"failover.check.rise", "2", number(1, 1000, func(c *Config) *int { return &c.Check.Rise })},
		{"failover.check.fall", "3", number(1, 1000, func(c *Config) *int { return &c.Check.Fall })},
		{"failover.check.cooldown", "1m", duration(0, day, func(c *Config) *time.Duration { return &c.Check.Cooldown })},
		{"hooks.on.role", "", commandLine(func(c *Config) *[]string { return &c.RoleHook })},
		{"hooks.timeout", "30s", duration(10*time.Millisecond, time.Hour, func(c *Config) *time.Duration { return &c.HookTimeout })},

		{"cachesync.enabled", string(ToggleAuto),
			choice(func(c *Config) *Toggle { return &c.CacheSyncEnabled }, ToggleAuto, ToggleOn, ToggleOff)},
		{"cachesync.group", "230.0.0.1", checked(multicastGroup)},
		{"cachesync.port", "4446", number(1, math.MaxUint16, nil)},
		{"cachesync.interface", "", checked(checkTitle)},
		{"cachesync.ttl", "1", number(0, math.MaxUint8, nil)},
		{"cachesync.listen", "", checked(listenAddress)},
		{"cachesync.mode", "sync", choice[string](nil, "sync", "async")},
		{"cachesync.store", "memory", choice[string](nil, "memory", "disk")},
		{"cachesync.lag.timeout", "2s", duration(10*time.Millisecond, time.Hour, nil)},
		{"cachesync.min.insync", "1", number(1, 63, nil)},
		{"cachesync.alone", "go-on", choice[string](nil, "go-on", "wait")},
		{"cachesync.alone.after", "", optional(duration(0, day, nil))},
		{ehcacheKey, "", checked(optionalPath)},
		{"cachesync.dedupe.count", "100000", number(0, 100_000_000, nil)},
		{"cachesync.dedupe.time", "24h", duration(0, anyLength, nil)},
	}, workloadKeys()...)
}

// The most voters that the election takes, and the last position of an Interlok cluster, far above what anybody has.
const (
	maxMembers  = 9
	maxPosition = 10_000
)

// failoverFactoryClass is what every Interlok installation with failover has in its profiler's file.
const failoverFactoryClass = "com.adaptris.failover.plugin.FailoverInterlokPluginFactory"

// namespaces are ours: an unknown key in one of them is a typing error, or meant for another version. All
// other keys belong to somebody else (a start script, a plugin, a JVM) and pass without a word.
func namespaces() []string {
	return []string{
		"node.", "cluster.", "adapter.", "data.", "lib.", "log.", "stop.", "plugin.", "plugins.", "profiler.",
		"failover.", "cachesync.", "workload.", "hooks.",
	}
}

// merge brings the entries under one spelling per key; the later one wins.
func (l *loader) merge() {
	other := aliases()
	known := knownKeys()
	last := map[string]entry{}
	for _, e := range l.entries {
		name, isAlias := other[e.key]
		if isAlias {
			l.warnAlias(e, name)
		} else {
			name = e.key
		}
		value := e.value
		switch isKnown := slices.ContainsFunc(known, func(k key) bool { return k.name == name }); {
		case isKnown:
			value = strings.TrimSpace(value)
			if name == factoryKey {
				value = l.renameFactories(e, value)
			}
		case strings.HasPrefix(name, workloadEnv):
			// The rest is the name of a variable.
		case deadReason(name) != "":
			l.warnAt(e.from, name, "means nothing here: %s", deadReason(name))
		case inNamespace(name):
			l.warnAt(e.from, name, "not a key of this version%s", suggestion(name, known))
		}

		before, given := last[name]
		// -D is there to override the files, under whatever spelling; but two spellings of equal standing with
		// two values are somebody's forgotten line.
		if given && before.key != e.key && before.value != value && before.from.source == e.from.source {
			l.faultAt(e.from, e.key, "%q here, but %s, which means the same, is %q (%s); keep one of them",
				value, before.key, before.value, before.from)
		}
		last[name] = entry{key: e.key, value: value, from: e.from}
		l.config.settings[name] = setting{value: value, from: e.from, spelled: e.key}
	}
}

// warnAlias reports an alias, once: the next place that has it says nothing new.
func (l *loader) warnAlias(e entry, name string) {
	if slices.Contains(l.reported, e.key) {
		return
	}
	l.reported = append(l.reported, e.key)
	l.warnAt(e.from, e.key, "read as %s%s", name, aliasNote(e.key))
}

// renameFactories gives the failover factory's Java class its plugin's name.
func (l *loader) renameFactories(e entry, value string) string {
	if !strings.Contains(value, failoverFactoryClass) {
		return value
	}
	names := strings.Split(value, ",")
	for i, n := range names {
		if strings.TrimSpace(n) == failoverFactoryClass {
			names[i] = "failover"
			l.warnAt(e.from, e.key, "%s is read as failover", failoverFactoryClass)
		}
	}
	return joinNames(names)
}

func joinNames(names []string) string { return strings.Join(names, ",") }

func inNamespace(name string) bool {
	return slices.ContainsFunc(namespaces(), func(n string) bool { return strings.HasPrefix(name, n) })
}

// suggestion names the known key that is nearest to a mistyped one, if one is near.
func suggestion(name string, known []key) string {
	best, distance := "", 1+max(2, len(name)/5)
	for _, k := range known {
		if d := editDistance(name, k.name); d < distance {
			best, distance = k.name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// editDistance is Levenshtein's, in bytes: our keys are ASCII.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func logLevel(value string) (slog.Level, error) {
	var level slog.Level
	if strings.EqualFold(value, "trace") {
		return LevelTrace, nil
	}
	for _, name := range []string{"debug", "info", "warn", "error"} {
		if strings.EqualFold(value, name) {
			err := level.UnmarshalText([]byte(name))
			return level, err
		}
	}
	return level, fmt.Errorf("%s is not allowed; want trace, debug, info, warn or error", quoted(value))
}
