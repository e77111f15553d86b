package command

import (
	"errors"
	"fmt"
	"time"
)

// action is what the guard wants done. They are done in the order given.
type action uint8

const (
	// askMain sends the stop signal to the program's first process.
	askMain action = iota + 1
	// askRest sends it to all that is left of the program after its first process has ended.
	askRest
	// kill kills all that is left.
	kill
	// reportStopping tells the host that the program is being stopped, and why.
	reportStopping
	// reportEnded tells the host that nothing of the program is left.
	reportEnded
	// quit ends the shim: the listener is closed now.
	quit
)

type phase uint8

const (
	// idle: nothing of the program exists.
	idle phase = iota
	// running: the first process lives.
	running
	// stopping: what is left has been asked to end.
	stopping
	// killing: what is left is being killed.
	killing
)

// guard decides when the program has to stop. It is a pure machine: events come in with the time at which they
// happened, actions go out, and next says when tick wants to be called.
//
// Times are those of CLOCK_BOOTTIME. The one invariant: from until-margin on, the phase is idle or killing.
type guard struct {
	// stopTimeout is how long the program may take to end, margin how long before until it is killed.
	stopTimeout, margin time.Duration

	phase phase
	// until is the moment at which nothing of the program may be left. It never goes back.
	until time.Duration
	// killAt is when patience with a program that is stopping ends.
	killAt time.Duration
	// why the program is being stopped: the first reason.
	why string
	// rounds counts those of killing in this run.
	rounds int
	// leaving: the shim is to end as soon as nothing is left.
	leaving bool
}

// The reasons of the guard's own.
const (
	whyLease    = "the mastership was not renewed in time"
	whyHostGone = "the host is gone"
	whyLeft     = "its first process has ended"
)

// killEvery is the time between the first rounds of killing: who lives on in the second was born during the first, or
// hangs in the kernel. After patientRounds of them it is killSlowly.
const (
	killEvery     = 5 * time.Millisecond
	killSlowly    = 100 * time.Millisecond
	patientRounds = 100
)

var errBusy = errors.New("the program of the run before has not ended")

// run begins a run, or says why that may not be. The caller starts the program if there is no error.
func (g *guard) run(now time.Duration) error {
	switch {
	case g.phase != idle:
		return errBusy
	case g.leaving:
		return errors.New(whyHostGone)
	case now >= g.soft():
		return fmt.Errorf("%w: it is valid for %s, and stopping may take %s", errShort, max(g.until-now, 0), g.stopTimeout+g.margin)
	}
	g.phase, g.why, g.rounds = running, "", 0
	return nil
}

// errShort: there is no sense in starting a program that would have to be stopped at once.
var errShort = errors.New("what is left of the mastership is too short to start the program")

// notStarted takes a run back.
func (g *guard) notStarted() []action {
	g.phase = idle
	return g.leave(nil)
}

// soft is when a running program is asked to end.
func (g *guard) soft() time.Duration { return before(g.until, g.stopTimeout+g.margin) }

// hard is when nothing may be waited for any more.
func (g *guard) hard() time.Duration { return before(g.until, g.margin) }

// before is t less d; forever stays forever.
func before(t, d time.Duration) time.Duration {
	if t == forever {
		return forever
	}
	return t - d
}

// renew moves the end of the mastership on. A program that is being stopped already is stopped all the same, but may
// take the time that it was given.
func (g *guard) renew(until time.Duration) { g.until = max(g.until, until) }

// stop has the program ended by deadline at the latest.
func (g *guard) stop(now, deadline time.Duration, why string) []action {
	switch g.phase {
	case running:
		return g.ask(now, deadline, why)
	case stopping:
		g.killAt = min(g.killAt, deadline)
		return g.tick(now)
	}
	return nil
}

// hostGone: nobody can renew any more, so there is nothing to wait for.
func (g *guard) hostGone(now time.Duration) []action {
	g.leaving = true
	return g.leave(g.stop(now, now+g.stopTimeout, whyHostGone))
}

// end ends the shim when nothing is left, as the host wishes.
func (g *guard) end(now time.Duration) []action {
	g.leaving = true
	return g.leave(g.stop(now, now+g.stopTimeout, "the shim ends"))
}

func (g *guard) ask(now, deadline time.Duration, why string) []action {
	g.phase, g.killAt, g.why = stopping, deadline, why
	return append([]action{askMain, reportStopping}, g.tick(now)...)
}

// mainExited: the first process has ended. What it has left behind is asked to follow.
func (g *guard) mainExited(now time.Duration) []action {
	switch g.phase {
	case running:
		g.phase, g.killAt, g.why = stopping, now+g.stopTimeout, whyLeft
		return append([]action{askRest}, g.tick(now)...)
	case stopping:
		return append([]action{askRest}, g.tick(now)...)
	}
	return nil
}

// empty: nothing of the program is left.
func (g *guard) empty() []action {
	if g.phase == idle {
		return nil
	}
	g.phase = idle
	return g.leave([]action{reportEnded})
}

func (g *guard) leave(actions []action) []action {
	if g.leaving && g.phase == idle {
		return append(actions, quit)
	}
	return actions
}

// tick does what the time has come for.
func (g *guard) tick(now time.Duration) []action {
	switch {
	case g.phase == running && now >= g.hard():
		g.phase, g.why = killing, whyLease
		g.rounds++
		return []action{reportStopping, kill}
	case g.phase == running && now >= g.soft():
		return g.ask(now, forever, whyLease)
	case g.phase == stopping && now >= min(g.killAt, g.hard()):
		g.phase = killing
		g.rounds++
		return []action{kill}
	case g.phase == killing:
		g.rounds++
		return []action{kill}
	}
	return nil
}

// next is when tick wants to be called; forever if never.
func (g *guard) next(now time.Duration) time.Duration {
	switch g.phase {
	case running:
		return g.soft()
	case stopping:
		return min(g.killAt, g.hard())
	case killing:
		if g.rounds > patientRounds {
			return now + killSlowly
		}
		return now + killEvery
	}
	return forever
}
