package folder_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/folder"
	"github.com/understudy-ha/understudy/bootstrap/components/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within ends long after everything should have happened.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// ended is a context that is over.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func write(t testing.TB, path, content string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0o644))
}

func read(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	return string(content)
}

// names are the visible files of a folder.
func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var found []string
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			found = append(found, entry.Name())
		}
	}
	return found
}

func expectNames(t testing.TB, dir string, want ...string) {
	t.Helper()
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("folder has %q, want %q", got, want)
	}
}

// log is a log that can be read while it is written.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func consumerConfig(dir string) folder.ConsumerConfig {
	return folder.ConsumerConfig{
		Path: "orders/files/work/in", Directory: dir, Poll: time.Millisecond, MaxSize: 64 << 20,
		Shared: true, Logger: slog.New(slog.DiscardHandler),
	}
}

// filter takes what one of the patterns matches, and not those after a !.
func filter(t testing.TB, patterns ...string) (f folder.Filter) {
	t.Helper()
	for _, text := range patterns {
		exclude, excluded := strings.CutPrefix(text, "!")
		p, ok := folder.ParsePattern(exclude)
		if !ok {
			t.Fatalf("pattern %q", text)
		}
		if excluded {
			f.Exclude = append(f.Exclude, p)
		} else {
			f.Include = append(f.Include, p)
		}
	}
	return f
}

func openConsumer(t testing.TB, config folder.ConsumerConfig) *folder.Consumer {
	t.Helper()
	consumer := folder.NewConsumer(config)
	must(t, consumer.Open(t.Context()))
	t.Cleanup(func() { must(t, consumer.Close(context.Background())) })
	return consumer
}

func receive(t testing.TB, consumer *folder.Consumer) *adapter.Delivery {
	t.Helper()
	delivery, err := consumer.Receive(within(t))
	must(t, err)
	return delivery
}

func content(t testing.TB, delivery *adapter.Delivery) string {
	t.Helper()
	messages, err := message.From(delivery.Batch)
	must(t, err)
	bytes, err := messages[0].AsBytes()
	must(t, err)
	return string(bytes)
}

func producerConfig(dir string) folder.ProducerConfig {
	return folder.ProducerConfig{
		Path: "orders/files/work/out", Directory: dir, Idempotent: true, Logger: slog.New(slog.DiscardHandler),
	}
}

func openProducer(t testing.TB, config folder.ProducerConfig) *folder.Producer {
	t.Helper()
	producer := folder.NewProducer(config)
	must(t, producer.Open(t.Context()))
	t.Cleanup(func() { must(t, producer.Close(context.Background())) })
	return producer
}

// outgoing is a batch as the engine hands it to a producer.
func outgoing(id, term string, contents ...string) *message.Batch {
	var messages service.MessageBatch
	for _, content := range contents {
		messages = append(messages, service.NewMessage([]byte(content)))
	}
	batch := message.NewBatch(messages)
	batch.SetMeta("message-id", id)
	batch.SetMeta("term", term)
	return batch
}

func journalLines(t testing.TB, path string) []string {
	t.Helper()
	return strings.Split(strings.TrimSuffix(read(t, path), "\n"), "\n")
}

func join(elements ...string) string { return filepath.Join(elements...) }
