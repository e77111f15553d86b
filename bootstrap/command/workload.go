package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// ShimArgument as first argument makes the binary a shim; see ShimMain.
const ShimArgument = "-command-shim"

// Options is what a Workload is made of.
type Options struct {
	Config          Config
	NodeID, Cluster string
	// DataDir is the node's data folder, an absolute path to a folder that is there.
	DataDir string
	// Lease is how long a mastership is valid without a renewal; 0 for a node without an election.
	Lease time.Duration
	// Clock is the one in which Mastership.Lease speaks.
	Clock func() time.Duration
	// Shim is the command line of the shim: this binary and ShimArgument.
	Shim []string
	// Liveness gives a duplicate of the liveness listener, which is the caller's, or nil if there is none. The shim
	// and the program hold it, so that a connection is refused only when nothing of the program is left.
	Liveness func() (*os.File, error)
	Log      *slog.Logger
}

// Mastership is what a program runs under.
type Mastership struct {
	// Term is the number of the mastership, TermNode the node that holds it; 0 and empty without an election.
	Term     uint64
	TermNode string
	// Lease says until when; nil without an election.
	Lease Lease
	// Held ends when the mastership is lost.
	Held context.Context
}

// State is what a program is doing.
type State string

// The states.
const (
	StateIdle       State = "standing by"
	StateRunning    State = "running"
	StateRestarting State = "waiting to be started again"
	StateLease      State = "stopped until the mastership is renewed"
	StateFinished   State = "finished"
	StateStopping   State = "stopping"
	StateFailed     State = "failed"
)

// Status is how a program is.
type Status struct {
	Command []string
	State   State
	// PID is 0 while it does not run. Shim is the process that owns it.
	PID, Shim int
	// Restarts are those of this mastership.
	Restarts int
	// LastExit says how it last ended by itself; empty if it has not.
	LastExit string
	// Contained says by what it is known what belongs to the program.
	Contained string
}

// GaveUp is why a mastership is given up: the program cannot be kept running here.
type GaveUp struct {
	Err error
	// Pause is how long this node should not stand for election.
	Pause time.Duration
}

func (g *GaveUp) Error() string { return g.Err.Error() }
func (g *GaveUp) Unwrap() error { return g.Err }

// CoolDown is how long this node should not stand for election.
func (g *GaveUp) CoolDown() time.Duration { return g.Pause }

// Workload runs a program for one mastership at a time. Init, Start, Stop and Close are called in that order, by one
// goroutine; the other methods may be called at any time.
type Workload struct {
	opt     Options
	log     *slog.Logger
	program string
	shim    *shimProcess
	lock    *os.File

	stop   chan stopRequest
	tenure *tenure
	failed chan error

	mu     sync.Mutex
	status Status // guarded by mu
}

// stopRequest has the program ended by a moment of the boot clock.
type stopRequest struct{ deadline time.Duration }

// New returns a workload that has touched nothing.
func New(opt Options) *Workload {
	return &Workload{
		opt: opt, log: opt.Log.With("program", opt.Config.Name()),
		stop: make(chan stopRequest, 1), failed: make(chan error, 1),
		status: Status{Command: opt.Config.Command, State: StateIdle},
	}
}

// Init looks whether the program could be started, ends what a former life of this node may have left of it, and
// starts the shim. The program itself is not started.
func (w *Workload) Init(ctx context.Context) error {
	var err error
	if w.program, err = w.find(); err != nil {
		return err
	}
	if w.lock, err = takeOver(ctx, w.opt.DataDir, w.opt.Lease, w.log); err != nil {
		return fmt.Errorf("workload.command: %w", err)
	}
	return w.launch(ctx)
}

func (w *Workload) find() (string, error) {
	cfg := w.opt.Config
	if cfg.Dir != "" {
		if info, err := os.Stat(cfg.Dir); err != nil {
			return "", fmt.Errorf("workload.dir: %w", err)
		} else if !info.IsDir() {
			return "", fmt.Errorf("workload.dir: %s is no folder", cfg.Dir)
		}
	}
	program, err := exec.LookPath(cfg.Command[0])
	if err != nil {
		return "", fmt.Errorf("workload.command: %w", err)
	}
	if program, err = filepath.Abs(program); err != nil {
		return "", fmt.Errorf("workload.command: %w", err)
	}
	return program, nil
}

