//go:build unix

package command

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// shimProcess is the host's end of a shim.
type shimProcess struct {
	pid     int
	mark    string
	cgroup  cgroup
	process *os.Process
	control *net.UnixConn
	// events is closed when the shim has hung up.
	events chan event
	// gone is closed when it has been collected; deaf when nobody listens to its events any more.
	gone, deaf chan struct{}
	deafOnce   sync.Once
	reading    sync.WaitGroup
}

// How a program is known to be a program's.
const (
	byCgroup  = "control group and descent"
	byDescent = "descent"
)

func (s *shimProcess) contained() string {
	if s.cgroup.usable() {
		return byCgroup
	}
	return byDescent
}

const (
	// readyTimeout is how long a shim may take to come up.
	readyTimeout = 10 * time.Second
	// orderTimeout is how long an order may wait for a place in the socket's buffer, which holds hundreds.
	orderTimeout = 100 * time.Millisecond
)

// launchShim starts a shim and waits until it is ready.
func launchShim(ctx context.Context, opt Options, lock *os.File, say speaker) (_ *shimProcess, err error) {
	var theirs []*os.File // the shim's ends, which are closed here in any case
	defer func() { closeAll(theirs) }()
	ours, control, err := socketPair()
	if err != nil {
		return nil, err
	}
	theirs = append(theirs, control)
	s := &shimProcess{
		mark: newMark(opt.DataDir), control: ours, events: make(chan event), gone: make(chan struct{}), deaf: make(chan struct{}),
	}
	output, outputTheirs, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	errs, errsTheirs, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, ours.Close(), output.Close(), outputTheirs.Close())
	}
	theirs = append(theirs, outputTheirs)
	files := []*os.File{control, outputTheirs}
	with := setup{
		StopSignal: opt.Config.StopSignal, StopTimeout: opt.Config.StopTimeout, Margin: killMargin(opt.Lease),
	}
	hold := func(f *os.File) {
		files = append(files, f)
		with.Held = append(with.Held, controlFile+len(files)-1)
	}
	hold(lock)
	abandon := func(err error) (*shimProcess, error) {
		s.cgroup.remove()
		return nil, errors.Join(err, ours.Close(), output.Close(), errs.Close(), errsTheirs.Close())
	}
	if opt.Liveness != nil {
		listener, err := opt.Liveness()
		if err != nil {
			return abandon(fmt.Errorf("duplicate the liveness socket: %w", err))
		}
		if listener != nil {
			theirs = append(theirs, listener)
			hold(listener)
		}
	}
	if !opt.Config.NoCgroup {
		if s.cgroup, err = makeCgroup(cgroupName(s.mark)); err != nil {
			opt.Log.Debug("there is no control group for the program: descent alone tells what belongs to it", "reason", err)
		}
		with.GroupDir = s.cgroup.dir
	}
	if s.process, err = fork(opt, s.mark, append([]*os.File{errsTheirs}, files...)); err != nil {
		return abandon(err)
	}
	// Before anything can go wrong: what reads from the shim ends when nobody has the other ends.
	closeAll(append(theirs, errsTheirs))
	theirs = nil
	s.pid = s.process.Pid
	s.attend(output, errs, say, opt.Log)
	return s, s.greet(ctx, with)
}

// fork starts the process of a shim, with files as its standard error and what comes after it.
func fork(opt Options, mark string, files []*os.File) (*os.Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	attr := &syscall.ProcAttr{
		Env: append(os.Environ(), shimName+"="+mark),
		// A session of its own: what is sent to our group or comes from a terminal does not reach it. No parent-death
		// signal: it is there to survive us.
		Sys: &syscall.SysProcAttr{Setsid: true},
	}
	for _, f := range append([]*os.File{null, null}, files...) {
		fd, err := number(f)
		if err != nil {
			return nil, err
		}
		attr.Files = append(attr.Files, fd)
	}
	argv := slices.Concat(opt.Shim, []string{"of", opt.NodeID})
	pid, err := syscall.ForkExec(opt.Shim[0], argv, attr)
	runtime.KeepAlive(files)
	if err != nil {
		return nil, &os.PathError{Op: "start", Path: opt.Shim[0], Err: err}
	}
	return os.FindProcess(pid) // our child, whose number is its own until we wait for it
}

