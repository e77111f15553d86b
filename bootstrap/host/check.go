package host

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// CheckConfig is a node's own check of its health.
type CheckConfig struct {
	// Probe returns what is wrong, nil if nothing is. See CommandProbe and URLProbe.
	Probe func(ctx context.Context) error
	// Interval is the pause between two checks, Timeout how long one may take.
	Interval, Timeout time.Duration
	// Rise good answers in a row make the node healthy again, Fall bad ones unhealthy. The first answer of all counts
	// at once.
	Rise, Fall int
	// Cooldown is how long the node does not stand for election after its check has cost it the role.
	Cooldown time.Duration
	// OnlyMaster: the check is asked only while the workload runs.
	OnlyMaster bool
}

// verdict counts answers; it is the part of a check that has neither a clock nor a network.
type verdict struct {
	rise, fall int
	// known: there has been an answer. good is what counts now, run how many answers in a row have said the other.
	known, good bool
	run         int
}

// take notes an answer, and reports whether the verdict has changed with it.
func (v *verdict) take(good bool) (changed bool) {
	switch {
	case !v.known:
		v.known, v.good, v.run = true, good, 0
		return true
	case good == v.good:
		v.run = 0
		return false
	}
	need := v.fall
	if good {
		need = v.rise
	}
	if v.run++; v.run < need {
		return false
	}
	v.good, v.run = good, 0
	return true
}

// checker asks, and tells the node when the verdict changes.
type checker struct {
	cfg CheckConfig
	log *slog.Logger
	// changed is told why the node is not healthy; empty: it is.
	changed func(fault string)
	// working returns whether the workload runs, and a channel that is closed when that changes.
	working func() (bool, <-chan struct{})
}

// run checks until ctx ends.
func (c *checker) run(ctx context.Context) {
	if !c.cfg.OnlyMaster {
		c.rounds(ctx, 0)
		return
	}
	for ctx.Err() == nil {
		working, changed := c.working()
		if working {
			// What has only just started is given an interval.
			c.roundsUntil(ctx, changed)
			c.changed("") // nobody knows how the work would be now
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// roundsUntil checks until ctx ends or changed is closed.
func (c *checker) roundsUntil(ctx context.Context, changed <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	var rounds sync.WaitGroup
	defer rounds.Wait()
	defer cancel()
	rounds.Go(func() { c.rounds(ctx, c.cfg.Interval) })
	select {
	case <-changed:
	case <-ctx.Done():
	}
}

// rounds checks again and again until ctx ends.
func (c *checker) rounds(ctx context.Context, first time.Duration) {
	v := verdict{rise: c.cfg.Rise, fall: c.cfg.Fall}
	if c.cfg.OnlyMaster {
		v.known, v.good = true, true
	}
	for pause := first; ; pause = c.cfg.Interval {
		if !wait(ctx, pause) {
			return
		}
		err := c.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && (v.good || !v.known) {
			c.log.Warn("the node's check failed", "error", err)
		}
		if !v.take(err == nil) {
			continue
		}
		if v.good {
			c.log.Info("the node's check is good")
			c.changed("")
			continue
		}
		c.changed(fmt.Sprintf("its check fails: %v", err))
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// once returns what is wrong, nil if nothing is.
func (c *checker) once(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, fmt.Errorf("no answer within %s", c.cfg.Timeout))
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the check panicked: %v", r)
		}
	}()
	err = c.cfg.Probe(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// CommandProbe runs a program, which is good if it ends with 0. Its output goes to the log at debug level. When ctx
// ends its process group is killed.
func CommandProbe(words, env []string, log *slog.Logger) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		err := program{words: words, env: env, line: func(text string) { log.Debug("check: " + text) }}.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", words[0], err)
		}
		return nil
	}
}

// maxCheckBody bounds what is read of an answer.
const maxCheckBody = 64 << 10

// URLProbe asks a URL, which is good if it answers with 2xx. Each check is a connection of its own: one that is kept
// open says nothing of whether new ones are accepted. Redirects are followed, proxies are not asked.
func URLProbe(address string) func(ctx context.Context) error {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives, transport.Proxy = true, nil
	client := &http.Client{Transport: transport}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxCheckBody))
		if answer.StatusCode < 200 || answer.StatusCode > 299 {
			return fmt.Errorf("%s answered %s", address, answer.Status)
		}
		return nil
	}
}

// checker is the node's own check, and what follows from it.
func (n *Node) checker(cfg CheckConfig) *checker {
	return &checker{cfg: cfg, log: n.log, working: n.working, changed: func(fault string) {
		n.election.set(func(h *health) { h.checkFault = fault })
		if fault != "" {
			wake(n.unfit)
		}
	}}
}
