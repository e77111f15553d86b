package adapter_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
)

const full = `
adapter:
  id: orders
  resources: {cache_resources: [{label: c, memory: {}}]}
  on-error: {id: bin, fs: {directory: bad}}
  channels:
    - id: files
      workflows:
        - id: in-to-out
          pool: 4
          on-takeover: hold
          acknowledge: early
          retries: 0
          consumer: {fs: {directory: in, filter: "*.json", poll: 200ms}}
          services:
            - id: stamp
              checkpoint: true
              mapping: 'root = this.merge({"seen": now()})'
            - archive: {format: tar}
          producer: {fs: {directory: out}}
        - consumer: {fs: {directory: in2}}
          producer: {fs: {directory: out2}}
    - workflows:
        - consumer: {fs: {directory: in3}}
          producer: {fs: {directory: out3}}
`

func TestLoad(t *testing.T) {
	cfg, err := load(t, full)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(full))
	if cfg.ID != "orders" || cfg.Digest != hex.EncodeToString(sum[:]) || cfg.Resources == nil || cfg.Resources.Line != 4 || cfg.OnError.Spec.Path != "orders/bin" {
		t.Errorf("got %+v", cfg)
	}
	w := cfg.Channels[0].Workflows[0]
	if w.ID != "in-to-out" || w.Pool != 4 || w.OnTakeover != adapter.TakeoverHold || !w.AcknowledgeEarly || w.Retry.Max != 0 {
		t.Errorf("got %+v", w)
	}
	if c := w.Consumer; c.Type != "fs" || c.ID != "consumer" || c.Path != "orders/files/in-to-out/consumer" || c.Node.Content[0].Line != 14 || c.File != cfg.File {
		t.Errorf("got %+v", c)
	}
	if s := w.Services; len(s) != 2 || s[0].ID != "stamp" || !s[0].Checkpoint || len(s[0].Node.Content) != 2 || s[1].ID != "service-2" || s[1].Type != "archive" {
		t.Errorf("got %+v", s)
	}
	second, third := cfg.Channels[0].Workflows[1], cfg.Channels[1].Workflows[0]
	if second.ID != "workflow-2" || second.Pool != 1 || second.Retry.Max != 3 || second.OnTakeover != adapter.TakeoverReplay || second.AcknowledgeEarly {
		t.Errorf("got %+v", second)
	}
	if cfg.Channels[1].ID != "channel-2" || third.ID != "workflow-3" || third.Producer.Path != "orders/channel-2/workflow-3/producer" {
		t.Errorf("got %+v", third)
	}
}

func TestLoadFollowsAliases(t *testing.T) {
	cfg, err := load(t, `
adapter:
  id: orders
  channels:
  - workflows:
    - &first
      id: one
      pool: 2
      consumer: &in {fs: {directory: in}}
      producer: {fs: &out {directory: out, mode: a}}
    - <<: *first
      id: two
      consumer: *in
      producer: {fs: {<<: *out, mode: b}}
`)
	if err != nil {
		t.Fatal(err)
	}
	two := cfg.Channels[0].Workflows[1]
	if two.ID != "two" || two.Pool != 2 || two.Consumer.Path != "orders/channel-1/two/consumer" {
		t.Errorf("got %+v", two)
	}
	text, err := yaml.Marshal(two.Producer.Node)
	if err != nil || strings.ContainsAny(string(text), "&*<") {
		t.Errorf("the node does not stand for itself: %s %v", text, err)
	}
	var out struct{ FS map[string]string }
	if err := two.Producer.Node.Decode(&out); err != nil || out.FS["mode"] != "b" || out.FS["directory"] != "out" {
		t.Errorf("got %v %v", out, err)
	}
}

