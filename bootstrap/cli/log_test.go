package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/config"
)

func TestLogLines(t *testing.T) {
	attrs := func() []slog.Attr {
		return []slog.Attr{slog.String("node", "a"), slog.String("role", "standby")}
	}
	var out bytes.Buffer
	log := newLogger(&out, "json", config.LevelTrace, attrs)
	log.Info("hello")
	log.With("plugin", "failover").Info("Promoted to Master node", "role", "master")
	log.Log(context.Background(), config.LevelTrace, "fine")

	want := []map[string]any{
		{"level": "INFO", "msg": "hello", "node": "a", "role": "standby"},
		// What a plugin says of itself counts: it knows of a promotion before the host does.
		{"level": "INFO", "msg": "Promoted to Master node", "plugin": "failover", "node": "a", "role": "master"},
		{"level": "TRACE", "msg": "fine", "node": "a", "role": "standby"},
	}
	lines := json.NewDecoder(&out)
	for i, w := range want {
		var got map[string]any
		if err := lines.Decode(&got); err != nil {
			t.Fatal(err)
		}
		delete(got, "time")
		if len(got) != len(w) {
			t.Errorf("line %d: %v, want %v", i, got, w)
		}
		for key, value := range w {
			if got[key] != value {
				t.Errorf("line %d: %s is %v, want %v", i, key, got[key], value)
			}
		}
	}
}
