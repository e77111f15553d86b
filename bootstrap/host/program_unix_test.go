//go:build unix

package host_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/host"
)

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandHook(t *testing.T) {
	var out bytes.Buffer
	run := host.CommandHook([]string{script(t, `
		echo "args $*"
		env | grep ^UNDERSTUDY_ | sort
		printf 'bell\a' >&2
	`), "eth0"}, "a", "orders", slog.New(slog.NewTextHandler(&out, nil)))
	event := host.HookEvent{Number: 7, Role: host.HookMaster, Term: term7, Master: "a", Reason: "the master is silent"}
	if err := run(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"hook: args eth0 master 7:a a"`, "UNDERSTUDY_CLUSTER=orders", "UNDERSTUDY_EVENT=7", "UNDERSTUDY_MASTER=a", "UNDERSTUDY_NODE_ID=a",
		"UNDERSTUDY_REASON=the master is silent", "UNDERSTUDY_ROLE=master", "UNDERSTUDY_TERM=7:a", `"hook: bell "`, "event=7",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is not in\n%s", want, out.String())
		}
	}
}

func TestCommandHookThatFails(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	if err := host.CommandHook([]string{script(t, "exit 3")}, "a", "c", log)(t.Context(), host.HookEvent{}); err == nil ||
		!strings.Contains(err.Error(), "exit status 3") {
		t.Error(err)
	}
	if err := host.CommandHook([]string{"/none/at/all"}, "a", "c", log)(t.Context(), host.HookEvent{}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// The whole process group is killed, not the program alone.
func TestCommandIsKilledWithItsChildren(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancelCause(t.Context())
	probe := host.CommandProbe([]string{script(t, "sleep 600 &\necho $! >"+pidFile+".new\nmv "+pidFile+".new "+pidFile+"\nwait")}, nil,
		slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- probe(ctx) }()
	var child int
	until(t, "the child runs", func() bool {
		text, err := os.ReadFile(pidFile)
		child, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil && child > 0
	})
	cancel(errors.New("too late"))
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "it was killed: too late") {
		t.Error(err)
	}
	until(t, "the child is dead", func() bool {
		state, err := os.ReadFile("/proc/" + strconv.Itoa(child) + "/stat")
		if err == nil {
			return strings.Contains(string(state), ") Z ")
		}
		return errors.Is(syscall.Kill(child, 0), syscall.ESRCH)
	})
}

// A program may leave something behind that holds its output open.
func TestCommandThatLeavesAChild(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	probe := host.CommandProbe([]string{script(t, "sleep 600 &\necho $! >"+pidFile)}, nil, slog.New(slog.DiscardHandler))
	if err := probe(t.Context()); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Errorf("the child was killed: %v", err)
	}
}

// Output is bounded in length and number of lines.
func TestCommandOutputIsBounded(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	err := host.CommandProbe([]string{script(t, "head -c 1000000 /dev/zero | tr '\\0' x\necho\nyes | head -n 100000\nprintf end")}, nil, log)(t.Context())
	if err != nil {
		t.Error(err)
	}
	if lines := strings.Count(out.String(), "\n"); lines != 200 || out.Len() > 100_000 || strings.Contains(out.String(), "check: end") {
		t.Errorf("%d lines, %d bytes", lines, out.Len())
	}
}

// until waits for what should happen.
func until(t *testing.T, what string, happened func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !happened(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
