// Package adapter is the engine: channels of workflows, each taking messages from a consumer through services
// to a producer, with their life cycle. Between any two steps stand the gate (may this node still work?), the
// mirror (what whoever leads next must know) and the hooks of the agents. It does no I/O of its own but to
// read the adapter file; components come in through the interfaces of this package.
package adapter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/profiler"
)

// Options are the limits that the adapter file does not set. The zero value means the defaults.
type Options struct {
	// RedeliveryWait is how long messages in flight wait for a source that cannot tell when it has offered
	// everything (Rescanner); 0 means 30 s.
	RedeliveryWait time.Duration
	// RestartDrain is how long a workflow that is restarted may take to finish what is under way; 0 means 30 s.
	RestartDrain time.Duration
	// Failed is this node's store of failed messages; nil: on-error: store is a fault, and nothing is kept.
	Failed FailedStore
	// Grace is how long, after the deadline of Stop or Close, components may take to give up what was
	// cancelled and to close; 0 means 5 s.
	Grace time.Duration
}

func (o Options) withDefaults() Options {
	if o.RedeliveryWait <= 0 {
		o.RedeliveryWait = 30 * time.Second
	}
	if o.RestartDrain <= 0 {
		o.RestartDrain = 30 * time.Second
	}
	if o.Grace <= 0 {
		o.Grace = 5 * time.Second
	}
	return o
}

// ErrStopping is what a source is told about a message that was not finished because the adapter is stopping.
var ErrStopping = errors.New("the adapter is stopping")

// Adapter runs the workflows of one adapter file for one mastership: New, Init, Start, Stop, Close. It cannot
// be started twice, because closed components cannot be opened again: the next mastership takes another.
//
// Init, Start, Stop and Close wait for each other; end Start's context to interrupt it. Status and Done may be
// called at any time.
//
// The lifecycle hooks of all components run in here, the adapter's own for init, stop and close too. The
// adapter's START is the gate: the host calls that hook before Start and after it. A veto, an error of
// Before, prevents an init or a start. It does not prevent a stop or a close: nobody can keep a node at work
// that no longer leads.
type Adapter struct {
	id      string
	cfg     *Config // guarded by lifecycle
	codec   Codec
	options Options
	log     *slog.Logger
	root    *node
	done    chan struct{}
	failed  chan error
	builder *builder

	mu       sync.RWMutex
	channels []*channel // guarded by mu for writing, together with lifecycle
	// onError are those of the adapter, errorNodes theirs. Guarded by lifecycle.
	onError    []*errorHandler
	errorNodes []*node

	// lifecycle makes changes of state one after another; it guards run and stuck. Whoever puts a value in has it.
	lifecycle chan struct{}
	run       *run
	// stuck is why components cannot be closed: work is still under way in them.
	stuck error

	// strays counts entries of the mirror that belong to no workflow of this file.
	strays counter

	// current is the run of now, for what may be asked at any time; nil when nothing runs.
	current atomic.Pointer[run]
}

func (a *Adapter) lock()   { a.lifecycle <- struct{}{} }
func (a *Adapter) unlock() { <-a.lifecycle }

