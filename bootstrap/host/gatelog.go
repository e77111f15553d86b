package host

import (
	"context"
	"time"
)

// stallLogPause: with a short delay on a busy machine short stalls are many, and one line says enough; status counts
// them all.
const stallLogPause = time.Minute

// noteGate takes an event of the gate; whoever holds the gate's lock must not wait for a log.
func (n *Node) noteGate(e GateEvent) {
	select {
	case n.gateEvents <- e:
	default:
	}
}

// logGate writes what has happened to the gate.
func (n *Node) logGate(ctx context.Context) {
	lapsed, stalled := n.opt.Clock(), n.opt.Clock()-stallLogPause
	for {
		var e GateEvent
		select {
		case e = <-n.gateEvents:
		case <-ctx.Done():
			return
		}
		switch e.Kind {
		case GateStalled:
			if e.For < n.opt.Patience && n.opt.Clock()-stalled < stallLogPause {
				continue
			}
			stalled = n.opt.Clock()
			n.log.Warn("this process did not run for a while: nothing passes the gate before the election has been asked", "for", e.For.String())
		case GateLapsed:
			lapsed = n.opt.Clock()
			n.log.Warn("the lease has lapsed: the gate is shut and the work waits; it goes on if the lease comes back in this term",
				"gate_term", e.Term.String())
		case GateReopened:
			n.log.Info("the lease came back: the gate is open again in the same term, and the work goes on",
				"gate_term", e.Term.String(), "shut_for", (n.opt.Clock() - lapsed).String())
		}
	}
}
