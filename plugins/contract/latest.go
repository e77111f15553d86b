package contract

import "sync"

// latest holds one value: a later one takes the place of an earlier one that nobody has taken. So a slow
// reader misses steps, but never the last.
type latest[T any] struct {
	mu    sync.Mutex // guards value
	value T
	// set holds a token while there is a value to take.
	set chan struct{}
}

func newLatest[T any]() *latest[T] {
	return &latest[T]{set: make(chan struct{}, 1)}
}

// put never blocks.
func (l *latest[T]) put(value T) {
	l.mu.Lock()
	l.value = value
	l.mu.Unlock()
	select {
	case l.set <- struct{}{}:
	default:
	}
}

// take is called after a receive from set.
func (l *latest[T]) take() T {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.value
}
