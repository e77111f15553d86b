package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/message"
)

// metaFileName is the name of the file that a message came from; the producer uses it too.
const metaFileName = "fs_name"

// errChanged is a file that somebody writes to.
var errChanged = errors.New("changed while it was read")

// offer takes a file and returns it as a delivery, or nil if it cannot be delivered now.
func (s *scan) offer(name string) *adapter.Delivery {
	known := s.known(name)
	if known.state == inFlight || known.state == paused && time.Now().Before(known.until) {
		return nil
	}
	found, err := look(s.path(name, known.wip))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.forget(name) // somebody else was faster
	case known.state == refused && known.seen == found: // was reported; found is empty if it cannot be looked at
	case err != nil:
		s.refuse(name, found, err)
	case !found.mode.IsRegular():
		s.refuse(name, found, errors.New("is not a regular file"))
	case found.size > s.config.MaxSize && s.config.TooLarge != "":
		if known.wip || s.quiet(name, known, found) {
			s.moveAway(name, known, found)
		}
	case found.size > s.config.MaxSize:
		s.refuse(name, found,
			fmt.Errorf("has %d bytes, max-size is %d: move it away, or raise max-size, or set too-large", found.size, s.config.MaxSize))
	case known.wip:
		return s.deliver(name, found)
	case s.quiet(name, known, found) && s.take(name, found):
		return s.deliver(name, found)
	}
	return nil
}

// moveAway puts a file that is too large into the folder for such files, under a name that nobody has there.
func (s *scan) moveAway(name string, known file, found info) {
	target := filepath.Join(s.config.TooLarge, filepath.Base(name))
	err := renameNew(s.path(name, known.wip), target)
	if errors.Is(err, fs.ErrExist) {
		target += "-" + found.messageID(s.path(name, false))
		err = renameNew(s.path(name, known.wip), target)
	}
	if errors.Is(err, fs.ErrNotExist) {
		s.forget(name) // somebody else was faster; the folder itself was looked at when the consumer was opened
		return
	}
	if err != nil {
		s.refuse(name, found, fmt.Errorf("has %d bytes, max-size is %d, and cannot be moved away: %w", found.size, s.config.MaxSize, err))
		return
	}
	s.config.Logger.Warn("file was moved away, as it is too large", "path", s.path(name, known.wip), "to", target,
		"bytes", found.size, "max-size", s.config.MaxSize)
	s.forget(name)
}

// quiet says whether the file has not changed for the quiet interval, as far as this scan has seen.
func (s *scan) quiet(name string, known file, found info) bool {
	switch {
	case s.config.Quiet == 0, known.state == paused && known.failures > 0: // was quiet before it was given back
		return true
	case known.state == settling && known.seen == found:
		return time.Since(known.since) >= s.config.Quiet
	}
	s.update(name, func(f *file) { f.state, f.seen, f.since = settling, found, time.Now() })
	if known.state != 0 {
		s.done(name) // not the file any more that was there at first
	}
	return false
}

// take gives a file its .wip name, which only one can do.
func (s *scan) take(name string, found info) bool {
	switch err := renameNew(s.path(name, false), s.path(name, true)); {
	case err == nil:
		s.config.Claims.take(s.path(name, true), s)
		s.update(name, func(f *file) { f.wip, f.told = true, false })
		return true
	case errors.Is(err, fs.ErrNotExist):
		s.forget(name)
	case errors.Is(err, fs.ErrExist):
		var told bool
		s.update(name, func(f *file) {
			told, f.told = f.told, true
			f.failures++
			s.pauseLocked(f)
		})
		if !told {
			s.config.Logger.Warn("file waits: its .wip name is taken, by another consumer or by one that has died; "+
				"that is taken up after orphan-after, or by whoever opens the folder next", "path", s.path(name, false))
		}
		s.done(name)
	default:
		s.refuse(name, found, err)
	}
	return false
}

// deliver reads a file that lies under its .wip name and is ours.
func (s *scan) deliver(name string, found info) *adapter.Delivery {
	content, err := s.read(name, found)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.forget(name)
		return nil
	case errors.Is(err, errChanged):
		// What was read has no id that would be found again: it is taken anew when it has come to rest.
		wip := !s.giveBack(name)
		s.update(name, func(f *file) {
			f.wip = wip
			s.pauseLocked(f)
		})
		s.done(name)
		return nil
	case err != nil:
		wip := !s.giveBack(name)
		s.update(name, func(f *file) { f.wip = wip })
		s.refuse(name, found, err)
		return nil
	}
	s.update(name, func(f *file) { f.state = inFlight })
	s.done(name)
	return s.delivery(name, found, content)
}

