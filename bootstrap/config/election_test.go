package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/config"
)

// TestEvidenceByDefault: on without a quorum, off with it, and what somebody says counts.
func TestEvidenceByDefault(t *testing.T) {
	for _, test := range []struct {
		lines []string
		want  config.Toggle
	}{
		{nil, config.ToggleOn},
		{[]string{"failover.members=0"}, config.ToggleOn},
		{[]string{"failover.members=3"}, config.ToggleOff},
		{[]string{"failover.members=3", "failover.evidence=true"}, config.ToggleOn},
		{[]string{"failover.evidence=false"}, config.ToggleOff},
	} {
		c, _ := mustLoad(t, props(test.lines...).write(t), config.Options{})
		if c.FailoverEvidence != test.want || c.Properties()["failover.evidence"] != string(test.want) {
			t.Errorf("%v: %s, and the plugin is told %s; want %s", test.lines, c.FailoverEvidence, c.Properties()["failover.evidence"], test.want)
		}
	}
}

// TestPositionStandsForPriority: the plugin must not see a priority that nobody has set.
func TestPositionStandsForPriority(t *testing.T) {
	c, _ := mustLoad(t, props("failover.slave.position=2").write(t), config.Options{})
	properties := c.Properties()
	if priority, ok := properties["failover.priority"]; ok || properties["failover.secondary.position"] != "2" {
		t.Errorf("position %q, priority %q", properties["failover.secondary.position"], priority)
	}
}

func TestWitnessNeedsNoAdapter(t *testing.T) {
	for _, test := range []struct {
		name    string
		files   files
		options config.Options
		want    bool
	}{
		{"asked", files{"bootstrap.properties": ""}, config.Options{Witness: true}, true},
		{"by its id", files{"bootstrap.properties": "node.id=w\nfailover.witness=w\nfailover.members=3"}, config.Options{}, true},
		{"by the id that it has drawn", files{
			"bootstrap.properties": "failover.witness=w\nfailover.members=3", "data/node-id": "w\n",
		}, config.Options{}, true},
		{"another node", files{"bootstrap.properties": "node.id=a\nfailover.witness=w\nfailover.members=3"}.with(), config.Options{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, warnings := mustLoad(t, test.files.write(t), test.options)
			checkLines(t, "warnings", warnings, nil)
			if c.Witness != test.want || (c.AdapterFile == "") != test.want {
				t.Errorf("witness %v, adapter %q", c.Witness, c.AdapterFile)
			}
		})
	}
}

func TestTowards(t *testing.T) {
	for _, test := range []struct {
		lines []string
		want  string
	}{
		{nil, "230.0.0.1"},
		{[]string{"failover.multicast.group=239.1.1.1", "failover.tcp.peers=a:1"}, "239.1.1.1"},
		{[]string{"failover.socket.mode=tcp", "failover.tcp.peers= ; [fd00::7]:2710;b:2710"}, "fd00::7"},
	} {
		if c, _ := mustLoad(t, props(test.lines...).write(t), config.Options{}); c.Towards() != test.want {
			t.Errorf("%v: %s, want %s", test.lines, c.Towards(), test.want)
		}
	}
}

func TestCheckTarget(t *testing.T) {
	c, _ := mustLoad(t, props("failover.check=https://localhost:8443/healthy?deep=1").write(t), config.Options{})
	if c.Check.URL != "https://localhost:8443/healthy?deep=1" || c.Check.Command != nil || !c.Check.Enabled() {
		t.Errorf("%+v", c.Check)
	}
	c, _ = mustLoad(t, props(`failover.check=C:\\tools\\check.exe "two words" ''`).write(t), config.Options{})
	if want := []string{`C:\tools\check.exe`, "two words", ""}; !slices.Equal(c.Check.Command, want) || c.Check.URL != "" {
		t.Errorf("%+v, want the command %q", c.Check, want)
	}
	c, _ = mustLoad(t, props("failover.check=").write(t), config.Options{})
	if c.Check.Enabled() {
		t.Errorf("%+v, want none", c.Check)
	}
}

// TestDefinesReachEveryKey: there is no key that only a file can set.
func TestDefinesReachEveryKey(t *testing.T) {
	dir := props().write(t)
	for _, key := range config.KnownKeys() {
		c, _, _ := config.Load(config.Options{Dir: dir, Defines: define(key, config.Default(key))})
		if origin := c.Origin(key); origin != "-D" {
			t.Errorf("%s: from %q", key, origin)
		}
	}
}

// TestExampleExplainsEveryKey: the example has each key with its default, and no other.
func TestExampleExplainsEveryKey(t *testing.T) {
	text := ""
	for _, name := range []string{"bootstrap.properties", "profiler.properties"} {
		content, err := os.ReadFile(filepath.Join("..", "example", name))
		if err != nil {
			t.Fatal(err)
		}
		text += string(content)
	}
	shown := map[string]string{}
	for _, line := range regexp.MustCompile(`(?m)^#?([A-Za-z][A-Za-z.]*)=(.*)$`).FindAllStringSubmatch(text, -1) {
		shown[line[1]] = line[0]
	}
	for _, key := range config.KnownKeys() {
		line, ok := shown[key]
		if !ok {
			t.Errorf("%s is not in the example", key)
		}
		if value := config.Default(key); strings.HasPrefix(line, "#") && line != "#"+key+"="+value && value != "" {
			t.Errorf("the example has %s, but the default is %q", line, value)
		}
		delete(shown, key)
	}
	for _, line := range shown {
		t.Errorf("%s is in the example, and no key of this version", line)
	}
}
