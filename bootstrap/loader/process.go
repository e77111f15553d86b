package loader

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin/runner"

	"github.com/understudy-ha/understudy/plugins/contract"
)

// process is one run of a plugin's program. It takes the place of go-plugin's own runner, which starts the
// process on any thread, sees its end only when its pipes are closed, kills one process and not its group,
// and lets a plugin crash the host with a log line ({"@message": 1} on standard error).
//
// One goroutine, run, owns the process from its start until it is reaped, and waits for the two that read its
// output.
type process struct {
	name, path string
	logger     *slog.Logger
	// admit is waited for right before the start; its error keeps the process from being started.
	admit func() error

	output *output

	mu       sync.Mutex // guards what follows
	cmd      *exec.Cmd  // set by prepare, started by run
	begun    bool       // Start was called: exited and done will be closed
	killed   bool       // kill was called while it may have lived
	reaped   bool       // the process id may belong to somebody else by now
	startErr error
	state    *os.ProcessState

	// exited is closed when the process has died, done when its output has been read as well. Both are closed
	// if it could not be started.
	exited, done chan struct{}
}

var _ runner.Runner = (*process)(nil)

func newProcess(name, path string, logger *slog.Logger, admit func() error) *process {
	return &process{
		name: name, path: path, logger: logger, admit: admit, output: newOutput(logger),
		exited: make(chan struct{}), done: make(chan struct{}),
	}
}

// prepare sets the command up. environment is what go-plugin wants the plugin to know.
func (p *process) prepare(environment []string, level slog.Level) {
	cmd := exec.Command(p.path)
	cmd.Env = append(inherited(), environment...)
	cmd.Env = append(cmd.Env,
		contract.EnvParentWatch+"=stdin",
		contract.EnvLogLevel+"="+contract.LevelName(level),
	)
	cmd.SysProcAttr = processAttributes()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd = cmd
}

// inherited is what a plugin gets of our own environment: what programs need to work, and Go's switches. The
// rest, which may hold secrets, is none of its business.
func inherited() []string {
	var out []string
	for _, entry := range os.Environ() {
		key, _, _ := strings.Cut(entry, "=")
		switch strings.ToUpper(key) {
		case "PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "WINDIR",
			"SSL_CERT_FILE", "SSL_CERT_DIR",
			"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK", "GOCOVERDIR":
			out = append(out, entry)
		}
	}
	return out
}

// Start implements runner.Runner.
func (p *process) Start(context.Context) error {
	p.mu.Lock()
	p.begun = true
	p.mu.Unlock()
	started := make(chan error)
	go p.run(started) //nolint:contextcheck // the process outlives its start, and so does its log
	return <-started
}

// drainTime is how long we read on after the process has died: what it wrote last is in the pipes, but a
// process that it started, and that has left its group, may hold them open.
const drainTime = 100 * time.Millisecond

// run starts the process and stays with it until it has died.
func (p *process) run(started chan<- error) {
	defer close(p.done)
	// On Linux the parent-death signal comes when the thread that started the process ends, which may be long
	// before we do: so this goroutine keeps its thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	pipes, err := p.start()
	if err != nil {
		p.mu.Lock()
		p.startErr = err
		p.mu.Unlock()
		p.output.end()
		close(p.exited)
		started <- err
		return
	}
	defer pipes.closeOurs()
	var reading sync.WaitGroup
	reading.Go(func() { p.output.readStdout(pipes.ours.stdout) })
	reading.Go(func() { p.output.readStderr(pipes.ours.stderr) })
	started <- nil

	p.reap()
	close(p.exited)
	defer time.AfterFunc(drainTime, pipes.closeOurs).Stop()
	reading.Wait()
}

// start starts the process, with the plugin's ends of the pipes as its standard streams.
func (p *process) start() (*pipes, error) {
	if err := p.admit(); err != nil {
		return nil, err
	}
	pipes, err := openPipes()
	if err != nil {
		return nil, err
	}
	defer pipes.closeTheirs()
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = pipes.theirs.stdin, pipes.theirs.stdout, pipes.theirs.stderr
	p.mu.Lock()
	defer p.mu.Unlock()
	err = errGivenUp
	if !p.killed {
		err = p.cmd.Start()
	}
	if err != nil {
		pipes.closeOurs()
		return nil, err
	}
	return pipes, nil
}

var errGivenUp = errors.New("given up before it was started")

// kill ends the process and its group. Safe at any time, and more than once.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return
	}
	p.killed = true
	if p.cmd != nil && p.cmd.Process != nil {
		p.killLocked()
	}
}

// reapLocked collects a process that has died. From then on its id is not to be used.
func (p *process) reapLocked() {
	// The error says no more than the state.
	_ = p.cmd.Wait()
	p.state, p.reaped = p.cmd.ProcessState, true
}

// pid is 0 before the start.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.cmd.Process == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Wait implements runner.Runner.
func (p *process) Wait(context.Context) error {
	<-p.done
	return nil
}

// settled waits until there is nothing more to learn, and reports whether there was a start at all.
func (p *process) settled() bool {
	p.mu.Lock()
	begun := p.begun
	p.mu.Unlock()
	if begun {
		<-p.done
	}
	return begun
}

// Kill implements runner.Runner.
func (p *process) Kill(context.Context) error {
	p.kill()
	return nil
}

// ID implements runner.Runner. It is asked for a process that may have ended, but never acted on: go-plugin
// comes back to Kill.
func (p *process) ID() string { return strconv.Itoa(p.pid()) }

// Name implements runner.Runner.
func (p *process) Name() string { return p.path }

// Stdout implements runner.Runner: the handshake, and then the end.
func (p *process) Stdout() io.ReadCloser { return p.output.hello }

// Stderr implements runner.Runner: nothing, since we read it ourselves.
func (p *process) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Diagnose implements runner.Runner; see explain.
func (p *process) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner.
func (p *process) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (p *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// streams are the ends of the three standard streams that one side holds. The plugin's standard input stays
// open and empty as long as we live: that is how it knows that we do, on every system.
type streams struct{ stdin, stdout, stderr *os.File }

func (s streams) close() {
	// A nil file only answers that it is one.
	_, _, _ = s.stdin.Close(), s.stdout.Close(), s.stderr.Close()
}

type pipes struct{ ours, theirs streams }

func (p *pipes) closeOurs()   { p.ours.close() }
func (p *pipes) closeTheirs() { p.theirs.close() }

func openPipes() (_ *pipes, err error) {
	p := &pipes{}
	defer func() {
		if err != nil {
			p.closeOurs()
			p.closeTheirs()
		}
	}()
	if p.theirs.stdin, p.ours.stdin, err = os.Pipe(); err != nil {
		return nil, err
	}
	if p.ours.stdout, p.theirs.stdout, err = os.Pipe(); err != nil {
		return nil, err
	}
	if p.ours.stderr, p.theirs.stderr, err = os.Pipe(); err != nil {
		return nil, err
	}
	return p, nil
}
