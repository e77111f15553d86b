package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

// runMark is the environment variable by which processes of a cluster are known again, also when their host is
// gone.
const runMark = "UNDERSTUDY_E2E_RUN"

// Node is one node: a folder, and at most one process at a time. Methods may be called from any goroutine.
type Node struct {
	ID, Dir string
	// Log is what it says, over all of its lives.
	Log *Log

	binary  string
	prefix  []string
	cluster *Cluster

	mu      sync.Mutex
	process *process
}

// process is one life of a node.
type process struct {
	cmd *exec.Cmd
	// done is closed when the process has ended and been waited for; code is its exit code, -1 after a signal.
	done chan struct{}
	code int
}

// ConfigFile is the path of a file in the node's config folder.
func (n *Node) ConfigFile(name string) string {
	return filepath.Join(n.Dir, "config", filepath.FromSlash(name))
}

// Start starts the node as a user does: in its folder, with the properties file as argument. Extra arguments,
// such as -Dkey=value, stand before that.
func (n *Node) Start(extra ...string) error {
	args := append([]string{"-Dnode.id=" + n.ID}, extra...)
	return n.StartArgs(append(args, "bootstrap.properties")...)
}

// StartArgs starts the node with just these arguments.
func (n *Node) StartArgs(args ...string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process != nil && !n.process.ended() {
		return fmt.Errorf("%s runs already", n.ID)
	}
	file, err := os.OpenFile(n.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("%s: %w", n.ID, err)
	}
	argv := append(append(append([]string(nil), n.prefix...), n.binary), args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = n.Dir
	cmd.Env = append(os.Environ(), runMark+"="+n.cluster.Name)
	cmd.Stdout, cmd.Stderr = n.Log, n.Log
	// Should a grandchild keep the pipe open, the wait for the process still ends.
	cmd.WaitDelay = 2 * time.Second
	cmd.SysProcAttr = sysProcAttr()
	n.Log.setFile(file)

	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	// On Linux the parent-death signal hangs on the thread that starts the child. This goroutine keeps its thread
	// until the child is gone; the thread then ends with it.
	go func() {
		runtime.LockOSThread()
		defer close(p.done)
		defer file.Close()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		// The error says no more than the exit code does.
		_ = cmd.Wait()
		p.code = cmd.ProcessState.ExitCode()
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("%s: %w", n.ID, err)
	}
	n.process = p
	return nil
}

// Running reports whether the node has a process.
func (n *Node) Running() bool {
	p := n.current()
	return p != nil && !p.ended()
}

// PID is the process id of the running or last life, 0 if there was none.
func (n *Node) PID() int {
	if p := n.current(); p != nil {
		return p.cmd.Process.Pid
	}
	return 0
}

// Signal sends a signal to the node's host process.
func (n *Node) Signal(signal os.Signal) error {
	p := n.current()
	if p == nil {
		return fmt.Errorf("%s was never started", n.ID)
	}
	if err := p.cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("signal %s: %w", n.ID, err)
	}
	return nil
}

// Terminate asks for a clean stop.
func (n *Node) Terminate() error { return n.Signal(syscall.SIGTERM) }

// Kill is SIGKILL to the host process and nothing else, waited for. What the plugins do then is the product's
// matter. Without a running process it does nothing.
func (n *Node) Kill() {
	p := n.current()
	if p == nil || p.ended() {
		return
	}
	// An error means that it has just ended by itself.
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Wait waits for the end of the process and returns its exit code, -1 if a signal ended it.
func (n *Node) Wait(ctx context.Context) (int, error) {
	p := n.current()
	if p == nil {
		return 0, fmt.Errorf("%s was never started", n.ID)
	}
	select {
	case <-p.done:
		return p.code, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for the end of %s: %w", n.ID, ctx.Err())
	}
}

// Command runs a subcommand of the binary in the node's folder and returns what it printed.
func (n *Node) Command(ctx context.Context, args ...string) (stdout string, err error) {
	cmd := exec.CommandContext(ctx, n.binary, args...)
	cmd.Dir = n.Dir
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return string(out), fmt.Errorf("%s: bootstrap %s: %w: %s", n.ID, strings.Join(args, " "), err, strings.TrimSpace(string(exit.Stderr)))
		}
		return string(out), fmt.Errorf("%s: bootstrap %s: %w", n.ID, strings.Join(args, " "), err)
	}
	return string(out), nil
}

// Status asks the node how it is, with bootstrap status.
func (n *Node) Status(ctx context.Context) (*controlv1.StatusResponse, error) {
	out, err := n.Command(ctx, "status", "-o", "json")
	if err != nil {
		return nil, err
	}
	status := &controlv1.StatusResponse{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(out), status); err != nil {
		return nil, fmt.Errorf("%s: status: %w", n.ID, err)
	}
	return status, nil
}

// Leads reports whether a node says that it is master and has an open gate.
func Leads(status *controlv1.StatusResponse) bool {
	return status.GetRole() == failoverv1.Role_ROLE_MASTER && status.GetGateOpen()
}

func (n *Node) current() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process
}

func (n *Node) logFile() string { return filepath.Join(n.Dir, "bootstrap.log") }

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
