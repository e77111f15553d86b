package host

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// mastership is what belongs to one.
type mastership struct {
	workload Workload
	gate     adapter.Gate
	term     contract.Term
	flights  *flights
	// plugin is the mirror that this node has sealed; nil if there is none.
	plugin contract.CacheSync
	// adopting is what takes messages up that only returning nodes held.
	adopting sync.WaitGroup
}

// Resumer is a Workload that can wait at the gate, and go on when a lease that has lapsed comes back in the same term.
// For any other workload a lapse is the end of the mastership.
type Resumer interface{ Resumes() bool }

// work seals the mirror, starts the workload and waits for the end of the mastership: held ends when the gate is
// shut for good, stop when the node has been asked to end. The error says why the workload could not start.
func (n *Node) work(held, stop context.Context, m *mastership, healthy func()) (departure, error) {
	n.setPhase(PhasePromoted, "")
	// What is running outlives the order to stop, so that it can be finished; what is only starting does not.
	starting, cancel := context.WithCancel(held)
	defer cancel()
	defer context.AfterFunc(stop, func() {
		n.gate.finish(m.term) // nothing may wait for the lease now
		cancel()
	})()
	if r, ok := m.workload.(Resumer); !ok || !r.Resumes() {
		n.gate.finish(m.term)
	}
	report := n.promotionReport(m.term)
	if err := n.start(held, starting, m, &report); err != nil {
		if starting.Err() != nil {
			return n.ending(held, stop), nil // not the workload's fault
		}
		return departure{what: Demotion, reason: err.Error(), patience: n.opt.StopTimeout}, err
	}
	healthy()
	n.setPhase(PhaseRunning, "")
	if n.opt.Failover {
		n.report(report)
	}
	adopting, noMore := context.WithCancel(held)
	n.adopt(adopting, m)
	d := n.await(held, stop, failures(m.workload))
	noMore()
	if d.what == HandedOver {
		n.log.Info("the role is handed over: nothing new is received, what is under way is finished", "to", d.to, "reason", d.reason)
	}
	if !n.opt.Failover {
		return d, d.failure // nobody else could go on with it
	}
	return d, nil
}

// start seals the mirror and starts the workload.
func (n *Node) start(held, starting context.Context, m *mastership, report *Change) error {
	run := adapter.Run{Gate: m.gate, Mirror: noMirror{}}
	began := n.opt.Clock()
	if n.opt.Mirror && !m.term.IsZero() {
		sealing, cancel := context.WithTimeout(starting, sealTimeout)
		defer cancel()
		var err error
		if run.Mirror, run.InFlight, report.Promoted.MirrorFrom, err = n.seal(sealing, m); err != nil {
			return fmt.Errorf("seal the mirror under term %s: %w", m.term, err)
		}
	}
	sealed := n.opt.Clock()
	m.flights = newFlights(run.Mirror, run.InFlight)
	run.Mirror = m.flights
	err := m.workload.Start(duringTakeover(starting), run)
	n.afterStart(held, err)
	if err != nil {
		return fmt.Errorf("start of the adapter: %w", err)
	}
	p := report.Promoted
	p.Seal, p.Start = Millis(sealed-began), Millis(n.opt.Clock()-sealed)
	p.InFlight, p.Replayed, p.Held, p.Dropped = m.flights.takenOver()
	return nil
}

// await waits for the end of a mastership that works.
func (n *Node) await(held, stop context.Context, failing <-chan error) departure {
	for {
		select {
		case <-stop.Done():
			return n.ending(held, stop)
		case <-held.Done():
			d := n.ending(held, stop)
			n.log.Warn("demoted: the work is stopped", "reason", d.reason)
			return d
		case d := <-n.orders:
			return d
		case err := <-failing:
			return n.failed(err)
		case <-n.election.wished:
			if role, _ := n.election.role(); role.Role == contract.RoleMaster && role.Handover.To != "" {
				return departure{what: HandedOver, reason: role.Handover.Reason, to: role.Handover.To, patience: n.opt.StopTimeout}
			}
		case <-n.unfit:
			if fault := n.election.coolDown(n.opt.Check.Cooldown); fault != "" {
				n.log.Error("this node gives the role up: "+fault, "stands_again_in", n.opt.Check.Cooldown.String())
				return departure{what: Demotion, reason: fault, patience: n.opt.StopTimeout}
			}
		}
	}
}

// ending is the departure of a node whose gate was shut, or that has been asked to end.
func (n *Node) ending(held, stop context.Context) departure {
	d := departure{what: Demotion, reason: "this node is stopping", patience: n.opt.StopTimeout}
	if held.Err() != nil && stop.Err() == nil {
		d.reason = context.Cause(held).Error()
	}
	return d
}

