package command_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/bootstrap/command"
)

// tagged lists the living processes of a program.
func tagged(tag string) []int {
	entries, _ := filepath.Glob("/proc/[0-9]*/environ")
	var pids []int
	for _, entry := range entries {
		environ, err := os.ReadFile(entry)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(entry)))
		if err == nil && bytes.Contains(environ, []byte("\x00"+tagEnv+"="+tag+"\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func mustBeGone(t *testing.T, tag string) {
	t.Helper()
	if left := tagged(tag); len(left) > 0 {
		t.Errorf("left of the program: %v", left)
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

func mustStop(t *testing.T, r *rig, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := r.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	mustBeGone(t, r.tag)
	if s := r.Status(); s.PID != 0 || s.State != command.StateIdle {
		t.Errorf("after the stop: %+v", s)
	}
}

// A program is started, asked to end, and may say its last words.
func TestStartAndStop(t *testing.T) {
	r := newRig(t, "slow", nil)
	if len(tagged(r.tag)) > 0 {
		t.Error("a standby has started it")
	}
	r.start(t, newLease(time.Hour))
	s := r.Status()
	if s.State != command.StateRunning || s.PID != tagged(r.tag)[0] || r.Health() != nil {
		t.Errorf("status: %+v", s)
	}
	mustStop(t, r, patience)
	r.log.await(t, "msg=goodbye", 1)
	if strings.Contains(r.log.String(), "had to be killed") {
		t.Error("it was killed")
	}
	// The same shim serves the next mastership.
	if err := r.Start(t.Context(), r.mastership(newLease(time.Hour))); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `msg="up `, 2)
	mustStop(t, r, patience)
}

func TestEnvironment(t *testing.T) {
	dir := t.TempDir()
	var data string
	r := newRig(t, "environment", func(o *command.Options) {
		o.Config.Dir = dir
		o.Config.Env = append(o.Config.Env, "COLOUR=light blue")
		o.Config.Command = append(o.Config.Command, "a b", "c")
		data = o.DataDir
	})
	r.start(t, newLease(time.Hour))
	for _, want := range []string{
		`msg="dir ` + dir + `" program=`, `msg="TERM 7"`, `msg="TERM_NODE node-1"`, `msg="NODE_ID node-1"`, `msg="CLUSTER test"`,
		`msg="DATA_DIR ` + data + `"`, `msg="SHIM_ID "`, `msg="COLOUR light blue"`, `msg="args a b|c"`, "stream=stdout", "stream=stderr",
	} {
		r.log.await(t, want, 1)
	}
	mustStop(t, r, patience)
}

// What does not hear is killed, with all its children wherever they have gone.
func TestFamilyThatDoesNotHear(t *testing.T) {
	r := newRig(t, "family", func(o *command.Options) { o.Config.StopTimeout = 50 * time.Millisecond })
	r.start(t, newLease(time.Hour))
	eventually(t, "the family is complete", func() bool { return len(tagged(r.tag)) == 4 })
	r.lose()
	mustStop(t, r, patience)
	r.log.await(t, "had to be killed", 1)
}

// The same without a control group, by descent alone.
func TestFamilyByDescent(t *testing.T) {
	r := newRig(t, "family", func(o *command.Options) { o.Config.NoCgroup = true })
	if s := r.Status(); s.Contained != "descent" {
		t.Errorf("contained by %s", s.Contained)
	}
	r.start(t, newLease(time.Hour))
	eventually(t, "the family is complete", func() bool { return len(tagged(r.tag)) == 4 })
	mustStop(t, r, 50*time.Millisecond)
}

// A signal that a script does not pass on reaches what the script leaves behind.
func TestScript(t *testing.T) {
	r := newRig(t, "script", nil)
	r.start(t, newLease(time.Hour))
	mustStop(t, r, patience)
	if strings.Contains(r.log.String(), "had to be killed") {
		t.Error("it was killed")
	}
}

// A program that goes into the background is told so, and never runs twice.
func TestBackground(t *testing.T) {
	r := newRig(t, "background", func(o *command.Options) { o.Config.RestartMax = 2 })
	r.start(t, newLease(time.Hour))
	r.log.await(t, "a program that puts itself into the background must be told not to", 3)
	mustFail(t, r, "after 2 restarts within 1m0s")
	mustStop(t, r, patience)
}

func mustFail(t *testing.T, r *rig, want string) {
	t.Helper()
	select {
	case err := <-r.Failed():
		var gaveUp *command.GaveUp
		if !errors.As(err, &gaveUp) || gaveUp.CoolDown() != 30*time.Second || !strings.Contains(err.Error(), want) {
			t.Errorf("failed with %v, want %s", err, want)
		}
	case <-time.After(patience):
		t.Fatalf("it has not failed; status %+v", r.Status())
	}
	if s := r.Status(); s.State != command.StateFailed || r.Health() == nil {
		t.Errorf("status: %+v", s)
	}
}

func TestRestartBudget(t *testing.T) {
	r := newRig(t, "failure", func(o *command.Options) { o.Config.RestartMax = 2 })
	r.start(t, newLease(time.Hour))
	r.log.await(t, `msg="up `, 3)
	mustFail(t, r, "exit code 3, after 2 restarts")
	if s := r.Status(); s.Restarts != 2 || s.LastExit != "exit code 3" {
		t.Errorf("status: %+v", s)
	}
	mustStop(t, r, patience)
}

func TestRestartPolicies(t *testing.T) {
	r := newRig(t, "success", func(o *command.Options) { o.Config.Restart = command.RestartOnFailure })
	r.start(t, newLease(time.Hour))
	r.log.await(t, "the program's work is done", 1)
	if s := r.Status(); s.State != command.StateFinished || r.Health() != nil {
		t.Errorf("status: %+v", s)
	}
	mustStop(t, r, patience)

	r = newRig(t, "failure", func(o *command.Options) { o.Config.Restart = command.RestartNever })
	r.start(t, newLease(time.Hour))
	mustFail(t, r, "exit code 3, and workload.restart=never")
	mustStop(t, r, patience)
}

func TestNoSuchProgram(t *testing.T) {
	opt := options(t, "", "", slog.New(slog.DiscardHandler))
	for _, test := range []struct{ program, dir, want string }{
		{filepath.Join(t.TempDir(), "absent"), "", "workload.command:"},
		{"no-such-program-anywhere", "", "workload.command:"},
		{os.Args[0], "/nowhere", "workload.dir:"},
		{os.Args[0], os.Args[0], "is no folder"},
	} {
		opt.Config.Command, opt.Config.Dir = []string{test.program}, test.dir
		w := command.New(opt)
		if err := w.Init(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test, err)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	// One that can be found and not be run.
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, "", func(o *command.Options) { o.Config.Command = []string{script} })
	if err := r.Start(t.Context(), r.mastership(nil)); err == nil || !strings.Contains(err.Error(), script) {
		t.Errorf("start: %v", err)
	}
}

// A shim that does not come up, or is not waited for any longer: the node hears why, and nothing is left of it.
func TestShimThatDoesNotComeUp(t *testing.T) {
	for name, test := range map[string]struct {
		shim string
		ends bool
		want string
	}{
		"it ends":            {shim: "read setup <&3", want: "it ended at once"},
		"the node is to end": {shim: "exec sleep 1000", ends: true, want: context.Canceled.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			log := &journal{}
			opt := options(t, "polite", newTag(t), slog.New(slog.NewTextHandler(log, nil)))
			opt.Shim = []string{"/bin/sh", "-c", "echo pid=$$ >&2; " + test.shim}
			w := command.New(opt)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			initialised := make(chan error, 1)
			go func() { initialised <- w.Init(ctx) }()
			log.await(t, "pid=", 1)
			if test.ends {
				cancel()
			}
			select {
			case err := <-initialised:
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v, want %q", err, test.want)
				}
			case <-time.After(patience):
				t.Fatal("it waits for the shim for ever")
			}
			if err := w.Close(t.Context()); err != nil {
				t.Error(err)
			}
			var pid int
			_, said, _ := strings.Cut(log.String(), "pid=")
			if _, err := fmt.Sscan(said, &pid); err != nil && pid == 0 || lives(pid) {
				t.Errorf("process %d is left of %q", pid, said)
			}
		})
	}
}

