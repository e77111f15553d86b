//go:build unix && !linux

package command

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootClock is shared by all processes of the machine. On macOS it goes on while the machine sleeps.
const bootClock = unix.CLOCK_MONOTONIC

// alarm rings at a moment of the boot clock.
type alarm struct {
	at time.Duration
	// ring has a value when the moment may have come: it rings at least every alarmStep while it is set, because the
	// timer below may stand still while the machine sleeps.
	ring  chan struct{}
	timer *time.Timer
}

const alarmStep = 100 * time.Millisecond

func newAlarm() (*alarm, error) {
	a := &alarm{at: forever, ring: make(chan struct{}, 1)}
	a.timer = time.AfterFunc(time.Hour, func() {
		select {
		case a.ring <- struct{}{}:
		default:
		}
	})
	a.timer.Stop()
	return a, nil
}

func (a *alarm) set(at time.Duration) error {
	a.at = at
	if at == forever {
		a.timer.Stop()
		return nil
	}
	a.timer.Reset(max(min(at-bootTime(), alarmStep), 0))
	return nil
}

func (a *alarm) close() { a.timer.Stop() }
