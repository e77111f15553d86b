package document_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/understudy-ha/understudy/bootstrap/components/document"
)

func parse(t *testing.T, text string) *yaml.Node {
	t.Helper()
	var node yaml.Node
	if err := yaml.Unmarshal([]byte(text), &node); err != nil {
		t.Fatal(err)
	}
	return &node
}

func source(environment map[string]string) document.Source {
	return document.Source{File: "f.yaml", Lookup: func(name string) (string, bool) {
		value, found := environment[name]
		return value, found
	}}
}

func TestResolve(t *testing.T) {
	environment := map[string]string{"N": "3", "EMPTY": "", "TEXT": "a: b # c", "CODED": "aGk=", "BAD": "\xff"}
	tests := map[string]struct {
		text  string
		want  any
		fault string
	}{
		"number":              {"${N}", 3, ""},
		"quoted number":       {"'${N}'", "3", ""},
		"part of a text":      {"a${N}b", "a3b", ""},
		"structure is kept":   {"${TEXT}", "a: b # c", ""},
		"empty":               {"${EMPTY}", "", ""},
		"empty with default":  {"${EMPTY:x}", "x", ""},
		"missing":             {"${NOPE}", "", "f.yaml:1: environment variable NOPE is not set"},
		"missing, default":    {"${NOPE:7}", 7, ""},
		"missing, no default": {"${NOPE:}", "", ""},
		"literal":             {"${{N}}", "${N}", ""},
		"interpolation":       {"'${! meta(\"a\") }'", `${! meta("a") }`, ""},
		"function":            {"${CODED|base64decode}", "hi", ""},
		"unknown function":    {"${CODED|rot13}", "aGk=", `f.yaml:1: ${CODED|rot13}: unknown function "rot13"`},
		"not base64":          {"${TEXT|base64decode}", "", "f.yaml:1: environment variable TEXT is not base64"},
		"not UTF-8":           {"${BAD}", "", "f.yaml:1: environment variable BAD is not valid UTF-8"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			node, faults := source(environment).Resolve(parse(t, test.text))
			if (test.fault == "") != (len(faults) == 0) {
				t.Fatalf("faults %v, want %q", faults, test.fault)
			}
			if test.fault != "" && !strings.HasPrefix(faults[0].Error(), test.fault) {
				t.Errorf("fault %v, want %q", faults[0], test.fault)
			}
			var got any
			text, err := document.NewText(node)
			if err != nil {
				t.Fatal(err)
			}
			if err := yaml.Unmarshal([]byte(text.YAML), &got); err != nil {
				t.Fatal(err)
			}
			if literal, ok := got.(string); ok && test.want == "${N}" {
				got = strings.Replace(literal, "${{N}}", "${N}", 1) // the text's reader replaces once more
			}
			if got != test.want {
				t.Errorf("got %#v, want %#v", got, test.want)
			}
		})
	}
}

func TestResolveBoundsAliases(t *testing.T) {
	text := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i, name := range []string{"b", "c", "d", "e", "f", "g"} {
		before := string(rune('a' + i))
		text += name + ": &" + name + " [" + strings.TrimSuffix(strings.Repeat("*"+before+",", 10), ",") + "]\n"
	}
	_, faults := source(nil).Resolve(parse(t, text))
	if len(faults) != 1 || !strings.Contains(faults[0].Error(), "expand to more than") {
		t.Errorf("faults %v", faults)
	}
}

func TestFields(t *testing.T) {
	node, _ := source(nil).Resolve(parse(t, "size: 64MiB\nplain: 4096\nspan: 1s\nyes: true\nname: a\nnothing: null\nlarge: 9999999999GiB"))
	fields := document.NewFields(source(nil), "thing", node)
	if got := fields.Size("size", 0); got != 64<<20 {
		t.Errorf("size %d", got)
	}
	if got := fields.Size("plain", 0); got != 4096 {
		t.Errorf("plain %d", got)
	}
	if got := fields.Size("other", 7); got != 7 {
		t.Errorf("other %d", got)
	}
	if got := fields.Duration("span", 0, 0); got != time.Second {
		t.Errorf("span %s", got)
	}
	if !fields.Bool("yes", false) || fields.Required("name", "x") != "a" {
		t.Error("yes, name")
	}
	fields.Text("nothing", "")
	fields.Size("large", 1)
	var faults []string
	for _, fault := range fields.Faults() {
		faults = append(faults, fault.Error())
	}
	want := []string{
		"f.yaml:6: thing: nothing: want text",
		`f.yaml:7: thing: large: "9999999999GiB": want a size in bytes above 0, say 4096, 10kB or 64MiB`,
	}
	if !slices.Equal(faults, want) {
		t.Errorf("faults %q", faults)
	}
}

func TestAllowedPutsTheNearestFirst(t *testing.T) {
	for name, want := range map[string]string{
		"directry": `did you mean "directory"? allowed here: directory, filter, poll`,
		"zzz":      "allowed here: poll, filter, directory",
	} {
		if got := document.Allowed(name, []string{"filter", "directory", "poll"}); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := document.Allowed("a", nil); got != "nothing is allowed here" {
		t.Error(got)
	}
}
