package folder

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/filename"
)

// maxName is the longest file name, in bytes, that common file systems take.
const maxName = 255

// meta returns a metadata value as text, "" if there is none.
func meta(part *service.Message, key string) string {
	value, _ := part.MetaGet(key)
	return value
}

// name is what the file of part i is called. The same message always gives the same names; a batch of several
// parts has the part's number in them. (The batches of a message that was split have message ids of their own.)
func (p *Producer) name(messages service.MessageBatch, i int) (string, error) {
	suffix := ""
	if len(messages) > 1 && p.config.IfExists != ExistsAppend {
		suffix = "-" + strconv.Itoa(i+1)
	}
	id := meta(messages[i], adapter.MetaMessageID)
	if p.config.Idempotent && id == "" {
		return "", errors.New("the message has no id to name a file after")
	}
	var name string
	if p.config.Name == nil {
		name = defaultName(id, meta(messages[i], metaFileName), suffix)
	} else {
		base, err := messages.TryInterpolatedString(i, p.config.Name)
		if err != nil {
			return "", fmt.Errorf("name: %w", err)
		}
		name = insert(base, id, suffix)
	}
	if err := p.checkName(name); err != nil {
		return "", err
	}
	return name, nil
}

// defaultName is the message id and, for a message that came from a file, that file's name, cut to what fits.
func defaultName(id, fileName, suffix string) string {
	prefix := filename.ForID(id) + suffix
	if fileName == "" {
		return prefix
	}
	tail := fileName
	if room := maxName - len(prefix) - 1; len(tail) > room {
		// The end is kept, because the extension is there. Not in the middle of a character.
		tail = tail[len(tail)-max(room, 0):]
		for len(tail) > 0 && !utf8.RuneStart(tail[0]) {
			tail = tail[1:]
		}
	}
	return prefix + "-" + tail
}

// insert puts the suffix before the extension, if there is one that is not a part of the id.
func insert(name, id, suffix string) string {
	extension := filepath.Ext(name)
	stem := strings.TrimSuffix(name, extension)
	if stem == "" || !strings.Contains(stem, id) {
		return name + suffix
	}
	return stem + suffix + extension
}

// checkName refuses names that lead out of the folder, or into what the producer keeps there.
func (p *Producer) checkName(name string) error {
	if p.config.Subfolders && strings.Contains(name, "/") {
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			return fmt.Errorf("%q leads out of the folder: check name and the metadata in it", name)
		}
		for _, element := range strings.Split(name, "/") {
			if err := checkElement(element); err != nil {
				return fmt.Errorf("%q: %w", name, err)
			}
		}
		return nil
	}
	if strings.Contains(name, "/") {
		return fmt.Errorf("%q cannot be the name of a file in the folder: check name and the metadata in it, "+
			"or set subfolders: true", name)
	}
	return checkElement(name)
}

func checkElement(name string) error {
	switch {
	case name == "", name == ".", !filepath.IsLocal(name),
		strings.ContainsAny(name, "/\x00"), strings.ContainsRune(name, filepath.Separator),
		runtime.GOOS == "windows" && strings.Contains(name, ":"):
		return fmt.Errorf("%q cannot be the name of a file in the folder: check name and the metadata in it", name)
	case strings.HasPrefix(name, stagingRoot):
		return fmt.Errorf("%q cannot be the name of a file: names with %s are the producer's own", name, stagingRoot)
	case len(name) > maxName:
		return fmt.Errorf("%q cannot be the name of a file: %d bytes are too long, at most %d", name, len(name), maxName)
	}
	return nil
}
