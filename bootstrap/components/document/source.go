package document

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxNodes bounds what aliases may expand to.
const maxNodes = 100_000

// variable matches what Benthos's own files may contain: ${NAME}, ${NAME:default}, ${NAME|base64decode} and,
// where no variable is meant, ${{NAME}}.
var variable = regexp.MustCompile(
	`\$\{\{[0-9A-Za-z_.]+(?::[^}]*)?\}\}|\$\{([0-9A-Za-z_.]+)(:[^}|]*)?(?:\|([0-9A-Za-z]+))?\}`)

// Source is where nodes come from.
type Source struct {
	// File is the file's name as faults show it.
	File string
	// Lookup finds environment variables.
	Lookup func(name string) (string, bool)
}

// Fault makes a fault of this file.
func (s Source) Fault(line int, format string, args ...any) *Fault {
	return &Fault{File: s.File, Line: line, What: fmt.Sprintf(format, args...)}
}

// Resolve returns a copy of node in which aliases and merge keys are expanded and environment variables
// replaced. The copy's lines are those of the original. The copy is usable even if there are faults.
func (s Source) Resolve(node *yaml.Node) (*yaml.Node, []error) {
	r := resolver{source: s, following: map[*yaml.Node]bool{}}
	return r.copy(node), r.faults
}

type resolver struct {
	source    Source
	following map[*yaml.Node]bool
	nodes     int
	faults    []error
}

func (r *resolver) fault(line int, format string, args ...any) {
	r.faults = append(r.faults, r.source.Fault(line, format, args...))
}

func (r *resolver) copy(node *yaml.Node) *yaml.Node {
	if r.nodes++; r.nodes >= maxNodes {
		if r.nodes == maxNodes {
			r.fault(node.Line, "the aliases here expand to more than %d values", maxNodes)
		}
		return empty(node)
	}
	switch node.Kind {
	case yaml.DocumentNode:
		if len(node.Content) != 1 {
			return empty(node)
		}
		return r.copy(node.Content[0])
	case yaml.AliasNode:
		if node.Alias == nil || r.following[node.Alias] {
			r.fault(node.Line, "alias *%s contains itself", node.Value)
			return empty(node)
		}
		r.following[node.Alias] = true
		defer delete(r.following, node.Alias)
		return r.copy(node.Alias)
	case yaml.MappingNode:
		return r.mapping(node)
	case yaml.SequenceNode:
		result := &yaml.Node{Kind: yaml.SequenceNode, Tag: node.Tag, Line: node.Line, Column: node.Column}
		for _, child := range node.Content {
			result.Content = append(result.Content, r.copy(child))
		}
		return result
	default:
		return r.scalar(node)
	}
}

// mapping copies a mapping; keys that come in by << give way to those that stand there, as YAML has it.
func (r *resolver) mapping(node *yaml.Node) *yaml.Node {
	result := &yaml.Node{Kind: yaml.MappingNode, Tag: node.Tag, Line: node.Line, Column: node.Column}
	own := map[string]bool{}
	var merged []*yaml.Node
	for key, value := range Pairs(node) {
		if key.Tag == "!!merge" || (key.Value == "<<" && key.Style == 0 && value.Kind != yaml.ScalarNode) {
			from := r.copy(value)
			if from.Kind == yaml.SequenceNode {
				merged = append(merged, from.Content...)
			} else {
				merged = append(merged, from)
			}
			continue
		}
		if own[key.Value] {
			r.fault(key.Line, "key %q is there twice", key.Value)
		}
		own[key.Value] = true
		result.Content = append(result.Content, r.copy(key), r.copy(value))
	}
	for _, from := range merged {
		if from.Kind != yaml.MappingNode {
			r.fault(from.Line, "<< wants a mapping")
			continue
		}
		for key, value := range Pairs(from) {
			if !own[key.Value] {
				own[key.Value] = true
				result.Content = append(result.Content, key, value)
			}
		}
	}
	return result
}

func (r *resolver) scalar(node *yaml.Node) *yaml.Node {
	result := &yaml.Node{
		Kind: yaml.ScalarNode, Tag: node.Tag, Value: node.Value, Style: node.Style,
		Line: node.Line, Column: node.Column,
	}
	if !strings.Contains(node.Value, "${") {
		return result
	}
	result.Value = variable.ReplaceAllStringFunc(node.Value, func(found string) string {
		if strings.HasPrefix(found, "${{") {
			return "${" + found[3:len(found)-1]
		}
		part := variable.FindStringSubmatch(found)
		return r.expand(node.Line, part[1], part[2], part[3])
	})
	if result.Value == node.Value || node.Style != 0 {
		return result
	}
	// A plain value may have become a number or a truth value, as if it had stood there.
	result.Tag = ""
	if result.Value == "" {
		result.Tag, result.Style = "!!str", yaml.DoubleQuotedStyle
	}
	return result
}

// expand gives a variable's value. fallback begins with a colon if there is one.
func (r *resolver) expand(line int, name, fallback, function string) string {
	value, found := r.source.Lookup(name)
	if !found && fallback == "" {
		r.fault(line, "environment variable %s is not set: set it, or give a default with ${%s:default}", name, name)
		return ""
	}
	if value == "" && fallback != "" {
		value = fallback[1:]
	}
	switch function {
	case "":
	case "base64decode":
		decoded, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			r.fault(line, "environment variable %s is not base64: %v", name, err)
		}
		value = string(decoded)
	default:
		r.fault(line, "${%s|%s}: unknown function %q; allowed here: base64decode", name, function, function)
	}
	if !utf8.ValidString(value) {
		r.fault(line, "environment variable %s is not valid UTF-8", name)
		return ""
	}
	return value
}

func empty(node *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null", Line: node.Line, Column: node.Column}
}

// Pairs iterates over the keys and values of a mapping, in order; over nothing if node is no mapping.
func Pairs(node *yaml.Node) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		if node == nil || node.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			if !yield(node.Content[i], node.Content[i+1]) {
				return
			}
		}
	}
}
