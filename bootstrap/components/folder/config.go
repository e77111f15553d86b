package folder

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/document"
)

// ConsumerConfig is what an fs consumer is made from.
type ConsumerConfig struct {
	// Path is the component's place in the adapter.
	Path string
	// Directory is absolute.
	Directory string
	// Filter is a pattern of filepath.Match for file names.
	Filter string
	// Poll is how long to wait before the folder is listed again.
	Poll time.Duration
	// Quiet is how long a file must not have changed before it is taken.
	Quiet time.Duration
	// MaxSize in bytes is the largest file that is taken.
	MaxSize int64
	// ByTime takes the oldest file first; else they are taken by name.
	ByTime bool
	// Shared: the other nodes see the same folder.
	Shared bool
	// Create makes the folder if it is missing.
	Create bool
	Logger *slog.Logger
}

// defaultMaxSize leaves room for the metadata: the mirror takes messages of up to 64 MiB, metadata and all.
const defaultMaxSize = 60 << 20

// ReadConsumerConfig reads the options; relative paths begin at dir. What is wrong stays in fields.
func ReadConsumerConfig(fields *document.Fields, dir string) ConsumerConfig {
	config := ConsumerConfig{
		Directory: readDirectory(fields, dir, "directory", fields.Required("directory", "in")),
		Filter:    fields.Text("filter", "*"),
		Poll:      fields.Duration("poll", 200*time.Millisecond, time.Millisecond),
		Quiet:     fields.Duration("quiet", 0, 0),
		MaxSize:   fields.Size("max-size", defaultMaxSize),
		ByTime:    fields.Choice("order", "name", "name", "time") == "time",
		Shared:    fields.Bool("shared", true),
		Create:    fields.Bool("create", false),
	}
	if _, err := filepath.Match(config.Filter, ""); err != nil || config.Filter == "" {
		fields.Fault("filter", "%q: want a pattern for file names, say *.json", config.Filter)
	}
	if strings.ContainsRune(config.Filter, filepath.Separator) || strings.Contains(config.Filter, "/") {
		fields.Fault("filter", "%q: is for file names; a folder belongs into directory", config.Filter)
	}
	return config
}

// ProducerConfig is what an fs producer is made from.
type ProducerConfig struct {
	// Path is the component's place in the adapter.
	Path string
	// Directory is absolute.
	Directory string
	// Name is how files are called; nil is the message id, with the name of the file it came from.
	Name *service.InterpolatedString
	// Idempotent: Name gives a message the same name each time, and no other message that name.
	Idempotent bool
	// Journal is an absolute path, or "".
	Journal string
	// Sync makes each file durable before the produce is over.
	Sync bool
	// Create makes the folder if it is missing.
	Create bool
	Logger *slog.Logger
}

// ReadProducerConfig reads the options; relative paths begin at dir. What is wrong stays in fields.
func ReadProducerConfig(fields *document.Fields, dir string) ProducerConfig {
	config := ProducerConfig{
		Directory:  readDirectory(fields, dir, "directory", fields.Required("directory", "out")),
		Idempotent: true,
		Sync:       fields.Bool("fsync", true),
		Create:     fields.Bool("create", false),
	}
	if journal := fields.Text("journal", ""); journal != "" {
		config.Journal = readDirectory(fields, dir, "journal", journal)
	}
	if name := fields.Text("name", ""); name != "" {
		parsed, err := service.NewInterpolatedString(name)
		if err != nil {
			fields.Fault("name", "%q: %v", name, err)
		}
		config.Name, config.Idempotent = parsed, stable(name)
	}
	return config
}

func readDirectory(fields *document.Fields, base, key, path string) string {
	result, err := absolute(base, path)
	if err != nil {
		fields.Fault(key, "%v", err)
	}
	return result
}

var (
	interpolation = regexp.MustCompile(`\$\{!([^}]*)\}`)
	reference     = regexp.MustCompile(`^(?:(?:meta|metadata)\("([^"\\]+)"\)|@"([^"\\]+)"|@([\w-]+))$`)
)

// stable says whether a name surely contains the message id and is the same each time that the message is
// produced. Only names that are made of text and plain metadata can be known to be so.
func stable(name string) bool {
	hasID := false
	for _, match := range interpolation.FindAllStringSubmatch(name, -1) {
		key := reference.FindStringSubmatch(strings.TrimSpace(match[1]))
		if key == nil {
			return false
		}
		hasID = hasID || key[1]+key[2]+key[3] == adapter.MetaMessageID
	}
	return hasID
}

// wrap adds the component's place to an error.
func wrap(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", path, err)
}
