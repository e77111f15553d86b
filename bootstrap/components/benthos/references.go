package benthos

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/understudy-ha/understudy/bootstrap/components/document"
)

// Benthos looks for the resources that a component names when it builds it, which for inputs and outputs is when the
// node is promoted; and resources that name each other in a circle overflow its stack, which ends the process. So both
// are looked for in the file.

// resourceKinds are the lists of resources, and how their names are written where they are used.
var resourceKinds = []string{"cache_resources", "rate_limit_resources", "processor_resources", "input_resources", "output_resources"}

const (
	kindCache     = "cache_resources"
	kindRateLimit = "rate_limit_resources"
	// kindComponent is a processor, an input or an output.
	kindComponent = ""
)

// freeKeys have mappings whose keys the user chooses.
var freeKeys = []string{"headers", "fields", "metadata", "labels", "env", "tags", "extra_headers"}

// resource is one that the file has.
type resource struct {
	kind, label string
	node        *yaml.Node
}

// reference is the use of one.
type reference struct {
	kind, label string
	line        int
}

func (r *Runtime) resources() []resource {
	var found []resource
	for key, list := range document.Pairs(r.config.Resources) {
		if !slices.Contains(resourceKinds, key.Value) {
			continue
		}
		for _, node := range list.Content {
			for name, label := range document.Pairs(node) {
				if name.Value == "label" && label.Kind == yaml.ScalarNode {
					found = append(found, resource{kind: key.Value, label: label.Value, node: node})
				}
			}
		}
	}
	return found
}

// references finds the names of resources in a component. in is the key that node stands below.
func references(node *yaml.Node, in string) []reference {
	var found []reference
	for key, value := range document.Pairs(node) {
		if kind, names := referenceAt(key.Value, in, value); len(names) > 0 {
			for _, name := range names {
				if name.Value != "" && !strings.Contains(name.Value, "${!") {
					found = append(found, reference{kind: kind, label: name.Value, line: name.Line})
				}
			}
			continue
		}
		if !slices.Contains(freeKeys, key.Value) {
			found = append(found, references(value, key.Value)...)
		}
	}
	if node != nil && node.Kind == yaml.SequenceNode {
		for _, child := range node.Content {
			found = append(found, references(child, in)...)
		}
	}
	return found
}

// referenceAt says which resources a key names, if it names any.
func referenceAt(key, in string, value *yaml.Node) (kind string, names []*yaml.Node) {
	if value.Kind == yaml.SequenceNode && key == "multilevel" {
		return kindCache, value.Content
	}
	if value.Kind != yaml.ScalarNode {
		return "", nil
	}
	one := []*yaml.Node{value}
	switch {
	case key == "resource" && in == "cache", key == "cache", key == "target" && in == "cache":
		return kindCache, one
	case key == "resource" && in == "rate_limit", key == "rate_limit":
		return kindRateLimit, one
	case key == "resource":
		return kindComponent, one
	}
	return "", nil
}

func (ref reference) names(r resource) bool {
	return ref.label == r.label &&
		(ref.kind == r.kind || ref.kind == kindComponent && r.kind != kindCache && r.kind != kindRateLimit)
}

// missing reports the resources that a component names and the file does not have.
func (r *Runtime) missing(source document.Source, what string, node *yaml.Node) []error {
	var faults []error
	resources := r.resources()
	for _, ref := range references(node, "") {
		if slices.ContainsFunc(resources, ref.names) {
			continue
		}
		var labels []string
		for _, res := range resources {
			if ref.kind == res.kind || ref.kind == kindComponent && res.kind != kindCache && res.kind != kindRateLimit {
				labels = append(labels, res.label)
			}
		}
		slices.Sort(labels)
		kind := strings.ReplaceAll(strings.TrimSuffix(ref.kind, "_resources"), "_", " ")
		if kind == "" {
			kind = "component"
		}
		faults = append(faults, source.Fault(ref.line, "%s: there is no %s resource %q; %s", what, kind, ref.label,
			document.Allowed(ref.label, labels)))
	}
	return faults
}

// checkReferences reports resources that name what is not there, or each other in a circle, and labels that are used
// twice.
func (r *Runtime) checkReferences() []error {
	var faults []error
	source := r.config.Source
	resources := r.resources()
	for i, res := range resources {
		faults = append(faults, r.missing(source, "resource "+res.label, res.node)...)
		for _, other := range resources[:i] {
			if other.label == res.label && other.kind == res.kind {
				faults = append(faults, source.Fault(res.node.Line, "resources: label %q is also that of the resource on line %d; want each once",
					res.label, other.node.Line))
			}
		}
	}
	c := circles{resources: resources, source: source, state: map[int]int{}}
	for i := range resources {
		c.visit(i)
	}
	return append(faults, c.faults...)
}

// circles walks along the references, in depth.
type circles struct {
	resources []resource
	source    document.Source
	// state is 1 for resources on the way, 2 for those that were looked at.
	state  map[int]int
	way    []int
	faults []error
}

func (c *circles) visit(i int) {
	switch c.state[i] {
	case 1:
		c.report(i)
		return
	case 2:
		return
	}
	c.state[i] = 1
	c.way = append(c.way, i)
	for _, ref := range references(c.resources[i].node, "") {
		for k := range c.resources {
			if ref.names(c.resources[k]) {
				c.visit(k)
			}
		}
	}
	c.way = c.way[:len(c.way)-1]
	c.state[i] = 2
}

func (c *circles) report(from int) {
	var names []string
	for _, i := range c.way[slices.Index(c.way, from):] {
		names = append(names, fmt.Sprintf("%s (line %d)", c.resources[i].label, c.resources[i].node.Line))
	}
	first := c.resources[from]
	names = append(names, first.label)
	c.faults = append(c.faults, c.source.Fault(first.node.Line, "resources: they use each other in a circle: %s", strings.Join(names, " > ")))
}
