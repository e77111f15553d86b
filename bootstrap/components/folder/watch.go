package folder

import (
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// watch lets the system tell of new files (inotify, kqueue, ReadDirectoryChangesW). It only shortens the wait for the
// next poll: network file systems tell nothing, and queues overflow, so the poll finds what was not told. A nil watch
// is one that is told nothing.
type watch struct {
	log     *slog.Logger
	watcher *fsnotify.Watcher
	// changed has room for one: that something has changed.
	changed chan struct{}
	done    sync.WaitGroup
	// failed has the folders that cannot be watched; only used by the goroutine that lists.
	failed map[string]bool
}

// newWatch returns nil, and says why, if the system has no more watches to give: the poll is enough.
func newWatch(log *slog.Logger) *watch {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("the system does not tell of new files, they are found by the poll", "error", err)
		return nil
	}
	w := &watch{log: log, watcher: watcher, changed: make(chan struct{}, 1), failed: map[string]bool{}}
	w.done.Go(w.run)
	return w
}

func (w *watch) run() {
	for {
		select {
		case event, open := <-w.watcher.Events:
			if !open {
				return
			}
			// Only what is new: each write to a large file would be told, too, and what waits to be quiet has a time of
			// its own. What the consumer does itself makes .wip files, and removes.
			if event.Has(fsnotify.Create) && !strings.HasSuffix(event.Name, wipSuffix) && !strings.HasPrefix(filepath.Base(event.Name), ".") {
				w.tell()
			}
		case _, open := <-w.watcher.Errors: // mostly an overflow
			if !open {
				return
			}
			w.tell()
		}
	}
}

func (w *watch) tell() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// add watches a folder; one that is watched already costs a system call, and is watched again if it was replaced.
func (w *watch) add(dir string) {
	if w == nil {
		return
	}
	err := w.watcher.Add(dir)
	if err != nil && !w.failed[dir] {
		w.log.Warn("the system does not tell of new files here, they are found by the poll", "path", dir, "error", err)
	}
	if err == nil {
		delete(w.failed, dir)
	} else {
		w.failed[dir] = true
	}
}

// told is never ready on a nil watch.
func (w *watch) told() <-chan struct{} {
	if w == nil {
		return nil
	}
	return w.changed
}

func (w *watch) close() error {
	if w == nil {
		return nil
	}
	err := w.watcher.Close()
	w.done.Wait()
	return err
}
