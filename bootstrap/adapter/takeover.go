package adapter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// takeover knows the messages that the mirror has and nobody carries: what the master before left behind,
// and what is held. A source that delivers one of them must not get it treated as new.
type takeover struct {
	mu      sync.Mutex
	entries map[string]remnant // guarded by mu
}

// remnant is an entry of the mirror and how it stands.
type remnant struct {
	Entry
	stands standing
	// unmirrored: the failed-message store alone has it.
	unmirrored bool
}

// standing is what is to be done when a source delivers a message.
type standing uint8

const (
	// unknown: the message is new.
	unknown standing = iota
	// awaited: its source is expected to deliver it, again.
	awaited
	// tooLate: it was held because its source did not; it may still.
	tooLate
	// held: an operator has to decide.
	held
	// stored: it has failed, and the failed-message store has it, or the mirror for it. Nobody waits for its source.
	stored
)

func (t *takeover) add(e Entry, s standing) { t.put(remnant{Entry: e, stands: s}) }

func (t *takeover) put(r remnant) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.entries == nil {
		t.entries = map[string]remnant{}
	}
	t.entries[r.MessageID] = r
}

// claim says how a delivered message stands, and hands the entry over unless it is held. Only the workflow
// that had it may go on with it.
func (t *takeover) claim(id, workflow string) (Entry, standing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.entries[id]
	switch {
	case !ok:
		return Entry{}, unknown
	case r.stands == stored && r.Workflow == workflow:
		return Entry{}, stored
	case r.stands == held || r.stands == stored || r.Workflow != workflow:
		return Entry{}, held
	}
	delete(t.entries, id)
	return r.Entry, r.stands
}

// take hands out a message that waits for an operator. What it returns otherwise has the standing alone.
func (t *takeover) take(id string) (remnant, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.entries[id]
	if !ok || r.stands == awaited {
		return remnant{stands: r.stands}, false
	}
	delete(t.entries, id)
	return r, true
}

// stands says how a message does, which may be not at all.
func (t *takeover) stands(id string) standing {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.entries[id].stands
}

// strip forgets the payload of a message that the failed-message store has.
func (t *takeover) strip(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r, found := t.entries[id]; found && r.stands == stored {
		r.Payload = nil
		t.entries[id] = r
	}
}

// find returns a message that waits for an operator, and leaves it there.
func (t *takeover) find(id string) (remnant, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.entries[id]
	return r, ok && r.stands != awaited
}

// waiting are the messages that wait for an operator, by their ids.
func (t *takeover) waiting() map[string]remnant {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := map[string]remnant{}
	for id, r := range t.entries {
		if r.stands != awaited {
			found[id] = r
		}
	}
	return found
}

