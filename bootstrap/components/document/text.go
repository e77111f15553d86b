package document

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// Text is a resolved node as YAML text of its own, for readers that take only text, and replace variables.
type Text struct {
	YAML  string
	lines map[int]place
}

// place is where a line of the text came from.
type place struct {
	line int
	// literal: the node is a | block, so the lines below it correspond one to one.
	literal bool
}

// NewText writes a node that Resolve has returned.
func NewText(node *yaml.Node) (*Text, error) {
	var out strings.Builder
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(escape(node)); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	text := &Text{YAML: out.String(), lines: map[int]place{}}
	var written yaml.Node
	if err := yaml.Unmarshal([]byte(text.YAML), &written); err != nil {
		return nil, fmt.Errorf("read YAML again: %w", err)
	}
	if len(written.Content) == 1 {
		text.trace(written.Content[0], node)
	}
	return text, nil
}

// trace walks both trees at once: they have the same shape.
func (t *Text) trace(written, original *yaml.Node) {
	if _, known := t.lines[written.Line]; !known {
		t.lines[written.Line] = place{line: original.Line}
	}
	if written.Style&yaml.LiteralStyle != 0 && original.Style&yaml.LiteralStyle != 0 {
		t.lines[written.Line] = place{line: original.Line, literal: true}
	}
	for i := range min(len(written.Content), len(original.Content)) {
		t.trace(written.Content[i], original.Content[i])
	}
}

// Line is the line of the original file that a line of the text came from. inner is true for a line that was
// counted from the start of a | block, whose first line is the one below the |.
func (t *Text) Line(line int, inner bool) int {
	for at := line; at > 0; at-- {
		from, known := t.lines[at]
		switch {
		case !known:
		case from.literal && inner:
			return from.line + line - at + 1
		case from.literal:
			return from.line + line - at
		default:
			return from.line
		}
	}
	return 0
}

// escape makes ${NAME} in values safe from a second replacement.
func escape(node *yaml.Node) *yaml.Node {
	result := *node
	if strings.Contains(node.Value, "${") {
		result.Value = variable.ReplaceAllStringFunc(node.Value, func(found string) string {
			if strings.HasPrefix(found, "${{") {
				return found
			}
			return "${{" + found[2:] + "}"
		})
	}
	result.Content = make([]*yaml.Node, len(node.Content))
	for i, child := range node.Content {
		result.Content[i] = escape(child)
	}
	return &result
}
