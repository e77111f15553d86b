package command_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/bootstrap/command"
)

// hostEnv makes the test binary a host in a process of its own; the value is a hostConfig.
const hostEnv = "TEST_HOST"

type hostConfig struct {
	Kind, Tag, DataDir, Listen string
	Lease, StopTimeout         time.Duration
}

// hostMain runs a program under a lease that it renews until its standard input ends. It says "up SHIM".
func hostMain() {
	fail := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	var cfg hostConfig
	fail(json.Unmarshal([]byte(os.Getenv(hostEnv)), &cfg))
	fail(os.Unsetenv(hostEnv))
	listener, err := net.Listen("tcp", cfg.Listen)
	fail(err)
	go func() {
		for {
			if conn, err := listener.Accept(); err == nil {
				_ = conn.Close()
			}
		}
	}()
	c := command.DefaultConfig()
	c.Command, c.Env, c.StopTimeout = []string{os.Args[0]}, []string{programEnv + "=" + cfg.Kind, tagEnv + "=" + cfg.Tag}, cfg.StopTimeout
	log := &journal{}
	w := command.New(command.Options{
		Config: c, NodeID: "node-1", DataDir: cfg.DataDir, Lease: cfg.Lease, Clock: command.BootTime,
		Shim:     []string{os.Args[0], command.ShimArgument},
		Liveness: func() (*os.File, error) { return listener.(*net.TCPListener).File() },
		Log:      slog.New(slog.NewTextHandler(log, nil)),
	})
	fail(w.Init(context.Background()))
	l := newLease(cfg.Lease)
	fail(w.Start(context.Background(), command.Mastership{Lease: l, Held: context.Background()}))
	go func() {
		for range time.Tick(cfg.Lease / 20) {
			l.renew(cfg.Lease)
		}
	}()
	fail(log.wait(context.Background(), `msg="up `, 1))
	fmt.Println("up", w.Status().Shim, listener.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	fail(w.Close(context.Background()))
	fmt.Println("closed")
}

// host is a running hostMain.
type host struct {
	cmd     *exec.Cmd
	shim    int
	address string
	tag     string
}

func startHost(t *testing.T, cfg hostConfig) *host {
	t.Helper()
	cfg.Tag = newTag(t)
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{cmd: exec.Command(os.Args[0]), tag: cfg.Tag}
	h.cmd.Env = append(os.Environ(), hostEnv+"="+string(text))
	h.cmd.Stderr = os.Stderr
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait()
		eventually(t, "the shim has ended", func() bool { return !lives(h.shim) })
		mustBeGone(t, h.tag)
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(line, "up %d %s\n", &h.shim, &h.address); err != nil {
		t.Fatalf("the host says %q", line)
	}
	return h
}

// refused waits until a connection to the address is refused, and says what of the program lived then.
func (h *host) refused(t *testing.T) []int {
	t.Helper()
	var left []int
	eventually(t, "a connection is refused", func() bool {
		conn, err := net.Dial("tcp", h.address)
		if errors.Is(err, unix.ECONNREFUSED) {
			left = tagged(h.tag)
			return true
		}
		if err == nil {
			_ = conn.Close()
		}
		return false
	})
	return left
}

// A host that is killed: the program is ended at once, and the listener is closed after its last process, never before.
func TestHostKilled(t *testing.T) {
	for _, kind := range []string{"polite", "family", "flood", "mute"} {
		t.Run(kind, func(t *testing.T) {
			h := startHost(t, hostConfig{Kind: kind, DataDir: t.TempDir(), Lease: time.Hour, StopTimeout: 300 * time.Millisecond})
			if kind == "family" {
				eventually(t, "the family is complete", func() bool { return len(tagged(h.tag)) == 4 })
			}
			if err := h.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if left := h.refused(t); len(left) > 0 {
				t.Errorf("refused, and the program lives: %v", left)
			}
		})
	}
}

// A host that is frozen: everything is ended while it stands still, before its mastership is over; the listener is
// kept, because the host holds it, too.
func TestHostFrozen(t *testing.T) {
	for _, kind := range []string{"polite", "family", "flood"} {
		t.Run(kind, func(t *testing.T) {
			const lease = 3 * time.Second
			h := startHost(t, hostConfig{Kind: kind, DataDir: t.TempDir(), Lease: lease, StopTimeout: 300 * time.Millisecond})
			if err := h.cmd.Process.Signal(unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			frozen := command.BootTime()
			if len(tagged(h.tag)) == 0 {
				t.Error("it has ended too early")
			}
			eventually(t, "the program is gone", func() bool { return len(tagged(h.tag)) == 0 })
			t.Logf("gone %s before the end of the mastership", frozen+lease-command.BootTime())
			if !lives(h.shim) {
				t.Error("the shim has left its host")
			}
			if conn, err := net.Dial("tcp", h.address); err != nil {
				t.Error(err)
			} else {
				_ = conn.Close()
			}
			if err := h.cmd.Process.Signal(unix.SIGCONT); err != nil {
				t.Fatal(err)
			}
			// It renews again, so that the program comes back.
			eventually(t, "the program runs again", func() bool { return len(tagged(h.tag)) > 0 })
		})
	}
}

// A node that is started anew at once does not start the program beside that of its former life.
func TestNewLifeWaitsForTheOld(t *testing.T) {
	dir := t.TempDir()
	h := startHost(t, hostConfig{Kind: "slow", DataDir: dir, Lease: time.Hour, StopTimeout: 10 * time.Second})
	if err := h.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, "polite", func(o *command.Options) { o.DataDir = dir })
	if left := tagged(h.tag); len(left) > 0 {
		t.Errorf("both at one time: %v", left)
	}
	if strings.Contains(r.log.String(), "killing what a former life of this node has left") {
		t.Error("it has not waited for the old one, but killed it")
	}
}

// Host and shim are killed together: the next life of the node ends what they have left.
func TestNewLifeEndsOrphans(t *testing.T) {
	dir := t.TempDir()
	h := startHost(t, hostConfig{Kind: "family", DataDir: dir, Lease: time.Hour, StopTimeout: time.Second})
	eventually(t, "the family is complete", func() bool { return len(tagged(h.tag)) == 4 })
	if err := h.cmd.Process.Signal(unix.SIGSTOP); err != nil { // so that it cannot act
		t.Fatal(err)
	}
	if err := unix.Kill(h.shim, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the shim is gone", func() bool { return !lives(h.shim) })
	if len(tagged(h.tag)) == 0 {
		t.Error("there are no orphans to end")
	}
	// What has not closed its files keeps the listener: nobody takes this for evidence.
	if conn, err := net.Dial("tcp", h.address); err != nil {
		t.Error(err)
	} else {
		_ = conn.Close()
	}
	r := newRig(t, "polite", func(o *command.Options) { o.DataDir = dir })
	if left := tagged(h.tag); len(left) > 0 {
		t.Errorf("orphans: %v", left)
	}
	r.log.await(t, "killing what a former life of this node has left", 1)
}
