package document

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
)

// Fields reads the options of one component strictly: what it does not know is a fault, and all faults are
// collected. The order is: New, one call for each option, Faults.
type Fields struct {
	source Source
	what   string
	line   int
	values map[string]*yaml.Node
	keys   map[string]*yaml.Node
	known  []string
	faults []error
}

// NewFields takes a mapping that Resolve has returned; what is its name in messages, say "consumer fs".
func NewFields(source Source, what string, mapping *yaml.Node) *Fields {
	f := &Fields{
		source: source, what: what, line: mapping.Line,
		values: map[string]*yaml.Node{}, keys: map[string]*yaml.Node{},
	}
	if mapping.Kind != yaml.MappingNode {
		f.fault(mapping.Line, "wants a mapping, say {directory: in}")
	}
	for key, value := range Pairs(mapping) {
		f.keys[key.Value], f.values[key.Value] = key, value
	}
	return f
}

func (f *Fields) fault(line int, format string, args ...any) {
	f.faults = append(f.faults, f.source.Fault(line, "%s: %s", f.what, fmt.Sprintf(format, args...)))
}

// value returns a scalar option's text.
func (f *Fields) value(key, want string) (text string, line int, found bool) {
	f.known = append(f.known, key)
	node, found := f.values[key]
	if !found {
		return "", 0, false
	}
	if node.Kind != yaml.ScalarNode || node.ShortTag() == "!!null" {
		f.fault(node.Line, "%s: want %s", key, want)
		return "", 0, false
	}
	return node.Value, node.Line, true
}

// Fault adds a fault to an option that was read.
func (f *Fields) Fault(key, format string, args ...any) {
	line := f.line
	if node, found := f.values[key]; found {
		line = node.Line
	}
	f.fault(line, "%s: %s", key, fmt.Sprintf(format, args...))
}

// Required reads an option that must be there and not be empty.
func (f *Fields) Required(key, example string) string {
	before := len(f.faults)
	text, line, found := f.value(key, "text, say "+example)
	switch {
	case found && text == "":
		f.fault(line, "%s: must not be empty; say %s", key, example)
	case !found && len(f.faults) == before:
		f.fault(f.line, "%s is missing; say %s: %s", key, key, example)
	}
	return text
}

// Text reads an optional text.
func (f *Fields) Text(key, fallback string) string {
	if text, _, found := f.value(key, "text"); found {
		return text
	}
	return fallback
}

// Texts reads a text or a list of them.
func (f *Fields) Texts(key string) []string {
	node, found := f.values[key]
	if !found || node.Kind != yaml.SequenceNode {
		if text, _, found := f.value(key, "text, or a list of texts"); found {
			return []string{text}
		}
		return nil
	}
	f.known = append(f.known, key)
	var texts []string
	for _, item := range node.Content {
		if item.Kind != yaml.ScalarNode || item.ShortTag() == "!!null" {
			f.fault(item.Line, "%s: want a list of texts", key)
			continue
		}
		texts = append(texts, item.Value)
	}
	return texts
}

// Mode reads the permissions of a file as octal digits, say 0640. ok is false if there are none, or wrong ones.
func (f *Fields) Mode(key string) (mode uint32, ok bool) {
	text, line, found := f.value(key, "permissions, say \"0640\"")
	if !found {
		return 0, false
	}
	// YAML 1.1 would take 0640 for a number of its own; the text is as it was written.
	value, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	if err != nil || value == 0 || value > 0o7777 {
		f.fault(line, "%s: %q: want permissions as octal digits, say \"0640\"", key, text)
		return 0, false
	}
	return uint32(value), true
}

// Bool reads true or false.
func (f *Fields) Bool(key string, fallback bool) bool {
	text, line, found := f.value(key, "true or false")
	if !found {
		return fallback
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		f.fault(line, "%s: %q: want true or false", key, text)
		return fallback
	}
	return value
}

// Duration reads a Go duration that is at least least.
func (f *Fields) Duration(key string, fallback, least time.Duration) time.Duration {
	text, line, found := f.value(key, "a duration, say 200ms")
	if !found {
		return fallback
	}
	value, err := time.ParseDuration(text)
	switch {
	case err != nil:
		f.fault(line, "%s: %q: want a duration, say 200ms or 5s", key, text)
	case value < least:
		f.fault(line, "%s: %s is too short: at least %s", key, text, least)
	default:
		return value
	}
	return fallback
}

// Choice reads one of several words.
func (f *Fields) Choice(key, fallback string, options ...string) string {
	text, line, found := f.value(key, "one of "+strings.Join(options, ", "))
	if !found {
		return fallback
	}
	if !slices.Contains(options, text) {
		f.fault(line, "%s: unknown value %q; %s", key, text, Allowed(text, options))
		return fallback
	}
	return text
}

// Size reads a number of bytes, with or without a unit: 64MiB, 10kB, 4096.
func (f *Fields) Size(key string, fallback int64) int64 {
	text, line, found := f.value(key, "a size, say 64MiB")
	if !found {
		return fallback
	}
	value, ok := adapter.ParseSize(text)
	if !ok {
		f.fault(line, "%s: %q: want a size in bytes above 0, say 4096, 10kB or 64MiB", key, text)
		return fallback
	}
	return value
}

// Faults returns everything that was wrong, options that nobody asked for included.
func (f *Fields) Faults() []error {
	for key, node := range f.keys {
		if !slices.Contains(f.known, key) {
			f.fault(node.Line, "unknown option %q; %s", key, Allowed(key, f.known))
		}
	}
	slices.SortStableFunc(f.faults, func(a, b error) int { return lineOf(a) - lineOf(b) })
	return f.faults
}
