package loader

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/plugins/contract"
)

// parseRecord reads a line of a plugin's log, a JSON object with hclog's field names, which contract.NewLogger
// and hclog itself write. The order of the fields is kept; of two with the same name hclog's is the first.
func parseRecord(line []byte) (slog.Record, bool) {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return slog.Record{}, false
	}
	var (
		attrs           []slog.Attr
		message, level  string
		at              time.Time
		spoken, leveled bool
	)
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return slog.Record{}, false
		}
		var value any
		if err := decoder.Decode(&value); err != nil {
			return slog.Record{}, false
		}
		name, _ := key.(string)
		text, isText := value.(string)
		switch {
		case name == "@message" && isText && !spoken:
			message, spoken = text, true
		case name == "@level" && isText && !leveled:
			level, leveled = text, true
		case name == "@timestamp" && isText && at.IsZero():
			at, _ = contract.ParseLogTime(text)
		case name == "@module":
			// The attribute plugin says it, as long as the plugin has not split its log.
			if strings.Contains(text, ".") {
				attrs = append(attrs, slog.String("module", text))
			}
		default:
			attrs = append(attrs, slog.Any(name, value))
		}
	}
	if !spoken {
		return slog.Record{}, false
	}
	if at.IsZero() {
		at = time.Now()
	}
	record := slog.NewRecord(at, contract.ParseLevel(level), message, 0)
	record.AddAttrs(attrs...)
	return record, true
}

// emit logs a record as it is, with the plugin's own time.
func emit(logger *slog.Logger, record slog.Record) {
	ctx := context.Background()
	if handler := logger.Handler(); handler.Enabled(ctx, record.Level) {
		_ = handler.Handle(ctx, record)
	}
}
