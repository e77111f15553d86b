package command_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/bootstrap/command"
)

// programEnv makes the test binary a program of that kind.
const programEnv = "TEST_PROGRAM"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == command.ShimArgument {
		os.Exit(command.ShimMain())
	}
	if kind := os.Getenv(programEnv); kind != "" {
		programs[kind]()
		os.Exit(0)
	}
	if os.Getenv(hostEnv) != "" {
		hostMain()
		return
	}
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // for the processes that are started
	goleak.VerifyTestMain(m)
}

// programs are what the tests run. Each says "up" when it is.
var programs = map[string]func(){
	"polite":  func() { up(); awaitTerm(); fmt.Println("goodbye") },
	"slow":    func() { up(); awaitTerm(); time.Sleep(300 * time.Millisecond); fmt.Println("goodbye") },
	"deaf":    func() { signal.Ignore(syscall.SIGTERM); up(); sleep() },
	"success": func() { up() },
	"failure": func() { up(); os.Exit(3) },
	"flood": func() {
		up()
		text := bytes.Repeat([]byte("flood flood flood flood flood flood\n"), 100)
		for {
			if _, err := os.Stdout.Write(text); err != nil {
				sleep()
			}
		}
	},
	"mute": func() { up(); _, _ = os.Stdout.Close(), os.Stderr.Close(); awaitTerm() },
	"environment": func() {
		dir, _ := os.Getwd()
		fmt.Println("dir", dir)
		for _, name := range []string{"TERM", "TERM_NODE", "NODE_ID", "CLUSTER", "DATA_DIR", "SHIM_ID"} {
			fmt.Println(name, os.Getenv("UNDERSTUDY_"+name))
		}
		fmt.Println("COLOUR", os.Getenv("COLOUR"))
		fmt.Fprintln(os.Stderr, "args", strings.Join(os.Args[1:], "|"))
		up()
		awaitTerm()
	},
	// A family: one child in its group, one in a session of its own, and a daemon whose parent has ended. None of them
	// hears a SIGTERM, and the daemon has closed all files.
	"family": func() {
		signal.Ignore(syscall.SIGTERM)
		child("deaf", nil)
		child("deaf", &syscall.SysProcAttr{Setsid: true})
		child("forker", &syscall.SysProcAttr{Setsid: true})
		up()
		sleep()
	},
	"forker": func() { child("daemon", &syscall.SysProcAttr{Setsid: true}) },
	"daemon": func() {
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
		for fd := 3; fd < 64; fd++ {
			_ = syscall.Close(fd)
		}
		sleep()
	},
	// A program that puts itself into the background.
	"background": func() { child("polite", &syscall.SysProcAttr{Setsid: true}); up() },
	// A script without exec: it does not pass the signal on.
	"script": func() { child("polite", nil); up(); awaitTerm() },
}

// up tells the test that the program is there; its children are, too.
func up() { fmt.Println("up", os.Getpid()) }

func sleep() { select {} }

func awaitTerm() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
}

// child starts another one of programs. It is there when child returns.
func child(kind string, attr *syscall.SysProcAttr) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), programEnv+"="+kind)
	cmd.SysProcAttr = attr
	if kind == "polite" {
		out, err := cmd.StdoutPipe()
		if err != nil {
			panic(err)
		}
		defer func() { _, _ = bufio.NewReader(out).ReadString('\n') }()
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
}

// lease is a mastership's end that a test moves on.
type lease struct {
	mu      sync.Mutex
	until   time.Duration
	renewed chan struct{}
}

func newLease(d time.Duration) *lease {
	return &lease{until: command.BootTime() + d, renewed: make(chan struct{})}
}

func (l *lease) Until() (time.Duration, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until, l.renewed
}

func (l *lease) renew(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = command.BootTime() + d
	close(l.renewed)
	l.renewed = make(chan struct{})
}

// keepRenewing renews, as an election does, until end is called.
func (l *lease) keepRenewing() (end func()) {
	done := make(chan struct{})
	var renewing sync.WaitGroup
	renewing.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.renew(time.Hour)
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		renewing.Wait()
	}
}

// journal is a log that a test can wait on.
type journal struct {
	mu    sync.Mutex
	text  strings.Builder
	grown chan struct{}
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.grown != nil {
		close(j.grown)
		j.grown = nil
	}
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// await waits until text has been logged n times.
func (j *journal) await(t *testing.T, text string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := j.wait(ctx, text, n); err != nil {
		t.Fatal(err)
	}
}

// wait is await outside of a test.
func (j *journal) wait(ctx context.Context, text string, n int) error {
	for {
		j.mu.Lock()
		have := strings.Count(j.text.String(), text)
		if j.grown == nil {
			j.grown = make(chan struct{})
		}
		grown := j.grown
		j.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("%q came %d times, want %d, in:\n%s", text, have, n, j)
		}
	}
}

// patience bounds every wait; it is no expectation.
const patience = 30 * time.Second

// rig is a workload in a test.
type rig struct {
	*command.Workload
	log  *journal
	tag  string
	held context.Context
	lose context.CancelFunc
}

// newRig makes a workload of a program of the test binary, initialised. edit may change the options before.
func newRig(t *testing.T, kind string, edit func(*command.Options)) *rig {
	t.Helper()
	r := &rig{log: &journal{}, tag: newTag(t)}
	r.held, r.lose = context.WithCancel(t.Context())
	t.Cleanup(r.lose)
	opt := options(t, kind, r.tag, slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if edit != nil {
		edit(&opt)
	}
	r.Workload = command.New(opt)
	if err := r.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
		mustBeGone(t, r.tag)
		if t.Failed() {
			t.Logf("log:\n%s", r.log)
		}
	})
	return r
}

// start starts the program and waits until it says that it is up.
func (r *rig) start(t *testing.T, l command.Lease) {
	t.Helper()
	if err := r.Start(t.Context(), r.mastership(l)); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `msg="up `, 1)
}

func (r *rig) mastership(l command.Lease) command.Mastership {
	return command.Mastership{Term: 7, TermNode: "node-1", Lease: l, Held: r.held}
}

func options(t testing.TB, kind, tag string, log *slog.Logger) command.Options {
	cfg := command.DefaultConfig()
	cfg.Command = []string{os.Args[0]}
	cfg.Env = []string{programEnv + "=" + kind, tagEnv + "=" + tag}
	cfg.StopTimeout = 10 * time.Second
	return command.Options{
		Config: cfg, NodeID: "node-1", Cluster: "test", DataDir: t.TempDir(), Clock: command.BootTime,
		Shim: []string{os.Args[0], command.ShimArgument}, Log: log,
	}
}

// tagEnv marks every process of a program.
const tagEnv = "TEST_TAG"

func newTag(t testing.TB) string {
	return strconv.Itoa(os.Getpid()) + "-" + t.Name() + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
}