// awaited returns the ids that a workflow's source still has to deliver.
func (t *takeover) awaited(workflow string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var ids []string
	for id, r := range t.entries {
		if r.stands == awaited && r.Workflow == workflow {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// takeOver decides what becomes of each message in flight, before anything new can come in.
func (a *Adapter) takeOver(ctx context.Context, r *run, entries []Entry) error {
	byID := make(map[string]Entry, len(entries))
	for _, e := range entries {
		byID[e.MessageID] = e
	}
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(x, y Entry) int { return x.Received.Compare(y.Received) })
	for _, e := range entries {
		if l := r.loop(e.Workflow); l != nil {
			if err := l.takeOver(ctx, e); err != nil {
				return err
			}
			continue
		}
		if err := a.stray(ctx, r, e); err != nil {
			return err
		}
	}
	a.takeOverStored(ctx, r, byID)
	return nil
}

// stray keeps a message of no workflow of this file for an operator.
func (a *Adapter) stray(ctx context.Context, r *run, e Entry) error {
	a.strays.Add(1)
	if e.State == EntryHeld {
		r.takeover.add(e, held)
		return nil
	}
	e.Reason = fmt.Sprintf("this adapter has no workflow %q", e.Workflow)
	r.takeover.add(e, held)
	a.log.Error("a message is held for an operator", "message-id", e.MessageID, "reason", e.Reason)
	return r.write(ctx, a.log, e.MessageID, "held", func(ctx context.Context) error {
		return r.mirror.Hold(ctx, e.MessageID, e.Reason)
	})
}

func (l *loop) takeOver(ctx context.Context, e Entry) error {
	replay, err := l.decide(ctx, e)
	// Entered now, so that a delivery of the same message waits for the end of the replay.
	if replay && l.run.flights.tryEnter(e.MessageID) == nil {
		l.replays = append(l.replays, e)
	}
	return err
}

// decide says whether the message is to be replayed, and takes care of it if not.
func (l *loop) decide(ctx context.Context, e Entry) (replay bool, err error) {
	w := l.workflow
	_, known := w.stepIndex[e.Step]
	switch {
	case e.State == EntryHeld && isFailed(e):
		l.adopt(e)
		return false, nil
	case e.State == EntryHeld:
		w.counters.held.Add(1)
		l.run.takeover.add(e, held)
		return false, nil
	case w.cfg.OnTakeover == TakeoverDrop:
		w.log.Warn("a message in flight is dropped, as on-takeover says", "message-id", e.MessageID, "step", e.Step)
		return false, l.run.write(ctx, w.log, e.MessageID, "done", func(ctx context.Context) error {
			return l.run.mirror.Done(ctx, e.MessageID)
		})
	case w.cfg.OnTakeover == TakeoverHold:
		return false, l.holdEntry(ctx, e, held, "on-takeover is hold")
	case e.Step != "" && !known:
		return false, l.holdEntry(ctx, e, held, fmt.Sprintf("the workflow has no service %q, which was the last to finish", e.Step))
	case w.awaitsSource:
		l.run.takeover.add(e, awaited)
		return false, nil
	}
	return true, nil
}

func isFailed(e Entry) bool {
	_, _, ok := parseReason(e.Reason)
	return ok
}

func (l *loop) holdEntry(ctx context.Context, e Entry, as standing, reason string) error {
	l.workflow.log.Warn("a message in flight is held for an operator", "message-id", e.MessageID, "reason", reason)
	err := l.write(ctx, e.MessageID, "held", func(ctx context.Context) error {
		return l.run.mirror.Hold(ctx, e.MessageID, reason)
	})
	if err != nil {
		return err
	}
	l.workflow.counters.held.Add(1)
	e.Reason = reason
	l.run.takeover.add(e, as)
	return nil
}

// resume goes on with a mirrored message after its last mirrored step.
func (l *loop) resume(m *message, e Entry) {
	l.workflow.counters.resumed.Add(1)
	m.payload, m.arrived, m.mirrored = e.Payload, e.Received, true
	if e.Step != "" {
		m.next = l.workflow.stepIndex[e.Step] + 1
	} else {
		m.original = e.Payload
	}
	m.producing = e.State == EntryProducing
	m.repeats = m.producing || e.PossibleDuplicate
	if err := l.rewind(m); err != nil {
		if err = l.hold(m, err.Error()); !errors.Is(err, errHeld) {
			l.giveBack(m, err)
		}
		return
	}
	l.workflow.log.Info("a message in flight is taken up", "message-id", m.id, "step", e.Step, "possible-duplicate", m.repeats)
	l.bring(m)
}

// revive takes up a message that was held because its source did not deliver it, and now has.
func (l *loop) revive(m *message, e Entry) {
	l.workflow.log.Info("the source has delivered a message after all", "message-id", m.id)
	l.workflow.counters.held.Add(-1)
	// Held is what the mirror has, so the next produce says again that it begins.
	e.PossibleDuplicate = e.PossibleDuplicate || e.State == EntryProducing
	e.State = EntryHeld
	l.resume(m, e)
}

// awaitSource gives up on messages that the source does not deliver, once it has offered all that it has.
func (l *loop) awaitSource(ctx context.Context) {
	if len(l.run.takeover.awaited(l.workflow.cfg.ID)) == 0 {
		return
	}
	if r, ok := l.workflow.consumer.(Rescanner); ok {
		select {
		case <-r.Rescanned():
			l.giveUpWaiting("the source has offered everything it has, but not this")
		case <-ctx.Done():
		}
		return
	}
	wait := time.NewTimer(l.run.options.RedeliveryWait)
	defer wait.Stop()
	select {
	case <-wait.C:
		l.giveUpWaiting("the source has not delivered it again within " + l.run.options.RedeliveryWait.String())
	case <-ctx.Done():
	}
}

func (l *loop) giveUpWaiting(reason string) {
	for _, id := range l.run.takeover.awaited(l.workflow.cfg.ID) {
		if !l.run.flights.enter(l.receiving, id) {
			return
		}
		// It may have come in the meantime.
		if e, found := l.run.takeover.claim(id, l.workflow.cfg.ID); found == awaited {
			if err := l.holdEntry(l.ctx, e, tooLate, reason); err != nil {
				l.workflow.log.Info("a message is left as it is", "message-id", id, "reason", err)
			}
		}
		l.run.flights.leave(id)
	}
}