func TestFlood(t *testing.T) {
	r := newRig(t, "flood", nil)
	l := newLease(time.Hour)
	r.start(t, l)
	r.log.await(t, "flood flood", 10000)
	l.renew(time.Hour) // is heard in all that noise
	mustStop(t, r, patience)
}

func TestMute(t *testing.T) {
	r := newRig(t, "mute", nil)
	r.start(t, newLease(time.Hour))
	mustStop(t, r, patience)
}

// Without a renewal the shim stops the program by itself; with the next one it runs again, which is no restart.
func TestLapse(t *testing.T) {
	r := newRig(t, "polite", func(o *command.Options) {
		o.Lease, o.Config.StopTimeout = time.Second, 200*time.Millisecond
	})
	l := newLease(time.Second)
	r.start(t, l)
	eventually(t, "it is stopped", func() bool { return r.Status().State == command.StateLease })
	mustBeGone(t, r.tag)
	l.renew(time.Hour)
	r.log.await(t, `msg="up `, 2)
	if s := r.Status(); s.Restarts != 0 {
		t.Errorf("%d restarts", s.Restarts)
	}
	mustStop(t, r, patience)
}

// A mastership that has been lost, a Start that is given up, a Close without a Stop.
func TestOrderOfCalls(t *testing.T) {
	r := newRig(t, "polite", nil)
	r.start(t, newLease(time.Hour))
	r.lose()
	r.log.await(t, "the program has ended", 1)
	mustStop(t, r, patience)

	r = newRig(t, "polite", func(o *command.Options) { o.Lease = time.Second })
	ctx, cancel := context.WithCancel(t.Context())
	l := newLease(0) // too short to start
	failed := make(chan error)
	go func() { failed <- r.Start(ctx, r.mastership(l)) }()
	r.log.await(t, "the program is not started yet", 1)
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("start: %v", err)
	}
	mustStop(t, r, patience)

	r = newRig(t, "polite", nil)
	r.start(t, newLease(time.Hour)) // and only closed
}