func TestLoadFaults(t *testing.T) {
	bomb := "a: &a0 [x, x]\n"
	for i := range 26 {
		bomb += strings.ReplaceAll(strings.ReplaceAll("bN: &aN [*aM, *aM]\n", "N", string(rune('a'+i))), "*aM", "*a"+prev(i))
	}
	tests := map[string]struct {
		text string
		want []string
	}{
		"empty":          {"", []string{"adapter.yaml:1: adapter: the file is empty"}},
		"only a comment": {"# nothing\n", []string{"adapter.yaml:1: adapter: the file is empty"}},
		"null":           {"~\n", []string{"adapter.yaml:1: the file: an empty value is not allowed"}},
		"no YAML":        {"adapter:\n  id: [\n", []string{"adapter.yaml:", "this is not YAML"}},
		"not text":       {"\xff\xfe\x00", []string{"adapter.yaml"}},
		"two documents":  {workflowText() + "---\nadapter: {}\n", []string{"adapter.yaml:9: a second YAML document"}},
		"no adapter":     {"adaptor: {}\n", []string{"adapter.yaml:1: the file.adaptor: unknown key; want adapter", "adapter.yaml:1: adapter: missing"}},
		"nothing in it":  {"adapter: {}\n", []string{"adapter.id: missing", "adapter.channels: missing; want a list of channels"}},
		"no workflows":   {"adapter:\n  id: a\n  channels:\n  - id: c\n", []string{"adapter.yaml:4: adapter.channels[0].workflows: missing"}},
		"no consumer and producer": {
			"adapter:\n  id: a\n  channels:\n  - workflows:\n    - id: w\n",
			[]string{"adapter.yaml:5: adapter.channels[0].workflows[0].consumer: missing; want one consumer", "workflows[0].producer: missing"},
		},
		"every setting wrong": {
			workflowText("pool: 0", "on-takeover: perhaps", "acknowledge: true", "retries: many", "colour: red", "services: {}"),
			[]string{
				`adapter.yaml:7: adapter.channels[0].workflows[0].pool: "0" is not allowed; want a whole number from 1 to 1024`,
				`adapter.yaml:8: adapter.channels[0].workflows[0].on-takeover: "perhaps" is not allowed; want one of replay, hold, drop`,
				`acknowledge: "true" is not allowed; want one of late, early`,
				`retries: "many" is not allowed; want a whole number from 0 to 1000`,
				`adapter.yaml:11: adapter.channels[0].workflows[0].colour: unknown key; want id, pool,`,
				`services: a mapping is not allowed; want a list`,
			},
		},
		"too large a pool": {workflowText("pool: 99999999999999999999"), []string{"pool: "}},
		"bad services": {
			workflowText("services: [x, {id: a}, {a: 1, b: 2}, {mapping: x, checkpoint: maybe}, {[a]: b}]"),
			[]string{
				`services[0]: "x" is not allowed; want a mapping with the type of the service as key`,
				"services[1]: the type of the service is missing",
				"services[2]: more than one type of service: a, b; want exactly one, beside id, checkpoint",
				`services[3].checkpoint: "maybe" is not allowed; want true or false`,
				"services[4]: a list is not allowed as a key",
			},
		},
		"ids twice": {
			strings.Replace(full, "- archive:", "- id: stamp\n              archive:", 1) + "    - id: files\n      workflows: [{id: in-to-out, consumer: {a: 1}, producer: {a: 1}}]\n",
			[]string{
				`services[1].id: "stamp" is also the id of the step on line 16`, `adapter.channels[2].id: "files" is also the id of the channel on line 7`,
				`workflows[0].id: "in-to-out" is also the id of the workflow on line 9`,
			},
		},
		"bad ids":    {strings.Replace(workflowText(), "id: orders", "id: a/b", 1), []string{`adapter.yaml:2: adapter.id: "a/b" is not allowed; want a name`}},
		"keys twice": {workflowText("pool: 1", "pool: 2"), []string{"adapter.yaml:8: pool: the key is set twice, first on line 7"}},
		"an alias of itself": {
			workflowText("services: &a [*a]"), []string{"*a: the alias contains itself"},
		},
		"unknown alias": {workflowText("services: *nowhere"), []string{"adapter.yaml: this is not YAML: unknown anchor 'nowhere'"}},
		"alias bomb":    {bomb, []string{"more than 200000 parts"}},
		"deep":          {strings.Repeat("[", 1<<20), []string{"adapter.yaml:"}},
		"deep blocks":   {strings.Repeat("- ", 1<<18), []string{"adapter.yaml:"}},
		"huge":          {strings.Repeat("# xxxxxxx\n", 1<<19), []string{"adapter.yaml:1: the file has more than"}},
		"many faults":   {"adapter:\n" + strings.Repeat("  ? []\n", 100), []string{"and 52 more faults"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, test.text)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got\n%v\nwant %q in it", err, want)
				}
			}
		})
	}
	if _, err := adapter.Load(filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("a file that is not there was read")
	}
}

