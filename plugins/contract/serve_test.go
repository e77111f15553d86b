package contract_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/understudy-ha/understudy/plugins/contract"
)

func self(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// asHost starts the plugin as a host would, with standard input to end it by.
func asHost(t *testing.T) (command *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	handshake := contract.Handshake()
	command, stderr = exec.Command(self(t)), &bytes.Buffer{}
	command.Stderr = stderr
	command.Env = append(os.Environ(), asPlugin+"=1", contract.EnvParentWatch+"=stdin", contract.EnvLogLevel+"=warn",
		handshake.MagicCookieKey+"="+handshake.MagicCookieValue, "PLUGIN_PROTOCOL_VERSIONS=1")
	return command, stderr
}

func TestPluginEndsWithItsHost(t *testing.T) {
	command, stderr := asHost(t)
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	// Once it serves, what a terminal or a service manager sends does not end it.
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" {
		for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
			if err := command.Process.Signal(signal); err != nil {
				t.Error(err)
			}
		}
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := command.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v, want exit status 1", err)
	}
	var lines []map[string]any
	for line := range strings.Lines(stderr.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%v in the log line %q", err, line)
		}
		lines = append(lines, fields)
	}
	if len(lines) == 0 || lines[0]["@level"] != "warn" || lines[0]["@module"] != "fake" {
		t.Fatalf("log: %v", lines)
	}
	if _, err := contract.ParseLogTime(fmt.Sprint(lines[0]["@timestamp"])); err != nil {
		t.Error(err)
	}
	if last := lines[len(lines)-1]; last["@message"] != "the host is gone, ending" || last["@level"] != "error" {
		t.Errorf("last words: %v", last)
	}
}

func TestByHand(t *testing.T) {
	text := contract.ByHand(contract.Plugin{Name: "failover", Version: "1.2.3"})
	for _, part := range []string{"failover 1.2.3", "lib folder", "profiler.plugin.factory=failover", "-agent:failover"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

func TestAPluginServesSomething(t *testing.T) {
	if _, err := (contract.Plugin{Name: "empty"}).Set(); err == nil {
		t.Error("a plugin without services was accepted")
	}
}

func TestLevelsHaveNames(t *testing.T) {
	for level, want := range map[slog.Level]string{
		contract.LevelTrace: "trace", slog.LevelDebug: "debug", slog.LevelInfo: "info", slog.LevelInfo + 1: "info",
		slog.LevelWarn: "warn", slog.LevelError: "error", slog.LevelError + 4: "error",
	} {
		if got := contract.LevelName(level); got != want {
			t.Errorf("%v is called %q, want %q", level, got, want)
		}
	}
	if contract.ParseLevel("Warn") != slog.LevelWarn || contract.ParseLevel("?") != slog.LevelInfo {
		t.Error("ParseLevel does not read what it should")
	}
}

func TestErrorsAtTheBorder(t *testing.T) {
	tests := []struct {
		in   error
		want error
		text string
	}{
		{errors.New("the disk is full"), nil, "plugin p: op: the disk is full"},
		{fmt.Errorf("lead: %w", context.DeadlineExceeded), context.DeadlineExceeded, "plugin p: op: context deadline exceeded (lead: context deadline exceeded)"},
		// Something inside the plugin was given up, and not this call.
		{context.Canceled, nil, "plugin p: op: context canceled"},
		// A peer of the plugin is gone, and not the plugin.
		{status.Error(codes.Unavailable, "no route to peer"), nil, "plugin p: op: rpc error: code = Unavailable desc = no route to peer"},
	}
	for _, test := range tests {
		err := contract.FromStatus(t.Context(), "p", "op", contract.ToStatus(test.in))
		if err == nil || err.Error() != test.text {
			t.Errorf("%v became %q, want %q", test.in, err, test.text)
		}
		if test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%v is no %v any more", err, test.want)
		}
		if errors.Is(err, contract.ErrGone) {
			t.Errorf("%v says that the plugin is gone", err)
		}
	}
	if contract.ToStatus(nil) != nil || contract.FromStatus(t.Context(), "p", "op", nil) != nil {
		t.Error("no error became one")
	}
	for _, code := range []codes.Code{codes.Unavailable, codes.Canceled} {
		if err := contract.FromStatus(t.Context(), "p", "op", status.Error(code, "closed")); !errors.Is(err, contract.ErrGone) {
			t.Errorf("%v became %v", code, err)
		}
	}
	given, cancel := context.WithCancel(t.Context())
	cancel()
	if err := contract.FromStatus(given, "p", "op", status.Error(codes.Canceled, "context canceled")); !errors.Is(err, context.Canceled) || errors.Is(err, contract.ErrGone) {
		t.Errorf("a call that was given up became %v", err)
	}
	if err := contract.FromStatus(t.Context(), "p", "op", status.Error(codes.Unimplemented, "no")); !errors.Is(err, contract.ErrNotServed) {
		t.Errorf("unimplemented became %v", err)
	}
}
