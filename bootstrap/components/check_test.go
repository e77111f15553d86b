package components_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/components"
	"github.com/understudy-ha/understudy/profiler"
)

func TestCheck(t *testing.T) {
	environment := map[string]string{"COUNT": "3", "TEXT": "abc", "LITERAL": "${NOT_THERE}"}
	made := factory(t, components.Options{LookupEnv: func(name string) (string, bool) {
		value, found := environment[name]
		return value, found
	}})
	const (
		consumer = profiler.KindConsumer
		service  = profiler.KindService
		producer = profiler.KindProducer
	)
	tests := map[string]struct {
		kind profiler.Kind
		text string
		// want are the beginnings of the faults; a | stands between texts that a fault must contain in this order.
		want []string
	}{
		"good benthos input": {consumer, "generate: {mapping: root = 1, count: 3}", nil},
		"good processor":     {service, "mapping: root = this", nil},
		"good output":        {producer, "drop: {}", nil},
		"good fs consumer":   {consumer, "fs: {directory: in, filter: '*.json', poll: 1s, max-size: 1MiB, order: time}", nil},
		"good fs producer":   {producer, "fs: {directory: out, name: '${! meta(\"message-id\") }.json'}", nil},
		"fs is no service":   {service, "fs: {directory: in}", []string{`adapter.yaml:1: service: unknown type "fs"`}},
		"unknown input":      {consumer, "\nfil: {}", []string{`adapter.yaml:2: consumer: unknown type "fil"; did you mean "file"? allowed here: file, `}},
		"our plugin":         {consumer, "understudy: {components: {}}", []string{`adapter.yaml:1: consumer: unknown type "understudy"`}},
		"unknown options":    {consumer, "generate:\n  mapping: root = 1\n  # a comment\n  cuont: 3\n  intervall: 1s", []string{"adapter.yaml:4: |cuont|did you mean \"count\"?|batch_size", "adapter.yaml:5: |intervall"}},
		"flow over lines":    {consumer, "generate: {mapping: root = 1,\n  cuont: 3,\n\n  intervall: 1s}", []string{"adapter.yaml:2: |cuont", "adapter.yaml:4: |intervall"}},
		"bad bloblang":       {service, "mapping: |\n  root = this\n  root.a = \n  root.b = 1\n", []string{"adapter.yaml:4: |"}},
		"good fs with everything": {consumer, "fs: {directory: in, filter: ['*.{json,xml}', 'regexp:^a[0-9]'], exclude: x*, recursive: true, order: size, direction: down, " +
			"max-size: 1MiB, too-large: large, watch: false, orphan-after: 5m, quiet: 1s}", nil},
		"good fs producer with everything": {producer, "fs: {directory: out, name: 'a/b.txt', subfolders: true, if-exists: append, separator: '', permissions: '0640', " +
			"folder-permissions: 0o750, fsync: false}", nil},
		"more fs faults": {consumer, "fs:\n  directory: in\n  filter: ['*', {a: b}]\n  exclude: 'regexp:('\n  too-large: in\n  orphan-after: never\n  direction: left", []string{
			"adapter.yaml:3: consumer fs: filter: want a list of texts", `adapter.yaml:4: consumer fs: exclude: "regexp:(": want a pattern for file names, say *.json, or a regular expression`,
			"adapter.yaml:5: consumer fs: too-large: |is a part of what is consumed", "adapter.yaml:6: consumer fs: orphan-after: |want a duration",
			"adapter.yaml:7: consumer fs: direction: |down, up"}},
		"path pattern without recursive": {consumer, "fs: {directory: in, filter: 'a/*'}", []string{"adapter.yaml:1: consumer fs: filter: a pattern with / is for paths below the folder, which only recursive: true looks at"}},
		"fs producer faults": {producer, "fs:\n  directory: out\n  permissions: rw\n  folder-permissions: 0\n  if-exists: append\n  subfolders: [a]", []string{
			`adapter.yaml:3: producer fs: permissions: "rw": want permissions as octal digits, say "0640"`, "adapter.yaml:4: producer fs: folder-permissions: ",
			"adapter.yaml:5: producer fs: if-exists: append wants a name", "adapter.yaml:6: producer fs: subfolders: want true or false"}},
		"bad bloblang inline": {service, "\n\nmapping: 'root = ('", []string{"adapter.yaml:3: |"}},
		"wrong type":          {producer, "file:\n  path: [a]", []string{"adapter.yaml:2: |"}},
		"missing variables": {consumer, "generate:\n  mapping: root = \"${NOPE}\"\n  count: ${NADA}\n  interval: ${SPAN:1s}", []string{
			"adapter.yaml:2: environment variable NOPE is not set", "adapter.yaml:3: environment variable NADA is not set"}},
		"variables":            {consumer, "generate:\n  mapping: 'root = \"${TEXT}\"'\n  count: ${COUNT}", nil},
		"literal variable":     {consumer, "generate: {mapping: 'root = \"${{NOPE}} ${LITERAL}\"', count: 1}", nil},
		"variable in fs":       {consumer, "fs: {directory: '${NOPE}'}", []string{"adapter.yaml:1: environment variable NOPE is not set"}},
		"fs without directory": {consumer, "fs: {}", []string{"adapter.yaml:1: consumer fs: directory is missing"}},
		"fs is no mapping":     {producer, "fs: out", []string{"adapter.yaml:1: producer fs: wants a mapping", "adapter.yaml:1: producer fs: directory is missing"}},
		"fs faults": {consumer, "fs:\n  directory: in\n  pol: 1s\n  quiet: soon\n  order: age\n  max-size: -1\n  shared: maybe\n  filter: '['\n  poll: 0s", []string{
			`adapter.yaml:3: consumer fs: unknown option "pol"; did you mean "poll"? allowed here: poll, `,
			"adapter.yaml:4: consumer fs: quiet: |soon", "adapter.yaml:5: consumer fs: order: |name, size, time",
			"adapter.yaml:6: consumer fs: max-size: |64MiB", "adapter.yaml:7: consumer fs: shared: |true or false",
			"adapter.yaml:8: consumer fs: filter: |pattern", "adapter.yaml:9: consumer fs: poll: |too short"}},
		"key beside fs":      {producer, "fs: {directory: out}\ndirectory: out", []string{`adapter.yaml:2: producer: unknown key "directory"`}},
		"fs name":            {producer, "fs:\n  directory: out\n  name: '${! nope( }'", []string{"adapter.yaml:3: producer fs: name: |"}},
		"key twice":          {consumer, "fs: {directory: a, directory: b}", []string{`adapter.yaml:1: key "directory" is there twice`}},
		"unserved input":     {consumer, "http_server: {path: /a}", []string{"adapter.yaml:1: consumer: http_server needs an address"}},
		"served input":       {consumer, "http_server: {path: /a, address: '127.0.0.1:0'}", nil},
		"unserved in broker": {consumer, "broker:\n  inputs:\n    - http_server: {path: /a}", []string{"adapter.yaml:3: consumer: http_server needs an address"}},
		"aliases":            {consumer, "broker:\n  inputs:\n    - &one\n      generate: {mapping: root = 1, count: 1}\n    - *one\n    - <<: *one\n      processors: []", nil},
		"alias of itself":    {consumer, "broker: &a\n  inputs: [*a]", []string{"adapter.yaml:2: alias *a contains itself"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			faults := made.Check(spec(t, test.kind, test.text))
			for i, fault := range faults {
				if i < len(test.want) && !contains(fault.Error(), test.want[i]) || i >= len(test.want) {
					t.Errorf("fault %d: %v", i, fault)
				}
			}
			if len(faults) < len(test.want) {
				t.Errorf("missing: %q", test.want[len(faults):])
			}
		})
	}
}

