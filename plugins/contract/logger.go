package contract

import (
	"log/slog"
	"os"
	"strings"
	"time"
)

// LevelTrace is below slog's debug, as hclog has it.
const LevelTrace = slog.LevelDebug - 4

// stderr is the process's own: go-plugin puts a pipe in the place of os.Stderr once it serves, and a
// logger that is made later would write there in pieces.
var stderr = os.Stderr

// hclogTime is the form of @timestamp that go-plugin's host side reads.
const hclogTime = "2006-01-02T15:04:05.000000Z07:00"

// NewLogger makes the logger of a plugin: one JSON object a line on standard error, with the field names of
// hclog, which the host takes apart again. A nil level means the level of the host's own log.
func NewLogger(name string, level slog.Leveler) *slog.Logger {
	if level == nil {
		level = ParseLevel(os.Getenv(EnvLogLevel))
	}
	handler := slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: level, ReplaceAttr: toHclog})
	return slog.New(handler).With("@module", name)
}

// toHclog renames what slog writes by itself. An attribute of a caller that has one of those names is told
// apart by its type, except msg: the reader takes the first.
func toHclog(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.TimeKey:
		if a.Value.Kind() == slog.KindTime {
			return slog.String("@timestamp", a.Value.Time().Format(hclogTime))
		}
	case slog.LevelKey:
		if level, ok := a.Value.Any().(slog.Level); ok {
			return slog.String("@level", LevelName(level))
		}
	case slog.MessageKey:
		return slog.Attr{Key: "@message", Value: a.Value}
	}
	return a
}

// LevelName gives the hclog name of the level at or below level: trace, debug, info, warn or error.
func LevelName(level slog.Level) string {
	switch {
	case level < slog.LevelDebug:
		return "trace"
	case level < slog.LevelInfo:
		return "debug"
	case level < slog.LevelWarn:
		return "info"
	case level < slog.LevelError:
		return "warn"
	}
	return "error"
}

// ParseLevel reads what LevelName wrote; anything else is info.
func ParseLevel(name string) slog.Level {
	switch strings.ToLower(name) {
	case "trace":
		return LevelTrace
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}

// ParseLogTime reads the @timestamp of a log line of a plugin.
func ParseLogTime(s string) (time.Time, error) { return time.Parse(hclogTime, s) }
