package host

import (
	"context"
	"slices"
	"sync"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
)

// flights is the adapter's mirror, and knows which messages are under way, for the reports of takeovers: the ids that
// were taken over, and those that a mastership left behind.
type flights struct {
	adapter.Mirror

	mu   sync.Mutex
	open map[string]bool // guarded by mu; the id of each message under way, and whether it is held for an operator
	// inherited is how many messages were in flight at the promotion; held and dropped what the takeover has made of
	// them, the rest is replayed. Guarded by mu.
	inherited, held, dropped int
}

// takingOver marks the context of a start: what the adapter changes in the mirror under it is a decision about a
// message that it has inherited.
type takingOver struct{}

func duringTakeover(ctx context.Context) context.Context {
	return context.WithValue(ctx, takingOver{}, true)
}

func newFlights(mirror adapter.Mirror, inherited []adapter.Entry) *flights {
	f := &flights{Mirror: mirror, open: map[string]bool{}, inherited: len(inherited)}
	for _, e := range inherited {
		isHeld := e.State == adapter.EntryHeld
		f.open[e.MessageID] = isHeld
		if isHeld {
			f.held++
		}
	}
	return f
}

// adopt counts messages that came from a returning node, and that the mirror has.
func (f *flights) adopt(entries []adapter.Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range entries {
		if _, open := f.open[e.MessageID]; !open {
			f.open[e.MessageID] = e.State == adapter.EntryHeld
		}
	}
}

// Receive counts a message from before it is in the mirror, because nobody may know later whether it is.
func (f *flights) Receive(ctx context.Context, entry adapter.Entry) (done bool, err error) {
	f.set(entry.MessageID, false)
	done, err = f.Mirror.Receive(ctx, entry)
	if done && err == nil {
		f.end(entry.MessageID)
	}
	return done, err
}

// Step takes a message up again that was held, as the mirror does.
func (f *flights) Step(ctx context.Context, messageID, step string, payload []byte, wait bool) error {
	f.takeUp(messageID)
	return f.Mirror.Step(ctx, messageID, step, payload, wait)
}

// Producing takes a message up again that was held, as the mirror does.
func (f *flights) Producing(ctx context.Context, messageID string) error {
	f.takeUp(messageID)
	return f.Mirror.Producing(ctx, messageID)
}

func (f *flights) takeUp(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[id] {
		f.open[id] = false
	}
}

// Done ends a message.
func (f *flights) Done(ctx context.Context, messageID string) error {
	err := f.Mirror.Done(ctx, messageID)
	if err == nil {
		f.end(messageID)
		f.decided(ctx, &f.dropped)
	}
	return err
}

// Release ends a message that its source has still.
func (f *flights) Release(ctx context.Context, messageID string) error {
	err := f.Mirror.Release(ctx, messageID)
	if err == nil {
		f.end(messageID)
	}
	return err
}

// Hold keeps a message for an operator.
func (f *flights) Hold(ctx context.Context, messageID, reason string) error {
	err := f.Mirror.Hold(ctx, messageID, reason)
	if err == nil {
		f.set(messageID, true)
		f.decided(ctx, &f.held)
	}
	return err
}

func (f *flights) decided(ctx context.Context, count *int) {
	if ctx.Value(takingOver{}) == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	*count++
}

func (f *flights) set(id string, held bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[id] = held
}

func (f *flights) end(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, id)
}

// unfinished are the messages that are under way and wait for nobody's decision, by their ids.
func (f *flights) unfinished() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := make([]string, 0, len(f.open))
	for id, held := range f.open {
		if !held {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// takenOver is what has become of the messages that were in flight at the promotion.
func (f *flights) takenOver() (inherited, replayed, held, dropped int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inherited, max(0, f.inherited-f.held-f.dropped), f.held, f.dropped
}