func prev(i int) string {
	if i == 0 {
		return "0"
	}
	return string(rune('a' + i - 1))
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(workflowText("services: [{id: a, b: &x 1, checkpoint: true}, {<<: [{c: *x}], d: 2}]")))
	f.Add([]byte("adapter: &a {<<: *a}"))
	f.Add([]byte("%YAML 1.2\n---\n!!binary x: ? - {[]: \"\n"))
	file := filepath.Join(f.TempDir(), "adapter.yaml")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := adapter.Load(file)
		switch {
		case err != nil && !strings.Contains(err.Error(), file):
			t.Errorf("the error does not name the file: %v", err)
		case err == nil && (cfg.ID == "" || len(cfg.Channels) == 0 || len(cfg.Digest) != 64):
			t.Errorf("accepted as %+v", cfg)
		}
	})
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "4096": 4096, "10B": 10, "10kB": 10_000, "10KB": 10_000, "3MB": 3_000_000, "1GB": 1e9, "2TB": 2e12, "1 MB": 1e6,
		"1KiB": 1 << 10, "64MiB": 64 << 20, "1GiB": 1 << 30, "8TiB": 8 << 40,
		"": 0, "0": 0, "-1": 0, "MiB": 0, "1.5MiB": 0, "1 mob": 0, "1e3": 0, "9999999999GiB": 0, "8388608TiB": 0,
	} {
		if got, ok := adapter.ParseSize(text); got != want || ok != (want > 0) {
			t.Errorf("%q: %d, %t, want %d", text, got, ok, want)
		}
	}
}

func TestStoreNeedsOne(t *testing.T) {
	w := newWorld()
	cfg, err := load(t, workflowText("on-error: store"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = adapter.New(cfg, w.factory, nil, nil, adapter.Options{})
	if err == nil || !strings.Contains(err.Error(), "orders/files/w: on-error: store: this node keeps no failed messages") {
		t.Error(err)
	}
}

func TestLoadRetry(t *testing.T) {
	cfg, err := load(t, workflowText("retry: {max: 7, delay: 1s, max-delay: 1m, factor: 1.5, steps: all}"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cfg.Channels[0].Workflows[0].Retry, (adapter.Retry{Max: 7, Delay: time.Second, MaxDelay: time.Minute, Factor: 1.5, Services: true}); got != want {
		t.Errorf("%+v", got)
	}
	tests := map[string]string{
		"retry: {max: -1}":                  `retry.max: "-1" is not allowed; want a whole number from 0 to 1000`,
		"retry: {delay: 5}":                 `retry.delay: "5" is not allowed; want a duration`,
		"retry: {delay: 1m, max-delay: 1s}": `retry.max-delay: 1s is shorter than delay, which is 1m0s`,
		"retry: {factor: 0.5}":              `retry.factor: "0.5" is not allowed; want a number from 1 to 100`,
		"retry: {factor: NaN}":              `retry.factor: "NaN" is not allowed`,
		"retry: {steps: some}":              `retry.steps: "some" is not allowed; want one of producer, all`,
		"retry: {tries: 3}":                 `retry.tries: unknown key; want max, delay, max-delay, factor, steps`,
		"retry: 3":                          `retry: "3" is not allowed; want a mapping`,
		"on-error: shop":                    `on-error: "shop" is not allowed; want store (the failed-message store), or a producer`,
		"on-error: []":                      `on-error: a list is not allowed; want store`,
	}
	for setting, want := range tests {
		if _, err := load(t, workflowText(setting)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", setting, err, want)
		}
	}
	if _, err := load(t, workflowText("retries: 3", "retry: {max: 3}")); err == nil || !strings.Contains(err.Error(), "adapter.yaml:7: adapter.channels[0].workflows[0].retry: retries is the short form of retry.max, and both are set") {
		t.Error(err)
	}
	for text, want := range map[string]string{
		"{max-messages: 0}": `adapter.failed.max-messages: "0" is not allowed`,
		"{max-size: 1 mob}": `adapter.failed.max-size: "1 mob" is not allowed; want a size above 0, say 4096, 64MiB or 1GiB`,
		"{max-size: []}":    `adapter.failed.max-size: a list is not allowed`,
	} {
		_, err := load(t, strings.Replace(workflowText(), "  channels:", fmt.Sprintf("  failed: %s\n  channels:", text), 1))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	cfg, err = load(t, strings.Replace(workflowText(), "  channels:", "  failed: {max-messages: 5, max-size: 3MiB}\n  channels:", 1))
	if err != nil || cfg.Failed != (adapter.FailedConfig{MaxMessages: 5, MaxBytes: 3 << 20}) {
		t.Errorf("%v, %v", cfg, err)
	}
	if retry := cfg.Channels[0].Workflows[0].Retry; retry.Max != 3 {
		t.Errorf("default %+v", retry)
	}
}
