package adapter

import (
	"context"
	"sync"
)

// flights sees to it that a message id is under way only once: a source may deliver a message again before
// its first delivery has come to an end.
type flights struct {
	mu sync.Mutex
	// open has the ids under way. Whoever waits for one to end makes the channel. Guarded by mu.
	open map[string]chan struct{}
}

// enter waits until id is free and takes it. It returns false if ctx ended first.
func (f *flights) enter(ctx context.Context, id string) bool {
	for {
		ended := f.tryEnter(id)
		if ended == nil {
			return true
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return false
		}
	}
}

// tryEnter takes id and returns nil, or returns a channel that is closed when id is free.
func (f *flights) tryEnter(id string) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	ended, busy := f.open[id]
	if !busy {
		if f.open == nil {
			f.open = map[string]chan struct{}{}
		}
		f.open[id] = nil
		return nil
	}
	if ended == nil {
		ended = make(chan struct{})
		f.open[id] = ended
	}
	return ended
}

func (f *flights) leave(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ended := f.open[id]; ended != nil {
		close(ended)
	}
	delete(f.open, id)
}
