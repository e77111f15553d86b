package components_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/components"
)

// What the user reads when an adapter file is wrong: all of it at once, each with its place.
func TestBadInput(t *testing.T) {
	const good = "consumer: {generate: {mapping: root = 1, count: 1}}"
	tests := map[string]struct {
		file string
		want []string
	}{
		"unknown components": {
			workflow("consumer: {fss: {directory: in}}", "services: [{maping: root = this}]", "producer: {flie: {path: x}}"),
			[]string{
				`adapter.yaml:8: consumer: unknown type "fss"; did you mean "fs"? allowed here: fs, `,
				`adapter.yaml:9: service: unknown type "maping"; did you mean "mapping"? allowed here: mapping, `,
				`adapter.yaml:10: producer: unknown type "flie"; allowed here: file, `,
			},
		},
		"an unknown option": {
			workflow(good, "services: [{cache: {resource: c, operatr: get, key: x}}]", "producer: {drop: {}}"),
			[]string{`adapter.yaml:9: service cache: field operatr`, `adapter.yaml:9: service: there is no cache resource "c"; nothing is allowed here`},
		},
		"missing variables": {
			workflow(`consumer: {generate: {mapping: 'root = "${UNDERSTUDY_NOPE}"', count: 1}}`, "producer: {fs: {directory: '${UNDERSTUDY_OUT}'}}"),
			[]string{
				"adapter.yaml:8: environment variable UNDERSTUDY_NOPE is not set: set it, or give a default with ${UNDERSTUDY_NOPE:default}",
				"adapter.yaml:9: environment variable UNDERSTUDY_OUT is not set",
			},
		},
		"duplicate ids": {
			"adapter:\n  id: a\n  channels:\n  - id: c\n    workflows:\n    - {id: w, " + good + ", producer: {drop: {}}}\n  - id: c\n    workflows:\n    - {id: w, " + good +
				", services: [{id: s, mapping: root = 1}, {id: s, mapping: root = 1}], producer: {drop: {}}}\n",
			[]string{
				`adapter.yaml:7: adapter.channels[1].id: "c" is also the id of the channel on line 4; want each id once`,
				`adapter.yaml:9: adapter.channels[1].workflows[0].id: "w" is also the id of the workflow on line 6; want each id once`,
				`adapter.yaml:9: adapter.channels[1].workflows[0].services[1].id: "s" is also the id of the step on line 9; want each id once`,
			},
		},
		"a circle of resources": {
			"adapter:\n  id: a\n  resources:\n    processor_resources:\n      - label: one\n        try: [{resource: two}]\n      - label: two\n        try: [{resource: three}]\n" +
				"      - label: three\n        try: [{resource: one}]\n    cache_resources:\n      - {label: x, multilevel: [y, z]}\n      - {label: y, multilevel: [x, z]}\n      - {label: z, memory: {}}\n" +
				"  channels:\n  - id: c\n    workflows:\n    - {id: w, " + good + ", producer: {drop: {}}}\n",
			[]string{
				"adapter.yaml:5: resources: they use each other in a circle: one (line 5) > two (line 7) > three (line 9) > one",
				"adapter.yaml:12: resources: they use each other in a circle: x (line 12) > y (line 13) > x",
			},
		},
		"resources that are not there": {
			"adapter:\n  id: a\n  resources:\n    rate_limit_resources:\n      - {label: slow, local: {}}\n    output_resources:\n      - {label: sink, drop: {}}\n      - {label: sink, drop: {}}\n" +
				"  channels:\n  - id: c\n    workflows:\n    - {id: w, " + good + ", services: [{rate_limit: {resource: slo}}], producer: {resource: sinc}}\n",
			[]string{
				`adapter.yaml:8: resources: label "sink" is also that of the resource on line 7; want each once`,
				`adapter.yaml:12: service: there is no rate limit resource "slo"; did you mean "slow"? allowed here: slow`,
				`adapter.yaml:12: producer: there is no component resource "sinc"; did you mean "sink"? allowed here: sink`,
			},
		},
		"names that only look like resources": {
			workflow(good, `services: [{log: {message: x, fields: {resource: r, cache: c}}}, {http: {url: "http://127.0.0.1", headers: {cache: no}}}]`, "producer: {drop: {}}"), nil,
		},
		"an empty list of processors, trap 15": {
			workflow("consumer: {generate: {mapping: root = 1, count: 1}, processors: }", "producer: {drop: {}}"),
			[]string{"adapter.yaml:8: adapter.channels[0].workflows[0].consumer: more than one type of consumer: generate, processors; want exactly one"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := configure(t, t.TempDir(), test.file, components.Options{LookupEnv: func(string) (string, bool) { return "", false }})
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			for _, want := range test.want {
				if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, want) }) {
					t.Errorf("nobody says %q", want)
				}
			}
			if len(test.want) == 0 && err != nil || t.Failed() {
				t.Errorf("got\n\t%s", strings.Join(got, "\n\t"))
			}
		})
	}
}
