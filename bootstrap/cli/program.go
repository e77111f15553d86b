package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/command"
	"github.com/understudy-ha/understudy/bootstrap/config"
	"github.com/understudy-ha/understudy/bootstrap/host"
	"github.com/understudy-ha/understudy/plugins/contract"
	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

// programConfig is the workload that is a program; false if it is an adapter.
func (s *setup) programConfig() (command.Config, bool) {
	w := s.cfg.Workload
	return command.Config{
		Command: w.Command, Dir: w.Dir, Env: w.Env, StopSignal: w.StopSignal, StopTimeout: w.StopTimeout,
		NoCgroup: w.Cgroup == config.ToggleOff, Restart: command.Restart(w.Restart), RestartMax: w.RestartMax,
		RestartWindow: w.RestartWindow, CoolDown: w.CoolDown,
	}, w.Enabled() && !s.cfg.Witness
}

// checkProgram is about a program as workload.
func (s *setup) checkProgram() error {
	cfg, ok := s.programConfig()
	if !ok {
		return nil
	}
	faults := []error{cfg.Validate()}
	if s.cfg.ClusterName == "" && len(s.cfg.Factories) > 0 {
		faults = append(faults, errors.New("cluster.name: a program has no id that the cluster could be called by, and two clusters of one name on "+
			"a network would be one; set it"))
	}
	if len(s.cfg.Factories) > 0 {
		if err := s.fit(cfg.StopTimeout); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", s.cfg.Origin("workload.stop.timeout"), err))
		}
	}
	return errors.Join(faults...)
}

// fit checks that a program can be stopped within a lease.
func (s *setup) fit(stop time.Duration) error {
	if i := s.cfg.Interlok; i != nil {
		return command.FitPings(stop, i.Interval, s.cfg.FailoverLease())
	}
	return command.Fit(stop, s.cfg.FailoverDelay, s.cfg.FailoverRetries)
}

// programID names the program at joinpoints and in the log.
func programID(cfg command.Config) string { return cfg.Name() }

// programDigest is by what nodes see whether they run the same.
func programDigest(cfg command.Config) string {
	sum := sha256.Sum256([]byte(strings.Join(cfg.Command, "\x00")))
	return hex.EncodeToString(sum[:])
}

// buildProgram makes the program of one mastership.
func (r *runner) buildProgram(cfg command.Config) (host.Workload, error) {
	shim, err := shimCommand()
	if err != nil {
		return nil, err
	}
	var lease time.Duration
	if r.gated {
		lease = r.setup.cfg.FailoverLease()
	}
	p := &program{id: programID(cfg), Workload: command.New(command.Options{
		Config: cfg, NodeID: r.nodeID, Cluster: r.setup.cluster(), DataDir: r.setup.cfg.DataDir, Lease: lease, Clock: host.Boottime,
		Shim: shim, Liveness: r.node.Load().LivenessFile, Log: r.log,
	})}
	r.program.Store(p)
	return p, nil
}

// shimCommand is this binary as a shim. On Linux it is the file that runs, also if another stands in its place by now.
func shimCommand() ([]string, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this binary, which is the shim of the program as well: %w", err)
	}
	const self = "/proc/self/exe"
	if running, err := os.Stat(self); err == nil {
		if named, err := os.Stat(path); err != nil || !os.SameFile(running, named) {
			path = self
		}
	}
	return []string{path, command.ShimArgument}, nil
}

// program is a command.Workload as the host sees it.
type program struct {
	*command.Workload
	id string
}

var (
	_ host.Workload = (*program)(nil)
	_ host.Failing  = (*program)(nil)
	_ host.Resumer  = (*program)(nil)
)

// held is what a program needs of its gate; host.Pass has it.
type held interface {
	command.Lease
	TermHeld() contract.Term
}

// Start implements host.Workload. There is nothing in flight that a program could go on with.
func (p *program) Start(ctx context.Context, run adapter.Run) error {
	m := command.Mastership{Held: run.Gate.Context()}
	if h, ok := run.Gate.(held); ok {
		term := h.TermHeld()
		m.Term, m.TermNode, m.Lease = term.Number, term.Node, h
	}
	return p.Workload.Start(ctx, m)
}

// Resumes implements host.Resumer: the shim stops the program when the lease lapses, and it is started again when the
// lease comes back.
func (p *program) Resumes() bool { return true }

// Status implements host.Workload.
func (p *program) Status() adapter.Status {
	s := adapter.Status{ID: p.id, State: adapter.StateInitialised}
	switch p.Workload.Status().State {
	case command.StateIdle:
	case command.StateFailed:
		s.State = adapter.StateStopped
	default:
		s.State = adapter.StateStarted
	}
	return s
}

// programStatus is what bootstrap status says of the program.
func (r *runner) programStatus(out *controlv1.StatusResponse) {
	p := r.program.Load()
	if p == nil {
		return
	}
	s := p.Workload.Status()
	out.Program = &controlv1.ProgramStatus{
		Command: s.Command, State: string(s.State), Pid: int32(s.PID), ShimPid: int32(s.Shim), Restarts: uint32(s.Restarts),
		LastExit: s.LastExit, ContainedBy: s.Contained,
	}
}

// printProgram is the program of a status.
func printProgram(t rows, p *controlv1.ProgramStatus) {
	words := make([]string, len(p.Command))
	for i, word := range p.Command {
		words[i] = word
		if word == "" || strings.ContainsAny(word, " \t\n\"'") {
			words[i] = strconv.Quote(word)
		}
	}
	t.row("program", "%s", strings.Join(words, " "))
	line := p.State
	if p.Pid > 0 {
		line += fmt.Sprintf(", pid %d", p.Pid)
	}
	line += fmt.Sprintf(", %d restarts in this mastership", p.Restarts)
	if p.LastExit != "" {
		line += ", last " + p.LastExit
	}
	t.row("", "%s", line)
	t.row("", "shim %d, contained by %s", p.ShimPid, p.ContainedBy)
}