// The shim is killed: the host ends what it has left, wherever it has gone, and gives up.
func TestShimKilled(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGKILL, unix.SIGSTOP} {
		for _, cgroups := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/cgroups=%v", sig, cgroups), func(t *testing.T) {
				r := newRig(t, "family", func(o *command.Options) { o.Config.NoCgroup = !cgroups })
				l := newLease(time.Hour)
				r.start(t, l)
				eventually(t, "the family is complete", func() bool { return len(tagged(r.tag)) == 4 })
				shim := r.Status().Shim
				if err := unix.Kill(shim, sig); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the shim does nothing any more", func() bool { return !lives(shim) || state(shim) == 'T' })
				defer l.keepRenewing()()
				mustFail(t, r, "the shim of the program")
				mustBeGone(t, r.tag)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if err := r.Stop(ctx); err != nil {
					t.Error(err)
				}
				// Another mastership gets a new shim.
				if err := r.Start(t.Context(), r.mastership(newLease(time.Hour))); err != nil {
					t.Fatal(err)
				}
				mustStop(t, r, 50*time.Millisecond)
			})
		}
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	// Not the test's context: it has ended when a test cleans up.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if done() {
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// lives: a dead process that nobody has collected does not.
func lives(pid int) bool {
	s := state(pid)
	return s != 0 && s != 'Z'
}

// state is the letter that the kernel gives for a process: T if it stands still, Z if it is dead, 0 if it is not there.
func state(pid int) byte {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	if end := bytes.LastIndexByte(stat, ')'); end >= 0 && len(stat) > end+2 {
		return stat[end+2]
	}
	return 0
}

// The listener that the shim holds, too, is still the host's: whoever waits for connections there can be stopped.
func TestListenerCanBeClosed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepting := make(chan error)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				accepting <- err
				return
			}
			_ = conn.Close()
		}
	}()
	r := newRig(t, "polite", func(o *command.Options) { o.Liveness = listener.(*net.TCPListener).File })
	r.start(t, newLease(time.Hour))
	conn, err := net.Dial("tcp", listener.Addr().String()) // has it accept once more
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Read(make([]byte, 1))
	_ = conn.Close()
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
	if err := <-accepting; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	// And nobody is refused while the program runs.
	if conn, err = net.Dial("tcp", listener.Addr().String()); err != nil {
		t.Error(err)
	} else {
		_ = conn.Close()
	}
	mustStop(t, r, patience)
}

// Nobody starts a shim by hand.
func TestShimByHand(t *testing.T) {
	out, err := exec.Command(os.Args[0], command.ShimArgument).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "which starts it by itself for a workload.command") {
		t.Errorf("%v: %s", err, out)
	}
}