// read reads a taken file whole. The memory it needs is what the file had when it was looked at.
func (s *scan) read(name string, found info) ([]byte, error) {
	path := s.path(name, true)
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content := make([]byte, found.size)
	if _, err := io.ReadFull(file, content); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errChanged
		}
		return nil, err
	}
	after, err := look(path)
	if err != nil {
		return nil, err
	}
	if after.identity != found.identity {
		return nil, errChanged
	}
	return content, nil
}

func (s *scan) delivery(name string, found info, content []byte) *adapter.Delivery {
	path := s.path(name, false)
	part := service.NewMessage(content)
	part.MetaSetMut(metaFileName, filepath.Base(name))
	part.MetaSetMut("fs_path", path)
	part.MetaSetMut("fs_dir", filepath.Dir(path))
	part.MetaSetMut("fs_rel_path", filepath.ToSlash(name))
	part.MetaSetMut("fs_rel_dir", filepath.ToSlash(filepath.Dir(name)))
	part.MetaSetMut("fs_mode", fmt.Sprintf("%04o", found.mode.Perm()))
	part.MetaSetMut("fs_size", strconv.FormatInt(found.size, 10))
	part.MetaSetMut("fs_mod_time", time.Unix(0, found.modified).UTC().Format(time.RFC3339Nano))
	var once sync.Once
	return &adapter.Delivery{
		MessageID: found.messageID(path),
		Batch:     message.NewBatch(service.MessageBatch{part}),
		Settle: func(_ context.Context, failure error) (err error) {
			once.Do(func() { err = s.settle(name, found, failure) })
			return wrap(s.config.Path, err)
		},
	}
}

// settle deletes a file whose message is done, and gives one back whose message failed. While it works the file
// is still in flight, so nobody else touches it.
func (s *scan) settle(name string, found info, failure error) error {
	if failure != nil {
		s.putBack(name)
		return nil //nolint:nilerr // The failure is what has been settled.
	}
	path := s.path(name, true)
	switch err := removeUnchanged(path, found); {
	case err == nil:
		s.forget(name)
	case errors.Is(err, errChanged):
		// Whoever wrote to it would lose what was written.
		s.config.Logger.Warn("file was changed after it was read, and will be delivered again as a new message",
			"path", path)
		s.putBack(name)
	case errors.Is(err, fs.ErrNotExist):
		s.config.Logger.Warn("file was gone before it was acknowledged", "path", path)
		s.forget(name)
	default:
		// It is delivered again from there, with an id that is known to be done.
		s.update(name, func(f *file) {
			f.failures++
			s.pauseLocked(f)
		})
		return fmt.Errorf("acknowledge: %w", err)
	}
	return nil
}

func removeUnchanged(path string, found info) error {
	after, err := look(path)
	if err != nil {
		return err
	}
	if after.identity != found.identity {
		return errChanged
	}
	return os.Remove(path)
}

// putBack ends the flight of a file that is to be delivered again.
func (s *scan) putBack(name string) {
	wip := !s.giveBack(name)
	s.update(name, func(f *file) {
		f.wip = wip
		f.failures++
		s.pauseLocked(f)
	})
}

// giveBack gives a file its name back. If that is taken, or it cannot be done, the file stays under its .wip name
// and is delivered from there.
func (s *scan) giveBack(name string) bool {
	err := renameNew(s.path(name, true), s.path(name, false))
	if err == nil {
		s.config.Claims.leave(s.path(name, true), s)
	} else if !errors.Is(err, fs.ErrExist) {
		s.config.Logger.Warn("file cannot be given its name back", "path", s.path(name, true), "error", err)
	}
	return err == nil
}

// refuse reports a file and leaves it alone until it changes.
func (s *scan) refuse(name string, found info, reason error) {
	var wip bool
	var skipped uint64
	s.update(name, func(f *file) {
		f.state, f.seen, wip = refused, found, f.wip
		s.skipped++
		skipped = s.skipped
	})
	s.config.Logger.Error("file cannot be consumed, and is skipped until it changes",
		"path", s.path(name, wip), "reason", reason, "skipped", skipped)
	s.done(name)
}
