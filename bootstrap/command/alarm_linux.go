package command

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// bootClock is shared by all processes of the machine, and goes on while it sleeps.
const bootClock = unix.CLOCK_BOOTTIME

// alarm rings at a moment of the boot clock. Go's own timers stand still while the machine sleeps and would ring
// late by as much; this one rings when it wakes up.
type alarm struct {
	file *os.File
	fd   int
	at   time.Duration
	// ring has a value when the moment has come.
	ring chan struct{}
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(bootClock, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	a := &alarm{file: os.NewFile(uintptr(fd), "timerfd"), fd: fd, at: forever, ring: make(chan struct{}, 1)}
	go a.listen() // ends with close
	return a, nil
}

func (a *alarm) listen() {
	var expirations [8]byte
	for {
		if _, err := a.file.Read(expirations[:]); err != nil {
			return
		}
		select {
		case a.ring <- struct{}{}:
		default:
		}
	}
}

// set has it ring at a moment, in place of the one set before.
func (a *alarm) set(at time.Duration) error {
	if at == a.at {
		return nil
	}
	var spec unix.ItimerSpec // zero: never
	if at != forever {
		spec.Value = unix.NsecToTimespec(max(int64(at), 1))
	}
	a.at = at
	return os.NewSyscallError("timerfd_settime", unix.TimerfdSettime(a.fd, unix.TFD_TIMER_ABSTIME, &spec, nil))
}

func (a *alarm) close() { _ = a.file.Close() }
