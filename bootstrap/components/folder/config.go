package folder

import (
	"fmt"
	"io/fs"
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
	// Filter says which files are taken. The zero value is all.
	Filter Filter
	// Recursive: files of sub-folders, too.
	Recursive bool
	// Poll is how long to wait before the folder is listed again.
	Poll time.Duration
	// Quiet is how long a file must not have changed before it is taken.
	Quiet time.Duration
	// MaxSize in bytes is the largest file that is taken.
	MaxSize int64
	// TooLarge is where larger files are moved, an absolute path on the same file system; "" leaves them.
	TooLarge string
	// Order is which file is taken first.
	Order Order
	// Descending turns Order around.
	Descending bool
	// Watch: the system tells of new files, so that they need not wait for the next poll.
	Watch bool
	// OrphanAfter is how long a .wip file that nobody in this process has in hand may stay as it is before it is
	// taken for one of a dead process; 0 is for ever.
	OrphanAfter time.Duration
	// Claims are shared by all consumers of the process; nil for a consumer that shares its folder with none.
	Claims *Claims
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
		Filter:    Filter{Include: readPatterns(fields, "filter"), Exclude: readPatterns(fields, "exclude")},
		Recursive: fields.Bool("recursive", false),
		Poll:      fields.Duration("poll", 200*time.Millisecond, time.Millisecond),
		Quiet:     fields.Duration("quiet", 0, 0),
		MaxSize:   fields.Size("max-size", defaultMaxSize),
		Order:     Order(fields.Choice("order", string(OrderName), string(OrderName), string(OrderTime), string(OrderSize))),
		Watch:     fields.Bool("watch", true),
		Shared:    fields.Bool("shared", true),
		Create:    fields.Bool("create", false),
	}
	config.Descending = fields.Choice("direction", "up", "up", "down") == "down"
	config.OrphanAfter = fields.Duration("orphan-after", defaultOrphanAfter, 0)
	if path := fields.Text("too-large", ""); path != "" {
		config.TooLarge = readDirectory(fields, dir, "too-large", path)
		if within(config.Directory, config.TooLarge) && (config.Recursive || config.TooLarge == config.Directory) {
			fields.Fault("too-large", "%s is a part of what is consumed; want a folder elsewhere", config.TooLarge)
		}
	}
	if !config.Recursive && config.Filter.byPath() {
		fields.Fault("filter", "a pattern with / is for paths below the folder, which only recursive: true looks at")
	}
	return config
}

// within says whether path is dir or below it.
func within(dir, path string) bool {
	relative, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(relative)
}

// defaultOrphanAfter is far above what a master that has lost its lease may still do.
const defaultOrphanAfter = time.Minute

// Order is the order in which files are taken.
type Order string

// The orders. Files that are equal in it are taken by name.
const (
	OrderName Order = "name"
	OrderTime Order = "time"
	OrderSize Order = "size"
)

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
	// Subfolders: a name may have folders in it, which are made if they are missing.
	Subfolders bool
	// IfExists says what happens if the name is taken, by whatever it is.
	IfExists IfExists
	// Separator is written after each message that is appended.
	Separator string
	// Permissions and FolderPermissions are those of what is made; 0 leaves them to the system (umask).
	Permissions, FolderPermissions fs.FileMode
	Logger                         *slog.Logger
}

// IfExists is what the producer does with a name that is taken.
type IfExists string

// The ways. The zero value is fail.
const (
	// ExistsFail: a repeat of the same message writes nothing, if the name tells that it is one; everything else fails.
	ExistsFail IfExists = "fail"
	// ExistsReplace puts the new file in the old one's place, in one step.
	ExistsReplace IfExists = "replace"
	// ExistsAppend writes to the end of the file. A crash can leave a half of it, and a repeat writes it again.
	ExistsAppend IfExists = "append"
)

// ReadProducerConfig reads the options; relative paths begin at dir. What is wrong stays in fields.
func ReadProducerConfig(fields *document.Fields, dir string) ProducerConfig {
	config := ProducerConfig{
		Directory:  readDirectory(fields, dir, "directory", fields.Required("directory", "out")),
		Idempotent: true,
		Sync:       fields.Bool("fsync", true),
		Create:     fields.Bool("create", false),
		Subfolders: fields.Bool("subfolders", false),
		IfExists: IfExists(fields.Choice("if-exists", string(ExistsFail), string(ExistsFail), string(ExistsReplace),
			string(ExistsAppend))),
		Separator: fields.Text("separator", "\n"),
	}
	if mode, ok := fields.Mode("permissions"); ok {
		config.Permissions = fs.FileMode(mode)
	}
	if mode, ok := fields.Mode("folder-permissions"); ok {
		config.FolderPermissions = fs.FileMode(mode)
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
	} else if config.IfExists == ExistsAppend {
		fields.Fault("if-exists", "append wants a name, say name: 'log-${! now().ts_format(\"2006-01-02\") }.txt'; "+
			"without one each message has a file of its own")
	}
	config.Idempotent = config.Idempotent && config.IfExists == ExistsFail
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
