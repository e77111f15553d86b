package folder

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/durable"
	"github.com/understudy-ha/understudy/bootstrap/components/message"
)

// Producer writes each part of a batch into a file of its own. A file appears under its name whole, or not at
// all; a name that is taken is never written over, unless that is asked for. See fence for what keeps an old master's
// files out. It can append to files, too, which is neither whole nor fenced at every instant.
type Producer struct {
	config ProducerConfig

	// mu is held for reading by each produce, for writing by Open and Close.
	mu      sync.RWMutex
	fence   *fence   // guarded by mu; nil when not open
	journal *journal // guarded by mu; nil if there is none

	// appending lets one message after the other be appended, so that what failed half way can be taken back.
	appending sync.Mutex
}

var _ adapter.Producer = (*Producer)(nil)

// NewProducer touches nothing yet.
func NewProducer(config ProducerConfig) *Producer {
	config.Logger = config.Logger.With("component", config.Path)
	return &Producer{config: config}
}

// Open checks the folder and opens the journal.
func (p *Producer) Open(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fence != nil {
		return wrap(p.config.Path, errors.New("already open"))
	}
	if err := ensure(p.config.Directory, p.config.Create); err != nil {
		return wrap(p.config.Path, err)
	}
	if p.config.Journal != "" {
		journal, err := openJournal(p.config.Journal)
		if err != nil {
			return wrap(p.config.Path, err)
		}
		p.journal = journal
	}
	p.fence = newFence(p.config.Directory, p.config.Sync)
	return nil
}

// Produce writes the parts in their order. When it fails, some may have been written; a repeat finds them.
func (p *Producer) Produce(ctx context.Context, batch adapter.Batch) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.fence == nil {
		return wrap(p.config.Path, errNotOpen)
	}
	messages, err := message.From(batch)
	if err != nil {
		return wrap(p.config.Path, err)
	}
	for i := range messages {
		if err := p.producePart(ctx, messages, i); err != nil {
			return wrap(p.config.Path, err)
		}
	}
	return nil
}

// write is one file to be written.
type write struct {
	messageID, term, name string
	content               []byte
}

func (p *Producer) producePart(ctx context.Context, messages service.MessageBatch, i int) error {
	name, err := p.name(messages, i)
	if err != nil {
		return err
	}
	content, err := messages[i].AsBytes()
	if err != nil {
		return err
	}
	w := write{
		messageID: meta(messages[i], adapter.MetaMessageID), term: meta(messages[i], adapter.MetaTerm),
		name: name, content: content,
	}
	// A staging folder that is gone was taken away by a higher term, which the second attempt is told, or by
	// somebody who has tidied up, and is made again.
	err = p.write(ctx, w)
	if errors.Is(err, errUnstaged) {
		err = p.write(ctx, w)
	}
	return err
}

// errUnstaged: the staging folder has gone.
var errUnstaged = errors.New("the staging folder has gone")

func (p *Producer) write(ctx context.Context, w write) error {
	staging, err := p.fence.enter(w.term)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.config.IfExists == ExistsAppend {
		err = p.appendTo(ctx, w, staging)
	} else {
		var temporary string
		if temporary, err = p.stage(staging, w.content); err == nil {
			err = p.publish(ctx, w, temporary)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		p.fence.leave(w.term)
		return fmt.Errorf("%w: %w", errUnstaged, err)
	}
	return err
}

// stage writes the content to a temporary file.
func (p *Producer) stage(staging string, content []byte) (path string, err error) {
	path = filepath.Join(staging, randomName()+".tmp")
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return "", err
	}
	_, err = file.Write(content)
	if err == nil && p.config.Permissions != 0 {
		err = file.Chmod(p.config.Permissions) // whatever the umask is
	}
	if err == nil && p.config.Sync {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return "", errors.Join(err, remove(path))
	}
	return path, nil
}

// publish gives a temporary file its name, if nobody has it.
func (p *Producer) publish(ctx context.Context, w write, temporary string) error {
	// The last look at the gate: what is not named by now is not named any more.
	if err := ctx.Err(); err != nil {
		return errors.Join(err, remove(temporary))
	}
	path := filepath.Join(p.config.Directory, filepath.FromSlash(w.name))
	if err := p.makeFolders(path); err != nil {
		return errors.Join(err, remove(temporary))
	}
	rename := renameNew
	if p.config.IfExists == ExistsReplace {
		rename = os.Rename
	}
	err := rename(temporary, path)
	switch {
	case errors.Is(err, fs.ErrExist) && p.config.Idempotent:
		p.config.Logger.Info("message was produced before, nothing is written",
			"message-id", w.messageID, "path", path)
		return errors.Join(remove(temporary), p.syncFolder(path))
	case errors.Is(err, fs.ErrExist):
		return errors.Join(remove(temporary), fmt.Errorf("%s is there already, and its name does not tell "+
			"whether it is the same message: move it away, put ${! meta(\"message-id\") } into name, or set if-exists", path))
	case err != nil:
		return errors.Join(err, remove(temporary))
	}
	p.note(w, path)
	return p.syncFolder(path)
}

// note writes the line of a file into the journal. The file is there; to fail the message would have it treated as if
// it were not.
func (p *Producer) note(w write, path string) {
	if err := p.journal.record(w, path); err != nil {
		p.config.Logger.Error("file was written, but not noted in the journal",
			"path", path, "journal", p.config.Journal, "error", err)
	}
}

// syncFolder makes the name of a file durable.
func (p *Producer) syncFolder(path string) error {
	if !p.config.Sync {
		return nil
	}
	if err := durable.SyncFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s was written, but may not survive a power cut: %w", path, err)
	}
	return nil
}

// remove removes a temporary file; one that has gone with its folder is no error.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func randomName() string {
	return hex.EncodeToString(binary.BigEndian.AppendUint64(nil, rand.Uint64()))
}

// Close waits for the produces under way.
func (p *Producer) Close(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	journal := p.journal
	p.fence, p.journal = nil, nil
	return wrap(p.config.Path, journal.close())
}

// Idempotent is true if the name of a file follows from the message id and other metadata alone.
func (p *Producer) Idempotent() bool { return p.config.Idempotent }
