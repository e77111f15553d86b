package loader

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Restart says how often a plugin that dies is started again.
type Restart struct {
	// Budget is how many starts are tried within Window; one more, and the plugin is given up. 0 means none.
	Budget int
	Window time.Duration
	// MinDelay is the wait before the first of them; it doubles, with some jitter, up to MaxDelay. It begins
	// anew for a plugin that has run for a whole Window.
	MinDelay, MaxDelay time.Duration
}

// DefaultRestart is what a node uses.
func DefaultRestart() Restart {
	return Restart{Budget: 5, Window: time.Minute, MinDelay: 100 * time.Millisecond, MaxDelay: 10 * time.Second}
}

// Hooks is what the host does when a plugin goes and comes. They are called one at a time.
type Hooks struct {
	// Down is called at once when the plugin has died, before anything else. err says how.
	Down func(err error)
	// Up gets the plugin that was started in place of the dead one, and makes it useful. An error ends the
	// new one; it counts as a start that failed.
	Up func(ctx context.Context, p *Plugin) error
}

// Supervision is what is known of a supervised plugin.
type Supervision struct {
	// Running is nil while the plugin is down.
	Running *Plugin
	// Restarts counts the starts that worked, after the first.
	Restarts int
	// Since is when the plugin came up or went down.
	Since time.Time
	// LastError is why it last went down, or could not be started; nil if it never did.
	LastError error
	// GivenUp: nobody tries to start it any more.
	GivenUp bool
}

// Supervisor keeps one plugin running.
type Supervisor struct {
	name    string
	launch  func(ctx context.Context) (*Plugin, error)
	restart Restart
	hooks   Hooks

	mu    sync.Mutex // guards state
	state Supervision
}

// Supervise makes a supervisor for a plugin that was launched. Nothing happens before Run.
func (l *Library) Supervise(first *Plugin, restart Restart, hooks Hooks) *Supervisor {
	return newSupervisor(first, restart, hooks, func(ctx context.Context) (*Plugin, error) {
		return l.Launch(ctx, first.Name)
	})
}

func newSupervisor(first *Plugin, restart Restart, hooks Hooks, launch func(context.Context) (*Plugin, error)) *Supervisor {
	return &Supervisor{
		name: first.Name, launch: launch, restart: restart, hooks: hooks,
		state: Supervision{Running: first, Since: time.Now()},
	}
}

// Run watches over the plugin until ctx ends or somebody calls its Stop, and returns nil; the plugin of that
// moment is the caller's to stop (State has it). It returns an error when the plugin is given up. It is called
// once.
func (s *Supervisor) Run(ctx context.Context) error {
	var attempts []time.Time // the latest starts that were tried, oldest first
	delays := s.delays()
	for {
		p, up := s.State().Running, time.Now()
		select {
		case <-ctx.Done():
			return nil
		case <-p.Exited():
		}
		err := p.ExitError()
		s.down(err)
		if err == nil {
			return nil
		}
		s.hooks.Down(err)
		if time.Since(up) >= s.restart.Window {
			delays.Reset()
		}
		for p = nil; p == nil; {
			if attempts = s.recent(attempts); len(attempts) >= s.restart.Budget {
				return s.giveUp(err)
			}
			if !pause(ctx, delays.NextBackOff()) {
				return nil
			}
			attempts = append(attempts, time.Now())
			p, err = s.start(ctx)
			if ctx.Err() != nil && p == nil {
				return nil
			}
			if err != nil {
				s.failed(err)
			}
		}
		s.up(p)
	}
}

func (s *Supervisor) delays() *backoff.ExponentialBackOff {
	delays := backoff.NewExponentialBackOff()
	delays.InitialInterval, delays.MaxInterval, delays.Multiplier = s.restart.MinDelay, s.restart.MaxDelay, 2
	delays.Reset()
	return delays
}

// start launches the plugin and has the host take it.
func (s *Supervisor) start(ctx context.Context) (*Plugin, error) {
	p, err := s.launch(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.hooks.Up(ctx, p); err != nil {
		p.discard()
		return nil, fmt.Errorf("plugin %s: started again, but it cannot be used: %w", s.name, err)
	}
	return p, nil
}

// recent leaves out the starts that are too long ago to count.
func (s *Supervisor) recent(attempts []time.Time) []time.Time {
	for len(attempts) > 0 && time.Since(attempts[0]) > s.restart.Window {
		attempts = attempts[1:]
	}
	return attempts
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// State tells how the plugin is.
func (s *Supervisor) State() Supervision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *Supervisor) down(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Running, s.state.Since = nil, time.Now()
	if err != nil {
		s.state.LastError = err
	}
}

func (s *Supervisor) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.LastError = err
}

func (s *Supervisor) up(p *Plugin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Running, s.state.Since = p, time.Now()
	s.state.Restarts++
}

func (s *Supervisor) giveUp(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.GivenUp = true
	return fmt.Errorf("plugin %s: given up after %d starts within %s; the last error: %w",
		s.name, s.restart.Budget, s.restart.Window, err)
}
