package host

import (
	"context"
	"sync"
)

// link is the way to a plugin that comes and goes: its supervisor sets it when the plugin is up and clears it
// when it has died. It is a level: who asks gets what is there now, or waits.
type link[T any] struct {
	mu      sync.Mutex
	value   T             // guarded by mu
	up      bool          // guarded by mu
	err     error         // guarded by mu; why it is down
	changed chan struct{} // guarded by mu; closed at the next change
}

func newLink[T any]() *link[T] {
	return &link[T]{changed: make(chan struct{})}
}

func (l *link[T]) set(value T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.value, l.up, l.err = value, true, nil
	l.wakeLocked()
}

func (l *link[T]) clear(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var none T
	l.value, l.up, l.err = none, false, err
	l.wakeLocked()
}

func (l *link[T]) wakeLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// get returns what is there now, and a channel that is closed when that changes.
func (l *link[T]) get() (value T, up bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.value, l.up, l.changed
}

// wait returns the plugin as soon as it is up.
func (l *link[T]) wait(ctx context.Context) (value T, changed <-chan struct{}, err error) {
	for {
		value, up, changed := l.get()
		if up {
			return value, changed, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return value, nil, context.Cause(ctx)
		}
	}
}
