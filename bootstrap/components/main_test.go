package components_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gopkg.in/yaml.v3"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components"
	"github.com/understudy-ha/understudy/bootstrap/components/message"
	"github.com/understudy-ha/understudy/profiler"

	"github.com/redpanda-data/benthos/v4/public/service"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// parse reads YAML.
func parse(t testing.TB, text string) *yaml.Node {
	t.Helper()
	var document yaml.Node
	must(t, yaml.Unmarshal([]byte(text), &document))
	return document.Content[0]
}

// tryParse returns nil for what is no YAML mapping.
func tryParse(text string) *yaml.Node {
	var document yaml.Node
	if yaml.Unmarshal([]byte(text), &document) != nil || len(document.Content) != 1 ||
		document.Content[0].Kind != yaml.MappingNode {
		return nil
	}
	return document.Content[0]
}

// spec is a component of adapter.yaml whose only or first key is its type.
func spec(t testing.TB, kind profiler.Kind, text string) adapter.Spec {
	t.Helper()
	return specOf(kind, parse(t, text))
}

func specOf(kind profiler.Kind, node *yaml.Node) adapter.Spec {
	return adapter.Spec{
		Kind: kind, ID: "it", Path: "orders/files/work/it", Type: node.Content[0].Value,
		File: "adapter.yaml", Node: node,
	}
}

// factory returns a factory that is closed with the test.
func factory(t testing.TB, options components.Options) *components.Factory {
	t.Helper()
	if options.File == "" {
		options.File = "adapter.yaml"
	}
	made, err := components.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := made.Close(within(t)); err != nil {
			t.Errorf("close factory: %v", err)
		}
	})
	return made
}

// within ends long after everything should have happened.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func consumer(t testing.TB, from *components.Factory, text string) adapter.Consumer {
	t.Helper()
	made, err := from.Consumer(spec(t, profiler.KindConsumer, text))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func producer(t testing.TB, from *components.Factory, text string) adapter.Producer {
	t.Helper()
	made, err := from.Producer(spec(t, profiler.KindProducer, text))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func processor(t testing.TB, from *components.Factory, text string) adapter.Service {
	t.Helper()
	made, err := from.Service(spec(t, profiler.KindService, text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := made.Close(within(t)); err != nil {
			t.Errorf("close service: %v", err)
		}
	})
	return made
}

func batch(contents ...string) *message.Batch {
	var messages service.MessageBatch
	for _, content := range contents {
		messages = append(messages, service.NewMessage([]byte(content)))
	}
	return message.NewBatch(messages)
}

// contents are the parts of a batch as text.
func contents(t testing.TB, from adapter.Batch) []string {
	t.Helper()
	messages, err := message.From(from)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, part := range messages {
		content, err := part.AsBytes()
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(content))
	}
	return texts
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	return string(content)
}
