package loader_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/loader"
	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/profiler"
)

// journal is a log that a test can wait for.
type journal struct {
	mu    sync.Mutex // guards text
	text  bytes.Buffer
	wrote chan struct{}
}

func newJournal() *journal { return &journal{wrote: make(chan struct{}, 1)} }

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	select {
	case j.wrote <- struct{}{}:
	default:
	}
	return j.text.Write(line)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// await waits until a line holds all parts.
func (j *journal) await(t testing.TB, parts ...string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		for line := range strings.Lines(j.String()) {
			if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
				return
			}
		}
		select {
		case <-j.wrote:
		case <-deadline:
			t.Fatalf("no log line with %q in:\n%s", parts, j)
		}
	}
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func open(t testing.TB, options loader.Options) *loader.Library {
	t.Helper()
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	library, err := loader.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := library.Close(); err != nil {
			t.Error(err)
		}
	})
	return library
}

func launch(t testing.TB, library *loader.Library, name string) *loader.Plugin {
	t.Helper()
	p, err := library.Launch(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func agent(t testing.TB, p *loader.Plugin) contract.Agent {
	t.Helper()
	agent, err := p.Agent()
	if err != nil {
		t.Fatal(err)
	}
	return agent
}

// act has an actor do something.
func act(ctx context.Context, t testing.TB, p *loader.Plugin, what string) error {
	t.Helper()
	return agent(t, p).Before(ctx, profiler.Joinpoint{ID: what, Path: what, Transition: profiler.TransitionStart})
}

func TestLaunchTwoInParallelAndStop(t *testing.T) {
	library := open(t, loader.Options{Dir: lib(t, "good", "agent"), SocketDir: t.TempDir()})
	var plugins [2]*loader.Plugin
	var launching sync.WaitGroup
	for i, name := range []string{"good", "agent"} {
		launching.Go(func() {
			p, err := library.Launch(t.Context(), name)
			if err != nil {
				t.Error(err)
			}
			plugins[i] = p
		})
	}
	launching.Wait()
	if t.Failed() {
		return
	}
	good, other := plugins[0], plugins[1]
	if good.Protocol != contract.ProtocolVersion || good.PID == 0 || good.Name != "good" {
		t.Errorf("launched %+v", good)
	}
	failover, err := good.Failover()
	if err != nil {
		t.Fatal(err)
	}
	if status, err := failover.Status(t.Context()); err != nil || status.NodeID != "fake" {
		t.Errorf("status %+v, %v", status, err)
	}
	if _, err := good.CacheSync(); err != nil {
		t.Error(err)
	}
	if _, err := other.Failover(); !errors.Is(err, contract.ErrNotServed) || !strings.Contains(err.Error(), "[agent]") {
		t.Errorf("the agent as failover: %v", err)
	}
	for _, p := range plugins {
		for range 2 {
			if err := p.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}
		select {
		case <-p.Exited():
		default:
			t.Errorf("%s runs after Stop", p.Name)
		}
		if err := p.ExitError(); err != nil {
			t.Errorf("ended as asked, and yet: %v", err)
		}
	}
}

// Every way in which a plugin can fail to start has one clear error.
func TestLaunchRefuses(t *testing.T) {
	dir := lib(t, "good", "crash", "garbage", "old", "netrpc", "future", "stranger")
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("notes", "text", 0o644)
	write("open", "text", 0o777)
	write("text", "no program\n", 0o755)
	write("foreign", foreignProgram(t), 0o755)
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := map[string][]string{
		"nobody":   {"there is no", "the folder has: crash, foreign, future, garbage, good"},
		"../good":  {"without a path"},
		"":         {"without a path"},
		".hidden":  {"without a path"},
		"notes":    {"is not executable", "chmod +x"},
		"open":     {"written by everybody", "chmod o-w"},
		"folder":   {"not a regular file"},
		"text":     {"cannot run it", "not a program", "GOARCH=" + runtime.GOARCH},
		"foreign":  {"cannot run it", "S390"},
		"crash":    {"before it shook hands", "exit status 3", "cannot read my own file"},
		"garbage":  {`"hello, I am a plugin"`, "not the handshake"},
		"old":      {"protocol version 0", "this bootstrap [1]", "plugin is older"},
		"future":   {"protocol version 9", "this bootstrap [1]", "bootstrap is older"},
		"netrpc":   {"only gRPC"},
		"stranger": {"net/rpc"}, // without a service go-plugin cannot know that it is gRPC
	}
	library := open(t, loader.Options{Dir: dir, Checksums: loader.Off})
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS != "linux" && (name == "text" || name == "foreign") {
				t.Skip("other systems have other words for it")
			}
			p, err := library.Launch(t.Context(), name)
			if err == nil {
				t.Fatalf("launched %+v", p)
			}
			if name != "" && !strings.Contains(err.Error(), "plugin "+name) && !strings.Contains(err.Error(), fmt.Sprintf("plugin %q", name)) {
				t.Errorf("the error does not name the plugin: %v", err)
			}
			for _, part := range want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error lacks %q: %v", part, err)
				}
			}
		})
	}
}