func contains(text, want string) bool {
	parts := strings.Split(want, "|")
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	text = text[len(parts[0]):]
	for _, part := range parts[1:] {
		_, rest, found := strings.Cut(text, part)
		if !found {
			return false
		}
		text = rest
	}
	return true
}

// Trap 12: values reach the component, and are replaced once.
func TestVariablesReachComponents(t *testing.T) {
	made := factory(t, components.Options{
		LookupEnv: func(name string) (string, bool) { return "${INNER} and # more: x", name == "OUTER" },
		Resources: parse(t, "processor_resources: [{label: speak, mapping: 'root = \"${OUTER}\"'}]"),
	})
	for _, text := range []string{`mapping: 'root = "${OUTER}"'`, "mapping: root = \"${OUTER}\"", "resource: speak"} {
		out, err := processor(t, made, text).Process(t.Context(), batch("x"))
		must(t, err)
		if got := contents(t, out[0]); !slices.Equal(got, []string{"${INNER} and # more: x"}) {
			t.Errorf("%s: %q", text, got)
		}
	}
}

// Traps 13 and 15.
func TestResourceFaultsHaveLinesAndDoNotHideOthers(t *testing.T) {
	text := "\n\ncache_resources:\n  - label: a\n    memory:\n      ttl: ${NOPE}\n" +
		"rate_limit_resources:\n  - label: b\n    local: {cuont: 3}\nnonsense: []"
	made, err := components.New(components.Options{
		File: "adapter.yaml", Resources: parse(t, text), LookupEnv: func(string) (string, bool) { return "", false },
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"adapter.yaml:6: environment variable NOPE", "adapter.yaml:9: resources: field cuont",
		"adapter.yaml:10: resources: field nonsense",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
	if faults := made.Check(spec(t, profiler.KindConsumer, "fs: {}")); len(faults) != 1 {
		t.Errorf("check with faulty resources: %v", faults)
	}
	if _, err := made.Consumer(spec(t, profiler.KindConsumer, "fs: {directory: in}")); err == nil {
		t.Error("a component was made with faulty resources")
	}
	must(t, made.Close(t.Context()))
}

func FuzzCheck(f *testing.F) {
	f.Add("fs: {directory: in, poll: 1s}")
	f.Add("generate: {mapping: 'root = ${X:1}', count: ${Y}}")
	f.Add("broker: &a {inputs: [*a]}")
	f.Add("mapping: |\n  root = (")
	f.Add("a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]")
	made, err := components.New(components.Options{LookupEnv: func(string) (string, bool) { return "a: ${B}\n#", true }})
	must(f, err)
	f.Fuzz(func(t *testing.T, text string) {
		node := tryParse(text)
		if node == nil || len(node.Content) == 0 {
			return
		}
		for _, kind := range []profiler.Kind{profiler.KindConsumer, profiler.KindService, profiler.KindProducer} {
			for _, fault := range made.Check(specOf(kind, node)) {
				if !strings.HasPrefix(fault.Error(), "adapter.yaml:") {
					t.Errorf("a fault without a place: %v", fault)
				}
			}
		}
	})
}
