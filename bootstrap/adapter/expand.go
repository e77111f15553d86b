package adapter

import (
	"maps"

	"gopkg.in/yaml.v3"
)

// maxNodes is how large a file may become once its aliases are written out. A few lines of aliases of
// aliases would fill the memory otherwise.
const maxNodes = 200_000

// expand returns a copy of the tree without aliases, anchors and merge keys, so that any part of it stands
// for itself, and reports keys that are set twice.
func (r *reader) expand(n *yaml.Node) *yaml.Node {
	r.nodes++
	if r.nodes > maxNodes {
		if r.nodes == maxNodes+1 {
			r.fault(n, "adapter", "the file has more than %d parts when its aliases are written out", maxNodes)
		}
		return null(n)
	}
	if n.Kind == yaml.AliasNode {
		return r.alias(n)
	}
	if n.Anchor != "" {
		if r.open == nil {
			r.open = map[*yaml.Node]bool{}
		}
		r.open[n] = true
		defer delete(r.open, n)
	}
	out := *n
	out.Anchor, out.Content = "", nil
	if n.Kind == yaml.MappingNode {
		r.pairs(n, &out)
		return &out
	}
	for _, c := range n.Content {
		out.Content = append(out.Content, r.expand(c))
	}
	return &out
}

func (r *reader) alias(n *yaml.Node) *yaml.Node {
	if n.Alias == nil || r.open[n.Alias] {
		r.fault(n, "*"+n.Value, "the alias contains itself")
		return null(n)
	}
	out := r.expand(n.Alias)
	// A fault in what the alias stands for is best found where that was written, so only the alias's own
	// place in the file is lost.
	return out
}

func null(at *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: at.Line, Column: at.Column}
}

// keyOf tells keys apart; complex keys have none, and are reported where the mapping is read.
func keyOf(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// pairs fills out with the keys and values of n. Keys that come through << yield to those that are written.
func (r *reader) pairs(n, out *yaml.Node) {
	lines := map[string]int{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.Tag == "!!merge" {
			merged = append(merged, r.merged(value)...)
			continue
		}
		key = r.expand(key)
		if name := keyOf(key); name != "" {
			if first, ok := lines[name]; ok {
				r.fault(key, name, "the key is set twice, first on line %d; want it once", first)
				continue
			}
			lines[name] = key.Line
		}
		out.Content = append(out.Content, key, r.expand(value))
	}
	seen := maps.Clone(lines)
	for i := 0; i+1 < len(merged); i += 2 {
		name := keyOf(merged[i])
		if _, ok := seen[name]; name != "" && ok {
			continue
		}
		seen[name] = merged[i].Line
		out.Content = append(out.Content, merged[i], merged[i+1])
	}
}

// merged returns the keys and values that << brings in: those of a mapping, or of several in a list.
func (r *reader) merged(value *yaml.Node) []*yaml.Node {
	value = r.expand(value)
	switch value.Kind {
	case yaml.MappingNode:
		return value.Content
	case yaml.SequenceNode:
		var all []*yaml.Node
		for _, v := range value.Content {
			if v.Kind != yaml.MappingNode {
				r.fault(v, "<<", "only mappings can be merged; want a mapping or a list of them")
				continue
			}
			all = append(all, v.Content...)
		}
		return all
	}
	r.fault(value, "<<", "only mappings can be merged; want a mapping or a list of them")
	return nil
}
