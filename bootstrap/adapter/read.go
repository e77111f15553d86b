package adapter

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"

	"github.com/understudy-ha/understudy/profiler"
)

const (
	maxPool     = 1024
	maxRetries  = 1000
	maxIDLength = 200
)

// values are the settings of one mapping.
type values map[string]*yaml.Node

func (r *reader) config(root *yaml.Node) *Config {
	cfg := &Config{}
	top := r.mapping(root, "the file", "adapter")
	node, ok := top["adapter"]
	if !ok {
		if root.Kind == yaml.MappingNode {
			r.fault(root, "adapter", "missing; want a mapping with %s", list("id", "resources", "http", "on-error", "failed", "channels"))
		}
		return cfg
	}
	const path = "adapter"
	v := r.mapping(node, path, "id", "resources", "http", "on-error", "failed", "channels")
	cfg.ID = r.id(v, path, "")
	if cfg.ID == "" && v != nil && v["id"] == nil {
		r.fault(node, "adapter.id", "missing; want a name, which is also the name of the cluster")
	}
	cfg.Resources, cfg.HTTP = v["resources"], v["http"]
	cfg.OnError = r.onError(v, path, cfg.ID)
	cfg.Failed = r.failed(v, path+".failed")
	names := &names{channels: map[string]int{}, workflows: map[string]int{}}
	for i, n := range r.items(node, v, path, "channels", "channels") {
		cfg.Channels = append(cfg.Channels, r.channel(n, cfg.ID, i, names))
	}
	return cfg
}

// names has the line of each id that was given, and how many workflows there are.
type names struct {
	channels, workflows map[string]int
	count               int
}

func (r *reader) channel(n *yaml.Node, adapter string, i int, ids *names) ChannelConfig {
	path := fmt.Sprintf("adapter.channels[%d]", i)
	v := r.mapping(n, path, "id", "on-error", "workflows")
	c := ChannelConfig{ID: r.id(v, path, fmt.Sprintf("channel-%d", i+1))}
	r.unique(ids.channels, c.ID, v["id"], n, path, "channel")
	place := adapter + "/" + c.ID
	c.OnError = r.onError(v, path, place)
	for k, w := range r.items(n, v, path, "workflows", "workflows") {
		c.Workflows = append(c.Workflows, r.workflow(w, place, fmt.Sprintf("%s.workflows[%d]", path, k), ids))
	}
	return c
}

func (r *reader) workflow(n *yaml.Node, place, path string, ids *names) WorkflowConfig {
	v := r.mapping(n, path, "id", "pool", "on-takeover", "acknowledge", "retries", "retry", "restart", "throttle", "metrics", "consumer", "services", "producer", "on-error")
	ids.count++
	w := WorkflowConfig{
		ID:    r.id(v, path, fmt.Sprintf("workflow-%d", ids.count)),
		Pool:  r.number(v, path, "pool", 1, 1, maxPool),
		Retry: r.retry(v, path), Restart: r.restart(v, path), Throttle: r.throttle(v, path),
		Metrics: r.metrics(v, path),
	}
	r.unique(ids.workflows, w.ID, v["id"], n, path, "workflow")
	switch r.word(v, path, "on-takeover", "replay", "hold", "drop") {
	case "hold":
		w.OnTakeover = TakeoverHold
	case "drop":
		w.OnTakeover = TakeoverDrop
	}
	w.AcknowledgeEarly = r.word(v, path, "acknowledge", "late", "early") == "early"
	place += "/" + w.ID
	steps := map[string]int{}
	w.Consumer = r.required(n, v, path, "consumer", profiler.KindConsumer, place, steps)
	for i, s := range r.optionalItems(v, path, "services") {
		w.Services = append(w.Services, r.service(s, fmt.Sprintf("%s.services[%d]", path, i), i, place, steps))
	}
	w.Producer = r.required(n, v, path, "producer", profiler.KindProducer, place, steps)
	if w.OnError = r.onError(v, path, place); w.OnError != nil && !w.OnError.Store {
		r.unique(steps, w.OnError.Spec.ID, nil, v["on-error"], path+".on-error", "step")
	}
	return w
}

func (r *reader) service(n *yaml.Node, path string, i int, place string, steps map[string]int) ServiceConfig {
	spec, v := r.component(n, path, profiler.KindService, place, fmt.Sprintf("service-%d", i+1), "id", "checkpoint")
	r.unique(steps, spec.ID, v["id"], n, path, "step")
	s := ServiceConfig{Spec: spec}
	if c, ok := v["checkpoint"]; ok {
		if c.Kind != yaml.ScalarNode || c.Tag != "!!bool" || c.Decode(&s.Checkpoint) != nil {
			r.fault(c, path+".checkpoint", "%s is not allowed; want true or false", show(c))
		}
	}
	return s
}

func (r *reader) required(at *yaml.Node, v values, path, key string, kind profiler.Kind, place string, steps map[string]int) Spec {
	n, ok := v[key]
	if !ok {
		if v != nil {
			r.fault(at, path+"."+key, "missing; want one %s, say {fs: {directory: %s}}", key, key)
		}
		return Spec{}
	}
	spec, own := r.component(n, path+"."+key, kind, place, key, "id")
	r.unique(steps, spec.ID, own["id"], n, path+"."+key, "step")
	return spec
}

