package adapter

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Restart says when a workflow is built anew because its consumer or producer fails, and what happens if that does not
// help.
type Restart struct {
	// After is how many failures in a row are too many: of a consumer to receive, or of a producer to take a message
	// that no on-error takes either, after all retries. 0: never.
	After int
	// Delay is the first pause before a restart; each later one is twice as long, up to MaxDelay. A workflow that
	// works for Window begins again with the first.
	Delay, MaxDelay time.Duration
	// Max is how many restarts there may be within Window; 0 is any number.
	Max    int
	Window time.Duration
	// GiveUp: a workflow that has used them up is a failure of the adapter (Adapter.Failed), which lets another node
	// try. Else it stays stopped, and the others go on.
	GiveUp bool
}

func (r *Restart) exceeded(failures int) bool { return r.After > 0 && failures >= r.After }

// budget counts restarts.
type budget struct {
	restarts []time.Time
	pauses   *backoff.ExponentialBackOff
}

// next returns the pause before the next restart, or false if there were too many.
func (b *budget) next(r *Restart, now time.Time) (time.Duration, bool) {
	recent := b.restarts[:0]
	for _, t := range b.restarts {
		if now.Sub(t) < r.Window {
			recent = append(recent, t)
		}
	}
	if b.restarts = recent; len(recent) == 0 || b.pauses == nil {
		b.pauses = growing(r.Delay, 2, r.MaxDelay)
	}
	if r.Max > 0 && len(recent) >= r.Max {
		return 0, false
	}
	b.restarts = append(b.restarts, now)
	return b.pauses.NextBackOff(), true
}

// restart brings a broken workflow back, while the run lasts and nobody stops it.
func (a *Adapter) restart(r *run, u *unit, broken *loop, cause error) {
	if a.lockUntil(r.receiving) != nil {
		return
	}
	if u.loop != broken {
		a.unlock()
		return // somebody has stopped it
	}
	ctx, cancel := context.WithTimeout(r.receiving, a.options.RestartDrain)
	err := a.stopUnit(ctx, u)
	cancel()
	if r.receiving.Err() != nil {
		a.unlock()
		return
	}
	if err != nil && u.loop != nil {
		u.state.Store(uint32(StateFailed))
		a.log.Error("a workflow failed and cannot be restarted", "workflow", u.cfg.ID, "cause", cause, "error", err)
		a.unlock()
		a.fail(u, errors.Join(cause, err))
		return
	}
	u.state.Store(uint32(StateRestarting))
	a.unlock()
	a.bringBack(r, u, cause)
}

// bringBack starts a workflow that is to be restarted, again and again.
func (a *Adapter) bringBack(r *run, u *unit, cause error) {
	for {
		if !a.pauseRestart(r, u, cause) {
			return
		}
		if a.lockUntil(r.receiving) != nil {
			return
		}
		if State(u.state.Load()) != StateRestarting {
			a.unlock()
			return // somebody has started or stopped it
		}
		err := a.startUnit(r.receiving, r, u)
		a.unlock()
		if err == nil {
			a.log.Info("the workflow works again", "workflow", u.cfg.ID)
			return
		}
		u.counters.failure(err)
		cause = err
	}
}

// pauseRestart waits before a restart. It returns false if there will be none.
func (a *Adapter) pauseRestart(r *run, u *unit, cause error) bool {
	if a.lockUntil(r.receiving) != nil {
		return false
	}
	policy := u.cfg.Restart
	pause, ok := u.budget.next(&policy, time.Now())
	if State(u.state.Load()) != StateRestarting {
		a.unlock()
		return false
	}
	if !ok {
		u.state.Store(uint32(StateFailed))
	}
	a.unlock()
	if !ok {
		a.log.Error("a workflow was restarted too often and stays stopped; bootstrap workflow start starts it again",
			"workflow", u.cfg.ID, "restarts", policy.Max, "within", policy.Window, "cause", cause)
		if policy.GiveUp {
			a.fail(u, cause)
		}
		return false
	}
	u.counters.restarts.Add(1)
	a.log.Warn("a workflow failed and is restarted", "workflow", u.cfg.ID, "pause", pause, "cause", cause)
	return sleep(r.receiving, pause)
}

// fail reports that the adapter cannot do its work.
func (a *Adapter) fail(u *unit, cause error) {
	select {
	case a.failed <- &failure{workflow: u.cfg.ID, cause: cause, coolDown: u.cfg.Restart.Window}:
	default: // one is enough
	}
}

// Failed has the failure of a workflow whose restarts are used up and whose policy is to give up: another node may
// do better. It says how long this one should not try again (CoolDown).
func (a *Adapter) Failed() <-chan error { return a.failed }

// failure is why the adapter cannot do its work.
type failure struct {
	workflow string
	cause    error
	coolDown time.Duration
}

func (f *failure) Error() string           { return "workflow " + f.workflow + ": " + f.cause.Error() }
func (f *failure) Unwrap() error           { return f.cause }
func (f *failure) CoolDown() time.Duration { return f.coolDown }