// lockUntil returns the error of ctx if that ends first.
func (a *Adapter) lockUntil(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case a.lifecycle <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Init prepares a start. Nothing is opened.
func (a *Adapter) Init(ctx context.Context) error {
	a.lock()
	defer a.unlock()
	if s := a.root.State(); s != StateClosed || a.root.disposed {
		return fmt.Errorf("initialise adapter %s: it is %s", a.id, s)
	}
	return a.root.init(ctx)
}

// Start decides about the messages in flight, opens producers, then consumers, and lets the workflows run. It
// needs an initialised adapter and an open gate; a gate that shuts ends it. On an error everything that was
// opened is stopped again, and only Close is left.
func (a *Adapter) Start(ctx context.Context, with Run) error {
	a.lock()
	defer a.unlock()
	if s := a.root.State(); s != StateInitialised {
		return fmt.Errorf("start adapter %s: it is %s, want initialised", a.id, s)
	}
	if with.Gate == nil || with.Mirror == nil {
		return fmt.Errorf("start adapter %s: a gate and a mirror are needed", a.id)
	}
	r := newRun(a, with)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	//nolint:contextcheck // the opening hangs on two contexts: the caller's, and the gate's
	defer context.AfterFunc(r.ctx, func() { cancel(ErrGateShut) })()

	units := a.units()
	for _, u := range units {
		u.loop = r.prepare(u)
	}
	err := a.takeOver(ctx, r, with.InFlight)
	if err == nil {
		err = a.root.start(ctx)
	}
	if shut := with.Gate.Check(); shut != nil {
		// Opening may have taken long. Nothing has been received yet.
		err = errors.Join(shut, err, a.root.stop(ctx))
	}
	if err != nil {
		r.cancel(ErrStopping)
		a.forgetLoops(r)
		return fmt.Errorf("start adapter %s: %w", a.id, err)
	}
	a.run = r
	a.current.Store(r)
	for _, u := range units {
		r.launch(u.loop)
	}
	if r.started = true; len(r.afterwards) > 0 {
		r.restarting.Go(r.catchUp)
	}
	return nil
}

func (a *Adapter) forgetLoops(r *run) {
	for _, u := range a.units() {
		if u.loop != nil {
			r.withdraw(u.loop)
			u.loop = nil
		}
	}
}

// Stop stops receiving, in all workflows at once, and finishes what is under way. When ctx ends, or the gate
// shuts, the rest is cancelled: such messages stay in the mirror and their sources are told ErrStopping or
// ErrGateShut. Then everything that was started is stopped in reverse order. No goroutine is left, unless a
// component does not give up within Options.Grace: the error says so, and the process has to end. Stop is safe
// without Start, and twice.
func (a *Adapter) Stop(ctx context.Context) error {
	a.interrupt()
	a.lock()
	defer a.unlock()
	return a.stopLocked(ctx)
}

// interrupt ends what somebody else does under the lock while the adapter runs, say the restart of a workflow.
func (a *Adapter) interrupt() {
	if r := a.current.Load(); r != nil {
		r.stopReceiving()
	}
}

func (a *Adapter) stopLocked(ctx context.Context) error {
	if a.stuck != nil {
		return a.stuck
	}
	if a.run != nil {
		a.current.Store(nil)
		if err := a.run.drain(ctx, a.options.Grace); err != nil {
			a.stuck = fmt.Errorf("stop adapter %s: %w", a.id, err)
			return a.stuck
		}
		a.forgetLoops(a.run)
		a.run = nil
	}
	if a.root.State() != StateStarted {
		return nil
	}
	if err := a.root.stop(ctx); err != nil {
		return fmt.Errorf("stop adapter %s: %w", a.id, err)
	}
	return nil
}

// Close stops the adapter if it is running, and closes all components. It is safe in every state, and twice.
// The Factory is not closed: it belongs to whoever made it.
func (a *Adapter) Close(ctx context.Context) error {
	a.interrupt()
	a.lock()
	defer a.unlock()
	err := a.stopLocked(ctx)
	if a.stuck != nil {
		return err
	}
	if failed := a.root.close(ctx); failed != nil {
		err = errors.Join(err, fmt.Errorf("close adapter %s: %w", a.id, failed))
	}
	return err
}

// Done is closed when every consumer has come to the end of its input and all that it gave has been worked
// off. It stays open if the adapter was stopped before.
func (a *Adapter) Done() <-chan struct{} { return a.done }

// ID is the adapter's id.
func (a *Adapter) ID() string { return a.id }

// Joinpoint is the adapter's own, for the hook that the host calls around Start.
func (a *Adapter) Joinpoint(t profiler.Transition) profiler.Joinpoint {
	at := a.root.at
	at.Transition = t
	return at
}
