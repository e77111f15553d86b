package benthos

import (
	"context"
	"log/slog"
	"strings"
)

// componentsPath is where, in Benthos's view, our components stand: below a field of the idle input.
const componentsPath = "root.input." + idleInput + "." + componentsField + "."

// logHandler turns Benthos's path fields, which pile up and begin with the idle stream, into one field
// "component" with the component's path in the adapter. What the idle stream says of itself is dropped.
type logHandler struct {
	next slog.Handler
	path string
}

// Enabled says whether the level is logged.
func (h *logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle logs a record.
func (h *logHandler) Handle(ctx context.Context, record slog.Record) error {
	record.Message = strings.TrimSpace(record.Message)
	switch rest, ours := strings.CutPrefix(h.path, componentsPath); {
	case ours:
		component, inner, nested := strings.Cut(rest, ".")
		record.AddAttrs(slog.String("component", unescapePath(component)))
		if nested {
			record.AddAttrs(slog.String("path", inner))
		}

	case strings.HasPrefix(h.path, "root.input"), strings.HasPrefix(h.path, "root.output"):
		return nil
	case h.path != "":
		record.AddAttrs(slog.String("path", strings.TrimPrefix(h.path, "root.")))
	}
	return h.next.Handle(ctx, record)
}

// WithAttrs keeps the last path, and no empty label.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	result := *h
	var others []slog.Attr
	for _, attr := range attrs {
		switch {
		case attr.Key == "path":
			result.path = attr.Value.String()
		case attr.Key == "label" && attr.Value.String() == "":
		default:
			others = append(others, attr)
		}
	}
	if len(others) > 0 {
		result.next = result.next.WithAttrs(others)
	}
	return &result
}

// WithGroup opens a group.
func (h *logHandler) WithGroup(name string) slog.Handler {
	result := *h
	result.next = result.next.WithGroup(name)
	return &result
}

// unescapePath undoes what Benthos does to dots in path segments.
func unescapePath(segment string) string {
	return strings.NewReplacer("~1", ".", "~0", "~").Replace(segment)
}
