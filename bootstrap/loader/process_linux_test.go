package loader_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/bootstrap/loader"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// handle is a process that cannot be mistaken for another that has its number later.
type handle int

func handleOf(t *testing.T, pid int) handle {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("pid %d: %v", pid, err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return handle(fd)
}

// mustDie waits for the end of the process.
func (h handle) mustDie(t *testing.T) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(h), Events: unix.POLLIN}}, 30_000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n != 1 {
			t.Fatal("the process lives")
		}
		return
	}
}

// A host that is killed takes its plugins with it.
func TestNoOrphans(t *testing.T) {
	host := exec.Command(os.Args[0])
	host.Env = append(os.Environ(), "LOADER_TEST_HOST_OF="+lib(t, "good"))
	host.Stderr = os.Stderr
	stdout, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := host.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	orphan := handleOf(t, pid)
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	orphan.mustDie(t)
	_ = host.Wait()
}

// The parent-death signal hangs on the thread that started the plugin, which must not be the caller's.
func TestPluginOutlivesTheThreadOfItsLaunch(t *testing.T) {
	library := open(t, loader.Options{Dir: lib(t, "actor"), Checksums: loader.Off})
	type launched struct {
		plugin *loader.Plugin
		thread int
	}
	done := make(chan launched)
	var launcher func()
	launcher = func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		if unix.Gettid() == os.Getpid() {
			go launcher() // Go never ends the first thread
			return
		}
		p, err := library.Launch(t.Context(), "actor")
		if err != nil {
			t.Error(err)
		}
		done <- launched{p, unix.Gettid()}
	}
	go launcher()
	got := <-done
	if t.Failed() {
		return
	}
	p := got.plugin
	for unix.Tgkill(os.Getpid(), got.thread, 0) == nil {
		runtime.Gosched()
	}
	if err := act(t.Context(), t, p, "nothing"); err != nil {
		t.Error(err)
	}
}

// What a plugin has started goes with it, whether it is stopped or dies.
func TestGroupIsEnded(t *testing.T) {
	library := open(t, loader.Options{Dir: lib(t, "actor"), Checksums: loader.Off})
	for _, end := range []string{"stop", "exit"} {
		p := launch(t, library, "actor")
		var child *contract.VetoError
		if err := act(t.Context(), t, p, "child"); !errors.As(err, &child) {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(child.Reason)
		if err != nil {
			t.Fatal(err)
		}
		grandchild := handleOf(t, pid)
		if end == "stop" {
			err = p.Stop(t.Context())
		} else if act(t.Context(), t, p, "exit") == nil {
			t.Error("it did not exit")
		}
		if err != nil {
			t.Error(err)
		}
		grandchild.mustDie(t)
	}
}

// A plugin that is frozen cannot hold the host up.
func TestStopOfAFrozenPlugin(t *testing.T) {
	p := launch(t, open(t, loader.Options{Dir: lib(t, "good"), Checksums: loader.Off}), "good")
	if err := unix.Kill(p.PID, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Stop(ctx); err == nil {
		t.Error("a frozen plugin answered")
	}
	<-p.Exited()
}
