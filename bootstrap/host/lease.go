package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/understudy-ha/understudy/plugins/contract"
)

// A workload that cannot ask the gate, a program, needs more of its mastership than the gate: the end of the lease, a
// copy of the liveness socket, and a way to say that it cannot go on.

// Until returns until when the opening is valid by the node's clock, and a channel that is closed at the next renewal.
func (p *Pass) Until() (until time.Duration, renewed <-chan struct{}) {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	if p.renewed == nil {
		p.renewed = make(chan struct{})
	}
	return time.Duration(p.validUntil.Load()), p.renewed
}

// TermHeld is the term of the opening.
func (p *Pass) TermHeld() contract.Term { return p.term }

// Failing is a Workload that can fail after it has been started.
type Failing interface {
	// Failed has an error when the workload cannot go on here. Stop is called then.
	Failed() <-chan error
}

// Cooling is an error after which this node should not stand for election for a while.
type Cooling interface {
	error
	CoolDown() time.Duration
}

// failures is where a workload says that it has failed; nil if it never does.
func failures(w Workload) <-chan error {
	if f, ok := w.(Failing); ok {
		return f.Failed()
	}
	return nil
}

// failed gives a mastership up whose workload cannot go on.
func (n *Node) failed(err error) departure {
	d := departure{what: Demotion, reason: "the workload has failed: " + err.Error(), patience: n.opt.StopTimeout, failure: err}
	var cooling Cooling
	if n.opt.Failover && errors.As(err, &cooling) {
		n.election.set(func(h *health) {
			h.cooled, h.coolReason = n.opt.Clock()+cooling.CoolDown(), d.reason
		})
		n.log.Error("this node gives the role up: "+d.reason, "stands_again_in", cooling.CoolDown().String())
	}
	return d
}

// livenessPause is the time between two attempts to open a liveness socket whose port is taken.
const livenessPause = 50 * time.Millisecond

// awaitLiveness opens the liveness socket. A former life of this node may still hold a port that was named: the shim of
// its program does, until nothing is left of that, which takes no longer than the lease.
func (n *Node) awaitLiveness(ctx context.Context) (*liveness, error) {
	said := false
	for deadline := n.opt.Clock() + n.opt.Patience; ; {
		l, err := listenLiveness(*n.opt.Liveness, n.opt.NodeID, n.opt.Cluster, n.log)
		if !errors.Is(err, syscall.EADDRINUSE) || n.opt.Clock() >= deadline {
			return l, err
		}
		if !said {
			said = true
			n.log.Warn("the liveness socket's port is taken; waiting in case a former life of this node is still stopping its work", "error", err)
		}
		select {
		case <-time.After(livenessPause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// holdLiveness notes the socket, before the first mastership.
func (n *Node) holdLiveness(l *liveness) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watched = l
}

// LivenessFile returns a duplicate of the liveness socket's listener, which is the caller's; nil if there is none.
// As long as anybody holds one a connection to it is not refused. It may be called while the node runs.
func (n *Node) LivenessFile() (*os.File, error) {
	n.mu.Lock()
	watched := n.watched
	n.mu.Unlock()
	if watched == nil {
		return nil, nil
	}
	listener, ok := watched.listener.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("the liveness socket is a %T", watched.listener)
	}
	return listener.File()
}
