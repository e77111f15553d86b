package command

import (
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// exit is how the first process of a program ended.
type exit struct {
	// Code is its exit code, -1 after a signal; Signal is that signal's name.
	Code   int    `json:"code"`
	Signal string `json:"signal,omitempty"`
}

func (e exit) String() string {
	if e.Signal != "" {
		return "ended by " + e.Signal
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// verdict is what becomes of a program that has ended by itself.
type verdict struct {
	// again: it is started after wait.
	again bool
	wait  time.Duration
	// failed is why this node gives the mastership up. With neither again nor failed the work is done.
	failed error
}

// restarts keeps the budget of restarts over one mastership.
type restarts struct {
	cfg   Config
	pause *backoff.ExponentialBackOff
	// recent are the moments of the restarts within the window, oldest first.
	recent []time.Duration
	count  int
}

// The pause before a restart grows from firstPause, doubled each time, to longestPause.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 10 * time.Second
)

func newRestarts(cfg Config) *restarts {
	return &restarts{cfg: cfg, pause: &backoff.ExponentialBackOff{
		InitialInterval: firstPause, Multiplier: 2, RandomizationFactor: 0.2, MaxInterval: longestPause,
	}}
}

// ended judges an end at now of a run that began at began.
func (r *restarts) ended(began, now time.Duration, e exit) verdict {
	switch {
	case r.cfg.Restart == RestartNever && e.Code == 0, r.cfg.Restart == RestartOnFailure && e.Code == 0:
		return verdict{}
	case r.cfg.Restart == RestartNever:
		return verdict{failed: fmt.Errorf("%s: %s, and workload.restart=never", r.cfg.Name(), e)}
	}
	if now-began >= r.cfg.RestartWindow {
		r.pause.Reset()
	}
	for len(r.recent) > 0 && now-r.recent[0] >= r.cfg.RestartWindow {
		r.recent = r.recent[1:]
	}
	if len(r.recent) >= r.cfg.RestartMax {
		return verdict{failed: fmt.Errorf("%s: %s, after %d restarts within %s (workload.restart.max, workload.restart.window)",
			r.cfg.Name(), e, len(r.recent), r.cfg.RestartWindow)}
	}
	r.recent = append(r.recent, now)
	r.count++
	return verdict{again: true, wait: r.pause.NextBackOff()}
}