// wordStore is the on-error that is no component.
const wordStore = "store"

func (r *reader) onError(v values, path, place string) *ErrorHandler {
	n, ok := v["on-error"]
	if !ok {
		return nil
	}
	if n.Kind == yaml.ScalarNode && n.Value == wordStore {
		return &ErrorHandler{Store: true}
	}
	if n.Kind != yaml.MappingNode {
		r.fault(n, path+".on-error", "%s is not allowed; want store (the failed-message store), or a producer, say {fs: {...}}", show(n))
		return nil
	}
	spec, _ := r.component(n, path+".on-error", profiler.KindProducer, place, "on-error", "id")
	return &ErrorHandler{Spec: spec}
}

// component reads a mapping with the component's type as the one key that is not the engine's own.
func (r *reader) component(n *yaml.Node, path string, kind profiler.Kind, place, id string, own ...string) (Spec, values) {
	if n.Kind != yaml.MappingNode {
		r.fault(n, path, "%s is not allowed; want a mapping with the type of the %s as key, say {fs: {...}}", show(n), kind)
		return Spec{}, nil
	}
	v, part := values{}, *n
	part.Content = nil
	var types []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind == yaml.ScalarNode && slices.Contains(own, key.Value) {
			v[key.Value] = n.Content[i+1]
			continue
		}
		part.Content = append(part.Content, key, n.Content[i+1])
		if key.Kind != yaml.ScalarNode || key.Value == "" {
			r.fault(key, path, "%s is not allowed as a key; want the type of the %s", show(key), kind)
			continue
		}
		types = append(types, key.Value)
	}
	spec := Spec{Kind: kind, ID: r.id(v, path, id), File: r.file, Node: &part}
	spec.Path = place + "/" + spec.ID
	switch len(types) {
	case 1:
		spec.Type = types[0]
	case 0:
		r.fault(n, path, "the type of the %s is missing; want it as key, beside %s", kind, list(own...))
	default:
		r.fault(n, path, "more than one type of %s: %s; want exactly one, beside %s", kind, list(types...), list(own...))
	}
	return spec, v
}

// mapping reads a mapping whose keys are all known. nil means that n is none, which has been reported.
func (r *reader) mapping(n *yaml.Node, path string, allowed ...string) values {
	if n.Kind != yaml.MappingNode {
		r.fault(n, path, "%s is not allowed; want a mapping with %s", show(n), list(allowed...))
		return nil
	}
	v := values{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || !slices.Contains(allowed, key.Value) {
			r.fault(key, path+"."+clip(key.Value), "unknown key; want %s", list(allowed...))
			continue
		}
		v[key.Value] = n.Content[i+1]
	}
	return v
}

// items reads a list that must not be empty.
func (r *reader) items(at *yaml.Node, v values, path, key, what string) []*yaml.Node {
	if v == nil {
		return nil
	}
	if n, ok := v[key]; !ok || n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		r.fault(at, path+"."+key, "missing; want a list of %s", what)
		return nil
	}
	return r.optionalItems(v, path, key)
}

func (r *reader) optionalItems(v values, path, key string) []*yaml.Node {
	n, ok := v[key]
	if !ok {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.fault(n, path+"."+key, "%s is not allowed; want a list", show(n))
		return nil
	}
	return n.Content
}

// id reads a name that becomes a part of a path.
func (r *reader) id(v values, path, standard string) string {
	n, ok := v["id"]
	if !ok {
		return standard
	}
	bad := func(c rune) bool {
		return c == '/' || unicode.IsControl(c) || unicode.IsSpace(c) || c == unicode.ReplacementChar
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Value == "" || len(n.Value) > maxIDLength || strings.ContainsFunc(n.Value, bad) {
		r.fault(n, path+".id", "%s is not allowed; want a name of at most %d bytes without spaces and /", show(n), maxIDLength)
		return standard
	}
	return n.Value
}

func (r *reader) unique(lines map[string]int, id string, at, or *yaml.Node, path, what string) {
	if at == nil {
		at = or
	}
	if first, ok := lines[id]; ok {
		r.fault(at, path+".id", "%q is also the id of the %s on line %d; want each id once", id, what, first)
		return
	}
	lines[id] = at.Line
}

func (r *reader) number(v values, path, key string, standard, low, high int) int {
	n, ok := v[key]
	if !ok {
		return standard
	}
	i, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil || i < low || i > high {
		r.fault(n, path+"."+key, "%s is not allowed; want a whole number from %d to %d", show(n), low, high)
		return standard
	}
	return i
}

// word reads one of several words; the first is the default.
func (r *reader) word(v values, path, key string, allowed ...string) string {
	n, ok := v[key]
	if !ok {
		return allowed[0]
	}
	if n.Kind != yaml.ScalarNode || !slices.Contains(allowed, n.Value) {
		r.fault(n, path+"."+key, "%s is not allowed; want one of %s", show(n), list(allowed...))
		return allowed[0]
	}
	return n.Value
}

// show names a value in a fault.
func show(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "an empty value"
	}
	return strconv.Quote(clip(n.Value))
}

func clip(s string) string {
	const most = 60
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

func list(words ...string) string {
	shown := make([]string, len(words))
	for i, w := range words {
		shown[i] = clip(w)
	}
	return strings.Join(shown, ", ")
}