// seal makes this node the mirror's writer.
func (n *Node) seal(ctx context.Context, m *mastership) (adapter.Mirror, []adapter.Entry, string, error) {
	plugin, _, err := n.mirror.wait(ctx)
	if err != nil {
		return nil, nil, "", err
	}
	term := m.term
	lead, err := plugin.Lead(ctx, term)
	if err != nil {
		return nil, nil, "", err
	}
	if len(lead.Entries) > 0 || lead.TakenFrom != "" {
		n.log.Info("the mirror has been taken over", "in_flight", len(lead.Entries), "from", lead.TakenFrom,
			"index", lead.Sealed.Index)
	}
	m.plugin = plugin
	sealed := &mirror{sync: plugin, term: term, now: n.opt.Now, lost: func(reason string) { n.gate.shutTerm(term, reason) }}
	return sealed, entries(lead.Entries), lead.TakenFrom, nil
}

// standDown ends a mastership: the work is finished if the gate is open and cut off if not, then the gate is
// shut, then the mirror is let go, and only then the others hear of it. Work that cannot be stopped is an
// errNotAtRest: the others must not be told that they may begin, and only the end of the process ends it.
func (n *Node) standDown(ctx context.Context, m *mastership, d departure) error {
	n.setPhase(PhaseStopping, "")
	background := context.WithoutCancel(ctx)
	n.gate.finish(m.term)
	if n.opt.Failover && !n.gate.State().Open {
		n.hookStandby(d.reason)
	}
	end, err := n.drain(background, m, d)
	if err != nil {
		n.gate.shutTerm(m.term, "stopping")
		d.tell(HandoverResult{}, err)
		return fmt.Errorf("%w: %w", errNotAtRest, err)
	}
	m.adopting.Wait()
	if !n.opt.Failover {
		return nil
	}
	n.gate.shutTerm(m.term, "stopping")
	n.hookStandby(d.reason)
	ctx, cancel := context.WithTimeout(background, shutdownTimeout)
	defer cancel()
	if plugin, up, _ := n.mirror.get(); up && n.election.mirrorAnswers() {
		if err := plugin.Follow(ctx); err != nil {
			n.log.Warn("the mirror was not let go", "error", err)
		}
	}
	n.election.set(func(h *health) { h.atRest = true })
	resigned := n.opt.Clock()
	err = n.election.resign(ctx, m.term, d.to)
	if err != nil {
		n.log.Warn("the resignation was not said; the others wait for silence", "error", err)
	}
	n.doNotStand(d.reason)
	n.gone(m.term, resigned, d, end)
	return nil
}

func (n *Node) hookStandby(reason string) {
	e := HookEvent{Role: HookStandby, Reason: reason}
	if role := n.Role(); role.Role != contract.RoleMaster {
		e.Master = role.MasterID
	}
	n.hooks.become(e)
}

// drain stops the workload, and says what it has left.
func (n *Node) drain(ctx context.Context, m *mastership, d departure) (*EndReport, error) {
	patience, cancel := context.WithTimeout(ctx, d.patience)
	defer cancel()
	began := n.opt.Clock()
	if err := m.workload.Stop(patience); err != nil {
		return nil, err
	}
	left := m.flights.unfinished()
	end := &EndReport{
		Drain: Millis(n.opt.Clock() - began), Missed: patience.Err() != nil && len(left) > 0,
		Unfinished: left[:min(len(left), maxUnfinishedNames)], UnfinishedCount: len(left), To: d.to,
	}
	if len(left) == 0 {
		return end, nil
	}
	end.Fate = "they are in the mirror: whoever leads next goes on with each after its last mirrored step"
	if !n.opt.Mirror {
		end.Fate = "there is no mirror: a source that can deliver a message again does so, any other has lost it"
	}
	n.log.Warn("messages were not finished", "count", len(left), "message_ids", end.Unfinished, "deadline_missed", end.Missed,
		"what_happens", end.Fate)
	return end, nil
}

// gone reports the end of a mastership. Whoever takes over is waited for, beside the node's further life, if somebody
// was named.
func (n *Node) gone(term contract.Term, resigned time.Duration, d departure, end *EndReport) {
	c := n.change(d.what, term, d.reason)
	c.Ended = end
	if d.what != HandedOver {
		n.report(c)
		return
	}
	result := HandoverResult{
		Term: term, Drain: time.Duration(end.Drain), Missed: end.Missed, Unfinished: end.Unfinished, Fate: end.Fate,
	}
	n.running.Go(func() { n.follow(n.life, term, resigned, d, c, result) })
}
