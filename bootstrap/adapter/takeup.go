package adapter

import (
	"context"
	"fmt"
)

// TakeUp gives a running adapter messages in flight that turned up after its start, committed in the mirror: those that
// only a returning node held. They are decided about as those of Run.InFlight are. It returns when each has been decided
// about, not when it is done.
func (a *Adapter) TakeUp(ctx context.Context, entries []Entry) error {
	if err := a.lockUntil(ctx); err != nil {
		return err
	}
	defer a.unlock()
	r := a.run
	if r == nil || r.receiving.Err() != nil {
		return ErrNotRunning
	}
	for _, e := range entries {
		if r.flights.tryEnter(e.MessageID) != nil {
			continue // it is under way
		}
		err := a.takeUp(ctx, r, e)
		if err != nil {
			return fmt.Errorf("take up message %s: %w", e.MessageID, err)
		}
	}
	return nil
}

// takeUp has the message's flight, and leaves it, or hands it on.
func (a *Adapter) takeUp(ctx context.Context, r *run, e Entry) error {
	l := r.loop(e.Workflow)
	switch {
	case l == nil && a.unit(e.Workflow) != nil:
		r.flights.leave(e.MessageID)
		r.leave(e) // for the next start of the workflow
		return nil
	case l == nil:
		defer r.flights.leave(e.MessageID)
		return a.stray(ctx, r, e)
	}
	before := len(r.takeover.awaited(e.Workflow))
	replay, err := l.decide(ctx, e)
	if err != nil || !replay {
		r.flights.leave(e.MessageID)
		if before == 0 && len(r.takeover.awaited(e.Workflow)) > 0 {
			r.restarting.Go(func() { l.awaitSource(l.receiving) })
		}
		return err
	}
	r.restarting.Go(func() {
		select {
		case l.injected <- job{entry: e}:
		case <-l.receiving.Done():
			r.flights.leave(e.MessageID)
			r.leave(e)
		}
	})
	return nil
}
