//go:build unix

package command

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// The files that the host hands to its shim, beside those that setup names.
const (
	controlFile = 3
	outputFile  = 4
)

// ShimMain is the whole life of a shim; the result is its exit code. The binary calls it when its first argument is
// ShimArgument. It ends when the host has gone or says so, after everything of the program has ended, and not
// before.
func ShimMain() int {
	s, err := newShim()
	if err != nil {
		fmt.Fprintln(os.Stderr, "shim:", err)
		return 1
	}
	if err := s.live(); err != nil {
		fmt.Fprintln(os.Stderr, "shim:", err)
		return 1
	}
	return 0
}

var errNotOurs = errors.New("this is a part of bootstrap, which starts it by itself for a workload.command")

// shim does what its guard decides. All of it happens in live's goroutine.
type shim struct {
	control *os.File
	orders  chan order
	outbox  chan event

	alarm  *alarm
	guard  guard
	group  *group
	outlet *outlet
	held   []*os.File
	// exited is how the first process of this run ended; nil while it lives.
	exited *exit
	left   int
	// written is closed when all output has been sent.
	done, written chan struct{}
}

func newShim() (*shim, error) {
	if os.Getenv(shimName) == "" {
		return nil, errNotOurs
	}
	for _, fd := range []int{controlFile, outputFile} {
		syscall.CloseOnExec(fd)
		// Not blocking, so that the runtime waits for it without a thread.
		if err := syscall.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("%w: %w", errNotOurs, err)
		}
	}
	// Whoever wants to end the program tells the host; the shim itself ends last. The signals are taken and not
	// ignored, because the program would inherit that.
	taken := make(chan os.Signal, 1)
	signal.Notify(taken, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	// The program is none.
	if err := os.Unsetenv(shimName); err != nil {
		return nil, err
	}
	if err := adopt(); err != nil {
		return nil, err
	}
	alarm, err := newAlarm()
	if err != nil {
		return nil, err
	}
	s := &shim{
		control: os.NewFile(controlFile, "control"), orders: make(chan order), outbox: make(chan event, 1024),
		alarm: alarm, outlet: newOutlet(), done: make(chan struct{}), written: make(chan struct{}),
	}
	output := os.NewFile(outputFile, "output")
	go func() {
		defer close(s.written)
		s.outlet.write(output, s.done)
	}()
	go s.read()
	go s.say()
	return s, nil
}

// read takes the host's orders until it has gone.
func (s *shim) read() {
	defer close(s.orders)
	_ = receive(s.control, func(o order) { s.orders <- o })
}

// say sends events to the host, in a goroutine of its own: a frozen host takes nothing.
func (s *shim) say() {
	for e := range s.outbox {
		if data, err := encode(e); err == nil {
			_, _ = s.control.Write(data) // a host that has gone needs no event
		}
	}
}

// tell queues an event. A host that has not taken a thousand of them is frozen, and will see the end of it all.
func (s *shim) tell(e event) {
	select {
	case s.outbox <- e:
	default:
	}
}

func (s *shim) live() error {
	first, ok := <-s.orders
	if !ok {
		return nil // the host has gone before it said anything
	}
	if first.Op != opSetup || first.Setup == nil {
		return errors.New("the first order is not the setup")
	}
	if err := s.setUp(*first.Setup); err != nil {
		return err
	}
	s.tell(event{Ev: evReady, PID: os.Getpid()})
	for {
		if err := s.alarm.set(s.guard.next(bootTime())); err != nil {
			return err
		}
		var actions []action
		select {
		case o, ok := <-s.orders:
			if ok {
				actions = s.obey(o)
			} else {
				s.orders = nil
				actions = s.guard.hostGone(bootTime())
			}
		case e := <-s.group.events:
			actions = s.note(e)
		case <-s.alarm.ring:
			actions = s.guard.tick(bootTime())
		}
		if s.do(actions) {
			s.leave()
			return nil
		}
	}
}

func (s *shim) setUp(with setup) error {
	stop, err := stopSignal(with.StopSignal)
	if err != nil {
		return err
	}
	s.guard = guard{stopTimeout: with.StopTimeout, margin: with.Margin}
	var held []uintptr
	for _, fd := range with.Held {
		syscall.CloseOnExec(fd) // the program gets a duplicate
		s.held = append(s.held, os.NewFile(uintptr(fd), "held"))
		held = append(held, uintptr(fd))
	}
	s.group = newGroup(cgroup{dir: with.GroupDir}, held, stop, s.outlet)
	return nil
}

func (s *shim) obey(o order) []action {
	now := bootTime()
	switch o.Op {
	case opRun:
		return s.run(now, o.Run)
	case opRenew:
		s.guard.renew(o.Until)
		s.tell(event{Ev: evRenewed, Number: o.Number})
	case opStop:
		return s.guard.stop(now, o.Deadline, o.Why)
	case opEnd:
		return s.guard.end(now)
	}
	return nil
}

func (s *shim) run(now time.Duration, r *runOrder) []action {
	if r == nil || len(r.Command) == 0 {
		s.tell(event{Ev: evNotStarted, Text: "there is no program to start"})
		return nil
	}
	s.guard.renew(r.Until)
	if err := s.guard.run(now); err != nil {
		s.tell(event{Ev: evNotStarted, Text: err.Error(), Short: errors.Is(err, errShort)})
		return nil
	}
	s.exited, s.left = nil, 0
	pid, remark, err := s.group.start(r)
	if err != nil {
		s.tell(event{Ev: evNotStarted, Text: err.Error()})
		return s.guard.notStarted()
	}
	if remark != "" {
		s.tell(event{Ev: evNote, Text: remark})
	}
	s.tell(event{Ev: evStarted, PID: pid})
	return nil
}

// note takes what has happened to the program.
func (s *shim) note(e groupEvent) []action {
	if e.exit != nil {
		s.exited, s.left = e.exit, e.left
		s.tell(event{Ev: evExited, Exit: e.exit, Left: e.left})
		return s.guard.mainExited(bootTime())
	}
	actions := s.guard.empty()
	for _, a := range actions {
		if a == reportEnded {
			s.tell(event{Ev: evEnded, Text: s.guard.why, Exit: s.exited, Left: s.left, Killed: e.killed})
		}
	}
	return actions
}

// do carries actions out, and reports whether the shim is to end.
func (s *shim) do(actions []action) (end bool) {
	for _, a := range actions {
		switch a {
		case askMain:
			s.group.askMain()
		case askRest:
			s.group.askRest()
		case kill:
			s.group.kill()
		case reportStopping:
			s.tell(event{Ev: evStopping, Text: s.guard.why})
		case quit:
			end = true
		}
	}
	return end
}

// lastWords is how long the shim waits for its output to be taken, after it has let everything go.
const lastWords = 200 * time.Millisecond

// leave lets the listener go, last of all: from here on a connection to it is refused, and nothing is left that could
// work.
func (s *shim) leave() {
	closeAll(s.held)
	s.group.cgroup.remove()
	s.alarm.close()
	go func() {
		s.group.output.Wait()
		close(s.done)
	}()
	select {
	case <-s.written:
	case <-time.After(lastWords):
	}
}
