package failover

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/understudy-ha/understudy/failover/election"
)

// ErrStopped is returned by calls to a node whose Run has ended.
var ErrStopped = errors.New("the failover node has stopped")

// Front is where a node that belongs to one goroutine, that of its Run, meets all others: the state that it has published,
// and the calls that wait for its loop. It knows no rules, so that nodes of every wire have the same. The methods may be
// called from any goroutine; Begin, End and Publish are for the one of Run.
type Front struct {
	name    string
	running atomic.Bool
	calls   chan func()
	done    chan struct{}

	mu      sync.Mutex // guards state and changed
	state   State
	changed chan struct{}
}

// NewFront makes the front of a node that does not run yet. The name stands before its errors.
func NewFront(name string) *Front {
	return &Front{
		name: name, calls: make(chan func()), done: make(chan struct{}),
		state: State{Role: election.Starting, Reason: "not running yet"}, changed: make(chan struct{}),
	}
}

// Begin refuses a second Run.
func (f *Front) Begin() error {
	if f.running.Swap(true) {
		return errors.New(f.name + ": Run was called twice")
	}
	return nil
}

// End says that Run has ended: who waits, or calls later, gets ErrStopped. It is called once, after Begin.
func (f *Front) End() { close(f.done) }

// Done is closed by End.
func (f *Front) Done() <-chan struct{} { return f.done }

// Calls are those of Do, one after the other. The loop of Run takes each and calls it.
func (f *Front) Calls() <-chan func() { return f.calls }

// Do has a call made by the goroutine of Run, and waits for its end. The error is that of ctx, if the loop did not take
// the call before that ended, or ErrStopped.
func (f *Front) Do(ctx context.Context, call func()) error {
	finished := make(chan struct{})
	select {
	case f.calls <- func() { defer close(finished); call() }:
		<-finished // The loop has taken it and does not wait for anybody.
		return nil
	case <-f.done:
		return ErrStopped
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", f.name, context.Cause(ctx))
	}
}

// Publish makes a state known.
func (f *Front) Publish(state State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.state
	f.state = state
	before.Valid, state.Valid = 0, 0 // Renewed all the time: that is no change of role.
	if before != state {
		close(f.changed)
		f.changed = make(chan struct{})
	}
}

// State returns the state and a channel that is closed at its next change, renewals of Valid excepted. The state is a
// level: a slow caller may miss steps, but never the last.
func (f *Front) State() (State, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state, f.changed
}

// AwaitMaster returns nil as soon as the node is the master, else the error of ctx, or ErrStopped.
func (f *Front) AwaitMaster(ctx context.Context) error {
	for {
		state, changed := f.State()
		if state.Role == election.Master {
			return nil
		}
		select {
		case <-changed:
		case <-f.done:
			return ErrStopped
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
