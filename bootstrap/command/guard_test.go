package command_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/command"
)

const (
	stopTimeout = 2000 * time.Millisecond
	margin      = 200 * time.Millisecond
	span        = 5000 * time.Millisecond
)

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func running(t *testing.T, until time.Duration) *command.Guard {
	t.Helper()
	g := command.NewGuard(stopTimeout, margin)
	g.Renew(until)
	if err := g.Run(0); err != nil {
		t.Fatal(err)
	}
	return g
}

func wantActions(t *testing.T, got []command.Action, want ...command.Action) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Without a renewal the program is asked to end in time, and killed in time.
func TestGuardLapse(t *testing.T) {
	g := running(t, span)
	if at := g.Next(0); at != span-stopTimeout-margin {
		t.Errorf("asks at %s", at)
	}
	wantActions(t, g.Tick(ms(2799)))
	wantActions(t, g.Tick(ms(2800)), command.AskMain, command.ReportStopping)
	if at := g.Next(ms(2800)); at != span-margin {
		t.Errorf("kills at %s", at)
	}
	wantActions(t, g.Tick(ms(4799)))
	wantActions(t, g.Tick(ms(4800)), command.Kill)
	wantActions(t, g.Tick(ms(4805)), command.Kill)
	wantActions(t, g.Empty(), command.ReportEnded)
	if g.Next(ms(4900)) != command.Forever {
		t.Error("an idle guard wants to be called")
	}
}

// A renewal in time keeps the program running; one that comes too late gives it time to end, no more.
func TestGuardRenewal(t *testing.T) {
	g := running(t, span)
	g.Renew(ms(6000))
	g.Renew(ms(5500)) // an old one does not take anything back
	wantActions(t, g.Tick(ms(2800)))
	wantActions(t, g.Tick(ms(3799)))
	wantActions(t, g.Tick(ms(3800)), command.AskMain, command.ReportStopping)
	g.Renew(ms(9000))
	wantActions(t, g.Tick(ms(5800)))
	wantActions(t, g.Tick(ms(8800)), command.Kill)
}

// A machine that has slept through it all kills at once.
func TestGuardAfterSleep(t *testing.T) {
	g := running(t, span)
	wantActions(t, g.Tick(ms(4900)), command.ReportStopping, command.Kill)
}

// When the host has gone nobody can renew: the end begins at once, and the listener goes last.
func TestGuardHostGone(t *testing.T) {
	g := running(t, span)
	wantActions(t, g.HostGone(ms(1000)), command.AskMain, command.ReportStopping)
	if at := g.Next(ms(1000)); at != ms(3000) {
		t.Errorf("kills at %s", at)
	}
	wantActions(t, g.MainExited(ms(1100)), command.AskRest)
	wantActions(t, g.Tick(ms(3000)), command.Kill)
	wantActions(t, g.Empty(), command.ReportEnded, command.Quit)

	g = command.NewGuard(stopTimeout, margin)
	wantActions(t, g.HostGone(0), command.Quit)

	g = running(t, span)
	wantActions(t, g.HostGone(ms(4000)), command.AskMain, command.ReportStopping)
	if at := g.Next(ms(4000)); at != span-margin {
		t.Errorf("kills at %s, after the end of the mastership", at)
	}
}

// A clean stop may take longer than the lease, as long as that is renewed.
func TestGuardCleanStop(t *testing.T) {
	g := running(t, span)
	wantActions(t, g.Stop(0, ms(30000)), command.AskMain, command.ReportStopping)
	for now := 0; now < 30000; now += 1000 {
		wantActions(t, g.Tick(ms(now)))
		g.Renew(ms(now) + span)
	}
	wantActions(t, g.Tick(ms(30000)), command.Kill)

	g = running(t, span)
	wantActions(t, g.Stop(0, ms(30000)), command.AskMain, command.ReportStopping)
	wantActions(t, g.Stop(ms(100), ms(1000))) // the mastership is lost meanwhile
	wantActions(t, g.Tick(ms(1000)), command.Kill)
}

// What the first process leaves behind goes with it before anything can be started again.
func TestGuardLeftovers(t *testing.T) {
	g := running(t, command.Forever)
	wantActions(t, g.MainExited(ms(100)), command.AskRest)
	if g.Run(ms(200)) == nil {
		t.Error("a second one was started beside the rest of the first")
	}
	wantActions(t, g.Tick(ms(2100)), command.Kill)
	wantActions(t, g.Empty(), command.ReportEnded)
	if err := g.Run(ms(2200)); err != nil {
		t.Error(err)
	}
}

// A program that would have to be stopped at once is not started.
func TestGuardRefusesShortLease(t *testing.T) {
	g := command.NewGuard(stopTimeout, margin)
	g.Renew(span)
	if g.Run(span-stopTimeout-margin) == nil {
		t.Error("started too late")
	}
	if err := g.Run(span - stopTimeout - margin - 1); err != nil {
		t.Error(err)
	}
	wantActions(t, g.NotStarted())
	if !g.Idle() {
		t.Error("what was not started runs")
	}
	wantActions(t, g.HostGone(0), command.Quit)
	if g.Run(0) == nil {
		t.Error("started without a host")
	}
}

// Whatever happens, in whatever order: with margin left of the mastership nothing is waited for, a program that must
// end gets called for, and the shim leaves only when nothing is left.
func TestGuardInvariants(t *testing.T) {
	for seed := range uint64(3000) {
		if err := guardRun(seed, 200); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func guardRun(seed uint64, steps int) error {
	random := rand.New(rand.NewPCG(seed, 1))
	g := command.NewGuard(stopTimeout, margin)
	now, until := time.Duration(0), time.Duration(0)
	alive, main := false, false
	for range steps {
		now += time.Duration(random.Int64N(int64(600 * time.Millisecond)))
		// The alarm rings first, as the shim's does.
		actions := g.Tick(now)
		killed := slices.Contains(actions, command.Kill)
		switch random.IntN(9) {
		case 0:
			if err := g.Run(now); err == nil {
				if alive {
					return fmt.Errorf("at %s: two at one time", now)
				}
				if now+stopTimeout+margin >= until {
					return fmt.Errorf("at %s: started although the mastership ends at %s", now, until)
				}
				alive, main = true, true
			}
		case 1, 2, 3:
			until = max(until, now+span)
			g.Renew(now + span)
		case 4:
			actions = append(actions, g.Stop(now, now+time.Duration(random.Int64N(int64(10*time.Second))))...)
		case 5:
			if alive && main {
				main = false
				actions = append(actions, g.MainExited(now)...)
			}
		case 6:
			if alive && (!main || killed) {
				alive, main = false, false
				actions = append(actions, g.Empty()...)
			}
		case 7:
			if random.IntN(20) == 0 {
				actions = append(actions, g.HostGone(now)...)
			}
		}
		if alive && now >= until-margin && g.Patient() {
			return fmt.Errorf("at %s: waits for a program although the mastership ends at %s", now, until)
		}
		if next := g.Next(now); g.Patient() && next > until-margin || !g.Patient() && alive && next > now+ms(100) {
			return fmt.Errorf("at %s: does not come back before %s, and the mastership ends at %s", now, next, until)
		}
		if alive == g.Idle() {
			return fmt.Errorf("at %s: alive=%v, and the guard thinks otherwise", now, alive)
		}
		if slices.Contains(actions, command.Quit) {
			if alive {
				return fmt.Errorf("at %s: the listener was closed over a living program", now)
			}
			return nil
		}
	}
	return nil
}
