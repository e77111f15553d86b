package cli

import (
	"context"
	"io"
	"log/slog"

	"github.com/understudy-ha/understudy/bootstrap/config"
)

// newLogger writes text or JSON lines. Each carries what attrs returns at that moment: the node, its role and
// its term.
func newLogger(w io.Writer, format string, level slog.Level, attrs func() []slog.Attr) *slog.Logger {
	opt := &slog.HandlerOptions{Level: level, ReplaceAttr: nameTrace}
	var h slog.Handler = slog.NewTextHandler(w, opt)
	if format == "json" {
		h = slog.NewJSONHandler(w, opt)
	}
	return slog.New(nodeHandler{h, attrs})
}

func nameTrace(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.LevelKey && a.Value.Any() == config.LevelTrace {
		return slog.String(slog.LevelKey, "TRACE")
	}
	return a
}

// nodeHandler adds attributes that change over time to each record. What a record says itself counts: a plugin
// knows of a promotion before its host does.
type nodeHandler struct {
	slog.Handler
	attrs func() []slog.Attr
}

func (h nodeHandler) Handle(ctx context.Context, r slog.Record) error {
	for _, a := range h.attrs() {
		if !has(r, a.Key) {
			r.AddAttrs(a)
		}
	}
	return h.Handler.Handle(ctx, r)
}

func has(r slog.Record, key string) (found bool) {
	r.Attrs(func(a slog.Attr) bool {
		found = found || a.Key == key
		return !found
	})
	return found
}

func (h nodeHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return nodeHandler{h.Handler.WithAttrs(attrs), h.attrs}
}

func (h nodeHandler) WithGroup(name string) slog.Handler {
	return nodeHandler{h.Handler.WithGroup(name), h.attrs}
}
