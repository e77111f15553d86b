package benthos

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"
	"gopkg.in/yaml.v3"

	"github.com/understudy-ha/understudy/bootstrap/components/document"
)

// Kind is what Benthos calls a kind of component.
type Kind string

// The kinds that can stand in an adapter file.
const (
	KindInput     Kind = "input"
	KindProcessor Kind = "processor"
	KindOutput    Kind = "output"
)

// Names are the types of a kind that can stand in an adapter file.
func (r *Runtime) Names(kind Kind) []string {
	var names []string
	add := func(name string, view *service.ConfigView) {
		if !view.IsDeprecated() {
			names = append(names, name)
		}
	}
	switch kind {
	case KindInput:
		r.plain.WalkInputs(add)
	case KindProcessor:
		r.plain.WalkProcessors(add)
	case KindOutput:
		r.plain.WalkOutputs(add)
	}
	return names
}

// view returns the description of a type, deprecated ones included.
func (r *Runtime) view(kind Kind, name string) (view *service.ConfigView, known bool) {
	switch kind {
	case KindInput:
		return r.plain.GetInputConfig(name)
	case KindProcessor:
		return r.plain.GetProcessorConfig(name)
	case KindOutput:
		return r.plain.GetOutputConfig(name)
	}
	return nil, false
}

// fieldNames are the names of all fields of a type, those of inner objects included.
func fieldNames(view *service.ConfigView) []string {
	data, err := view.TemplateData()
	if err != nil {
		return nil // no suggestion then
	}
	var names []string
	for _, field := range data.Fields {
		name := strings.TrimSuffix(field.FullName, "[]")
		names = append(names, name[strings.LastIndex(name, ".")+1:])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Check reports what is wrong with a resolved component. what is its kind in messages, names the types that are
// offered when its type is unknown. Resources that it names are not looked for: they show when it is built.
func (r *Runtime) Check(
	source document.Source, kind Kind, what, name string, node *yaml.Node, names []string,
) []error {
	view, known := r.view(kind, name)
	if !known {
		return []error{source.Fault(keyLine(node, name), "%s: unknown type %q; %s", what, name,
			document.Allowed(name, names))}
	}
	text, err := document.NewText(trimmed(node))
	if err != nil {
		return []error{source.Fault(node.Line, "%s %s: %v", what, name, err)}
	}
	lints, err := r.plain.NewComponentConfigLinter().SetSkipEnvVarCheck(true).LintYAML(string(kind), []byte(text.YAML))
	if err != nil {
		return []error{source.Fault(node.Line, "%s %s: %v", what, name, err)}
	}
	for i, lint := range lints {
		if field, found := strings.CutPrefix(lint.What, "field "); found && lint.Type == service.LintUnknown {
			field = strings.TrimSuffix(field, " not recognised")
			lints[i].What += "; " + document.Allowed(field, fieldNames(view))
		}
	}
	faults := lintFaults(source, what+" "+name, lints, text)
	faults = append(faults, r.missing(source, what, node)...)
	if r.config.Mux == nil {
		for _, line := range unserved(node) {
			faults = append(faults, source.Fault(line,
				"%s: http_server needs an address here, say address: 0.0.0.0:8080, or an adapter.http that several can share", what))
		}
	}
	return faults
}

// CheckResources reports what is wrong with the resources.
func (r *Runtime) CheckResources() []error {
	if r.config.Resources == nil {
		return nil
	}
	return append(r.lintResources(), r.checkReferences()...)
}

func (r *Runtime) lintResources() []error {
	node, source := r.config.Resources, r.config.Source
	text, err := document.NewText(node)
	if err == nil {
		// The builder lints as it reads.
		err = r.plain.NewStreamBuilder().AddResourcesYAML(text.YAML)
	}
	var lints service.LintError
	var lint service.Lint
	switch {
	case err == nil:
		return nil
	case errors.As(err, &lints):
		return lintFaults(source, "resources", lints, text)
	case errors.As(err, &lint):
		return lintFaults(source, "resources", service.LintError{lint}, text)
	}
	return []error{source.Fault(node.Line, "resources: %v", err)}
}

// lintFaults gives lints the lines of the file. Benthos reports some twice, and in no order.
func lintFaults(source document.Source, what string, lints []service.Lint, text *document.Text) []error {
	var found []document.Fault
	for _, lint := range lints {
		if lint.Type == service.LintShouldOmit {
			continue // superfluous, but not wrong
		}
		line := text.Line(lint.Line, lint.Type == service.LintBadBloblang)
		reason := strings.Join(strings.Fields(lint.What), " ")
		if fault := *source.Fault(line, "%s: %s", what, reason); !slices.Contains(found, fault) {
			found = append(found, fault)
		}
	}
	slices.SortStableFunc(found, func(a, b document.Fault) int { return cmp.Compare(a.Line, b.Line) })
	faults := make([]error, len(found))
	for i := range found {
		faults[i] = &found[i]
	}
	return faults
}

// trimmed returns a copy without spaces at the ends of lines in | blocks: they would be written in quotes, on
// one line, and the lines of faults in them be lost.
func trimmed(node *yaml.Node) *yaml.Node {
	result := *node
	if node.Style&yaml.LiteralStyle != 0 {
		lines := strings.Split(node.Value, "\n")
		for i, line := range lines {
			lines[i] = strings.TrimRight(line, " \t")
		}
		result.Value = strings.Join(lines, "\n")
	}
	result.Content = make([]*yaml.Node, len(node.Content))
	for i, child := range node.Content {
		result.Content[i] = trimmed(child)
	}
	return &result
}

// Unserved says whether there are http_server components without an address of their own in a resolved node.
func Unserved(node *yaml.Node) bool { return len(unserved(node)) > 0 }

// unserved returns the lines of http_server components without an address, which somebody else has to serve.
func unserved(node *yaml.Node) []int {
	var lines []int
	for key, value := range document.Pairs(node) {
		if key.Value == "http_server" && value.Kind == yaml.MappingNode && !hasText(value, "address") {
			lines = append(lines, key.Line)
		}
	}
	for _, child := range node.Content {
		lines = append(lines, unserved(child)...)
	}
	return lines
}

func hasText(mapping *yaml.Node, name string) bool {
	for key, value := range document.Pairs(mapping) {
		if key.Value == name {
			return strings.TrimSpace(value.Value) != ""
		}
	}
	return false
}

func keyLine(node *yaml.Node, name string) int {
	for key := range document.Pairs(node) {
		if key.Value == name {
			return key.Line
		}
	}
	return node.Line
}