// launch starts a shim if there is none.
func (w *Workload) launch(ctx context.Context) error {
	if w.shim != nil {
		if w.shim.alive() {
			return nil
		}
		w.log.Warn("the shim of the program has died while standing by; there is a new one")
		if err := w.shim.destroy(); err != nil {
			return err
		}
		w.shim = nil
	}
	shim, err := launchShim(ctx, w.opt, w.lock, w.say)
	if err != nil {
		return fmt.Errorf("start the shim of the program: %w", err)
	}
	w.shim = shim
	w.change(func(s *Status) { s.Shim, s.Contained = shim.pid, shim.contained() })
	return nil
}

// Start starts the program and returns when it runs; an error means that it does not. ctx bounds the start.
func (w *Workload) Start(ctx context.Context, m Mastership) error {
	if err := w.launch(ctx); err != nil {
		return err
	}
	w.tenure = newTenure(w, m)
	go w.tenure.run() // Stop waits for it
	select {
	case err := <-w.tenure.started:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Stop ends the program: it may take until ctx ends as long as the mastership is held, and Config.StopTimeout when it
// has been lost, but never longer than the mastership is valid. Then what is left is killed. Nothing of it is left
// when Stop returns, except after an error.
func (w *Workload) Stop(ctx context.Context) error {
	t := w.tenure
	if t == nil {
		return nil
	}
	deadline := forever
	if d, ok := ctx.Deadline(); ok {
		deadline = bootTime() + max(time.Until(d), 0)
	}
	if t.mastership.Held.Err() != nil {
		deadline = min(deadline, bootTime()+w.opt.Config.StopTimeout)
	}
	select {
	case w.stop <- stopRequest{deadline}:
	default: // it has been asked already
	}
	<-t.done
	w.tenure = nil
	select { // what was asked of a tenure that had ended by itself
	case <-w.stop:
	default:
	}
	if t.stuck == nil {
		w.change(func(s *Status) { s.State = StateIdle })
	}
	return t.stuck
}

// Close ends the shim and lets everything go.
func (w *Workload) Close(ctx context.Context) error {
	err := w.Stop(ctx)
	if w.shim != nil {
		err = errors.Join(err, w.shim.end(ctx))
		w.shim = nil
	}
	if w.lock != nil {
		err = errors.Join(err, w.lock.Close())
		w.lock = nil
	}
	return err
}

// Failed has an error, a *GaveUp, when the program could not be kept running. Stop is still to be called.
func (w *Workload) Failed() <-chan error { return w.failed }

// Health is nil while the program does what it should. It is for checks that ask more than whether it runs.
func (w *Workload) Health() error {
	switch s := w.Status(); s.State {
	case StateRunning, StateFinished:
		return nil
	default:
		return fmt.Errorf("the program is %s; it last ended with: %s", s.State, s.LastExit)
	}
}

// Status may be called at any time.
func (w *Workload) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

func (w *Workload) change(f func(*Status)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.status)
}

// environment is what the program gets beside the node's own environment.
func (w *Workload) environment(m Mastership) []string {
	return append(append([]string(nil), w.opt.Config.Env...),
		"UNDERSTUDY_TERM="+strconv.FormatUint(m.Term, 10),
		"UNDERSTUDY_TERM_NODE="+m.TermNode,
		"UNDERSTUDY_NODE_ID="+w.opt.NodeID,
		"UNDERSTUDY_CLUSTER="+w.opt.Cluster,
		"UNDERSTUDY_DATA_DIR="+w.opt.DataDir,
		markName+"="+w.shim.mark,
	)
}

// speaker takes a line of the program, or the number of lines that were lost.
type speaker func(l line, dropped uint64)

// say logs a line of the program.
func (w *Workload) say(l line, dropped uint64) {
	if dropped > 0 {
		w.log.Warn("lines of the program were lost, because the log did not take them in time", "lines", dropped)
		return
	}
	attrs := []any{"stream", l.stream.String()}
	if pid := w.Status().PID; pid != 0 {
		attrs = append(attrs, "pid", pid)
	}
	if l.more {
		attrs = append(attrs, "cut", true)
	}
	w.log.Info(string(l.text), attrs...)
}