// foreignProgram is the head of a program for a machine that nobody has here.
func foreignProgram(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	data[18], data[19] = 22, 0 // e_machine = EM_S390
	return string(data)
}

func TestLaunchTimesOut(t *testing.T) {
	library := open(t, loader.Options{Dir: lib(t, "hang", "deaf"), StartTimeout: 300 * time.Millisecond, Checksums: loader.Off})
	for name, want := range map[string]string{"hang": "did not shake hands", "deaf": "did not answer"} {
		_, err := library.Launch(t.Context(), name)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "plugin.start.timeout=300ms") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLaunchCanBeGivenUp(t *testing.T) {
	library := open(t, loader.Options{Dir: lib(t, "hang"), Checksums: loader.Off})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := library.Launch(ctx, "hang"); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

func TestChecksums(t *testing.T) {
	const absent, wrong = "", "0000000000000000000000000000000000000000000000000000000000000000"
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	right := fmt.Sprintf("%x", sha256.Sum256(data))
	tests := []struct {
		name   string
		policy loader.Policy
		list   string
		// fault is in the error, warning in the log, sum in the plugin.
		fault, warning, sum string
	}{
		{"no list", loader.Enforce, absent, "", "there is no list", ""},
		{"right", loader.Enforce, right + "  agent\n", "", "", right},
		{"right, binary mark", loader.Enforce, "# made by hand\n\n" + right + " *./agent\r\n", "", "", right},
		{"wrong", loader.Enforce, wrong + "  agent\n", "has the SHA-256 " + right, "", ""},
		{"wrong, warned", loader.Warn, wrong + "  agent\n", "", "has the SHA-256 " + right, ""},
		{"wrong, not looked at", loader.Off, wrong + "  agent\n", "", "", ""},
		{"not listed", loader.Enforce, right + "  other\n", "no line for agent (it has: other)", "", ""},
		{"broken list", loader.Enforce, "agent " + right + "\n", "SHA256SUMS:1:", "", ""},
		{"two sums", loader.Enforce, right + "  agent\n" + wrong + "  agent\n", "SHA256SUMS:2: a second sum", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir, log := lib(t, "agent"), newJournal()
			if test.list != absent {
				if err := os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(test.list), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			library := open(t, loader.Options{Dir: dir, Checksums: test.policy, Logger: log.logger()})
			p, err := library.Launch(t.Context(), "agent")
			if test.fault != "" {
				if err == nil || !strings.Contains(err.Error(), test.fault) {
					t.Errorf("want an error with %q, got %v", test.fault, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.Checksum != test.sum {
				t.Errorf("checksum %q, want %q", p.Checksum, test.sum)
			}
			if warned := strings.Contains(log.String(), "not verified"); warned != (test.warning != "") || !strings.Contains(log.String(), test.warning) {
				t.Errorf("want a warning with %q:\n%s", test.warning, log)
			}
		})
	}
}

func FuzzParseSums(f *testing.F) {
	f.Add(strings.Repeat("0", 64) + "  agent\n# note\n")
	f.Add("x")
	f.Fuzz(func(_ *testing.T, text string) { _ = loader.ParseSums(text) })
}

func TestListNamesPrograms(t *testing.T) {
	dir := lib(t, "good", "agent")
	for _, name := range []string{"SHA256SUMS", ".hidden", "README"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	names, err := open(t, loader.Options{Dir: dir}).List()
	if err != nil || !slices.Equal(names, []string{"agent", "good"}) {
		t.Errorf("List: %v, %v", names, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := map[string]loader.Options{
		"no such folder":               {Dir: filepath.Join(t.TempDir(), "lib")},
		"not a folder":                 {Dir: file},
		"enforce, warn or off":         {Dir: t.TempDir(), Checksums: "maybe"},
		"socket folder for the plugin": {Dir: t.TempDir(), SocketDir: filepath.Join(file, "run")},
	}
	for want, options := range tests {
		if _, err := loader.Open(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

func TestSocketFolder(t *testing.T) {
	dir, err := os.MkdirTemp("", "us") //nolint:usetesting // the path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	run := filepath.Join(dir, "run")
	stale := filepath.Join(run, "plugin-dir1")
	if err := os.MkdirAll(stale, 0o755); err != nil {
		t.Fatal(err)
	}
	library := open(t, loader.Options{Dir: lib(t, "agent"), SocketDir: run, Checksums: loader.Off})
	if info, err := os.Stat(run); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("socket folder: %v, %v; want mode 0700", info.Mode(), err)
	}
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a dead host left is still there: %v", err)
	}
	count := func() int {
		entries, err := os.ReadDir(run)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	p := launch(t, library, "agent")
	if count() != 1 {
		t.Errorf("%d folders for one plugin", count())
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if count() != 0 {
		t.Errorf("%d folders are left", count())
	}
	// A path that is too long for a socket does not keep anybody from starting.
	long := filepath.Join(dir, strings.Repeat("x", 100))
	p = launch(t, open(t, loader.Options{Dir: lib(t, "agent"), SocketDir: long, Checksums: loader.Off}), "agent")
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