// number is that of an open file. File.Fd would have it block, and with it every duplicate: whoever waits for
// connections at the liveness socket would do so with a whole thread, and could not be stopped.
func number(f *os.File) (fd uintptr, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = conn.Control(func(n uintptr) { fd = n })
	return fd, err
}

// attend starts what reads from the shim and waits for its end.
func (s *shimProcess) attend(output, errs *os.File, say speaker, log *slog.Logger) {
	s.reading.Go(func() {
		defer close(s.events)
		_ = receive(s.control, func(e event) {
			select {
			case s.events <- e:
			case <-s.deaf:
			}
		})
	})
	s.reading.Go(func() {
		defer output.Close()
		readLines(output, say)
	})
	s.reading.Go(func() {
		defer errs.Close()
		lines := bufio.NewScanner(errs)
		for lines.Scan() {
			log.Warn("the shim says", "text", lines.Text())
		}
	})
	s.reading.Go(func() {
		_, _ = s.process.Wait() // it says no more than the end itself
		close(s.gone)
	})
}

// greet tells the shim what it is for, and waits for its answer.
func (s *shimProcess) greet(ctx context.Context, with setup) error {
	err := s.order(order{Op: opSetup, Setup: &with})
	if err != nil {
		err = fmt.Errorf("it takes no orders: %w", err)
	} else {
		timeout := time.NewTimer(readyTimeout)
		defer timeout.Stop()
		select {
		case e, ok := <-s.events:
			if ok && e.Ev == evReady {
				return nil
			}
			err = errors.New("it ended at once")
		case <-timeout.C:
			err = fmt.Errorf("it is not ready after %s", readyTimeout)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	return errors.Join(err, s.destroy())
}

func (s *shimProcess) alive() bool {
	select {
	case <-s.gone:
		return false
	default:
		return true
	}
}

// order sends an order. It does not wait for a shim that takes none.
func (s *shimProcess) order(o order) error {
	data, err := encode(o)
	if err != nil {
		return err
	}
	if err := s.control.SetWriteDeadline(time.Now().Add(orderTimeout)); err != nil {
		return err
	}
	_, err = s.control.Write(data)
	return err
}

// end ends a shim whose program does not run.
func (s *shimProcess) end(ctx context.Context) error {
	if s.order(order{Op: opEnd}) == nil {
		select {
		case <-s.gone:
		case <-ctx.Done():
		}
	}
	return s.destroy()
}

// destroyTimeout is how long killed processes may take to go.
const destroyTimeout = 5 * time.Second

// destroy ends the shim and everything of its program, by our own hand, and forgets it. It may be called after the
// shim has ended by itself, and more than once. An error names what is left.
func (s *shimProcess) destroy() error {
	s.deafOnce.Do(func() { close(s.deaf) })
	_ = s.process.Kill()
	<-s.gone
	_ = s.control.Close()
	err := killMarked(markName, s.mark, s.cgroup, destroyTimeout)
	s.cgroup.remove()
	s.reading.Wait()
	return err
}

// socketPair returns our end of a new connection, and the file of the other.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	syscall.CloseOnExec(fds[0])
	syscall.CloseOnExec(fds[1])
	ours, theirs := os.NewFile(uintptr(fds[0]), "shim"), os.NewFile(uintptr(fds[1]), "shim")
	defer ours.Close()
	conn, err := net.FileConn(ours) // a duplicate
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn.(*net.UnixConn), theirs, nil
}

// The environment variables by which processes are known again: those of a program, and the shim itself. The value
// is a mark.
const (
	markName = "UNDERSTUDY_COMMAND_ID"
	shimName = "UNDERSTUDY_SHIM_ID"
)

// newMark returns a value that no other shim has. Its first part is the same for all of one data folder.
func newMark(dataDir string) string { return markPrefix(dataDir) + rand.Text() }

// markPrefix names a data folder by what it is, not by its path, which may mean other folders to other processes.
func markPrefix(dataDir string) string {
	var st unix.Stat_t
	if err := unix.Stat(dataDir, &st); err != nil {
		return "unknown." // it was there a moment ago
	}
	return fmt.Sprintf("%x-%x.", st.Dev, st.Ino)
}

func cgroupName(mark string) string { return "understudy-" + mark }
