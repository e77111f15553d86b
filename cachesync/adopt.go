package cachesync

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/cachesync/ledger"
)

// A node that was master on its own, and then was not, may hold messages that nobody else ever got: those that came
// in above the seal of its term. Before its table is replaced the new master takes them, as if they had come in now.
// What came in before the seal is the new master's already, whatever the other node has done with it since.

// adoptions are the messages that were taken over while leading, until somebody has been told.
type adoptions struct {
	added   chan struct{} // signalled when there are entries
	mu      sync.Mutex    // guards entries
	entries []ledger.Entry
}

func (a *adoptions) add(e ledger.Entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entries = append(a.entries, e)
	select {
	case a.added <- struct{}{}:
	default:
	}
}

func (a *adoptions) take() []ledger.Entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	entries := a.entries
	a.entries = nil
	return entries
}

// Adopted calls taken with the messages that were taken from returning nodes while this node leads, each once, until ctx
// ends. They are committed and in flight.
func (r *Replicator) Adopted(ctx context.Context, taken func([]ledger.Entry)) error {
	for {
		if entries := r.adopted.take(); len(entries) > 0 {
			taken(entries)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.adopted.added:
		}
	}
}

// adopt takes what a standby holds on a log of its own, and renews its snapshot. An error leaves the standby's table
// as it is. Meanwhile the standby goes on to hear what the in-sync set is: commits may wait until it knows that it is
// not in it.
func (k *link) adopt(ctx context.Context, stream Stream, batch *Batch, position ledger.Position) error {
	k.r.mu.Lock()
	log, foreign := k.r.table.Log(), k.foreign
	k.r.mu.Unlock()
	if !foreign {
		return nil
	}
	pulling, cancel := context.WithCancel(ctx)
	var puller sync.WaitGroup
	defer puller.Wait()
	defer cancel()
	var count int
	pulled := make(chan error, 1)
	puller.Go(func() {
		var err error
		count, err = k.pullBeyond(pulling, log)
		pulled <- err
	})
	if err := k.attend(ctx, stream, batch, pulled); err != nil {
		return fmt.Errorf("take the messages that only %s holds: %w", k.peer, err)
	}
	if count > 0 {
		k.r.log.Warn("mirror: a node has come back with messages that only it held, they are taken over",
			"peer", k.peer, "messages", count, "position", position.String())
	}
	k.r.mu.Lock()
	defer k.r.mu.Unlock()
	k.foreign = false
	k.snapshotLocked()
	return nil
}

// attend sends no more than signs of life and in-sync sets until done gives something.
func (k *link) attend(ctx context.Context, stream Stream, batch *Batch, done <-chan error) error {
	life := time.NewTicker(k.r.config.LagTimeout / 4)
	defer life.Stop()
	for due := false; ; {
		k.r.mu.Lock()
		send := k.underway.len() < window && (due || k.setDueLocked())
		if send {
			k.fillLocked(batch)
			k.bookLocked(0, batch)
		}
		k.r.mu.Unlock()
		if send {
			due = false
			if err := stream.SendBatch(batch); err != nil {
				return err
			}
		}
		select {
		case err := <-done:
			return err
		case <-k.wake:
		case <-life.C:
			due = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// pullBeyond takes what is not on the log, and returns how many messages that were.
func (k *link) pullBeyond(ctx context.Context, log ledger.Log) (int, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(k.r.config.LagTimeout, func() { cancel(errSilent) })
	defer silence.Stop()
	hello := Hello{Node: k.r.config.NodeID, Term: k.reign.term}
	count := 0
	err := k.r.peers.Pull(ctx, k.peer, hello, &log, func(c *ledger.Chunk) error {
		silence.Stop() // writing it may take longer
		defer silence.Reset(k.r.config.LagTimeout)
		for i := range c.Entries {
			e := &c.Entries[i]
			if e.Arrival.Index == 0 || log.Holds(e.Arrival) {
				continue // an older build gives everything
			}
			taken, err := k.adoptEntry(e)
			if err != nil {
				return err
			}
			if taken {
				count++
			}
		}
		return nil
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return count, err
}

// adoptEntry writes one message as if it had come in now, unless it is known here. It need not be committed before
// the standby loses its own: the snapshot that takes the place of that has it.
func (k *link) adoptEntry(e *ledger.Entry) (bool, error) {
	ops := adoptionOps(e)
	k.r.mu.Lock()
	defer k.r.mu.Unlock()
	g := k.r.leadingLocked(k.reign.term)
	if g == nil {
		return false, errReignEnd
	}
	known, err := k.r.table.Decide(&ops[0])
	if err != nil || known != ledger.Accept {
		return false, err
	}
	for i := range ops[:len(ops)-1] {
		k.r.writeLocked(g, ops[i], true, nil)
	}
	id := e.MessageID
	k.r.writeLocked(g, ops[len(ops)-1], false, func(result Result, _ error) {
		if result == Committed {
			k.r.tellAdopted(id)
		}
	})
	for _, other := range g.links {
		other.wakeUp()
	}
	k.r.journal.goLocked()
	return true, nil
}

// tellAdopted passes on a message that has been taken.
func (r *Replicator) tellAdopted(id string) {
	r.mu.Lock()
	e, found := r.table.Entry(id)
	r.mu.Unlock()
	if found {
		r.adopted.add(e)
	}
}

// adoptionOps are the changes that bring a message to where it was.
func adoptionOps(e *ledger.Entry) []ledger.Op {
	ops := []ledger.Op{{
		Kind: ledger.Received, MessageID: e.MessageID, WorkflowID: e.WorkflowID, Payload: e.Payload, UnixMilli: e.ReceivedMilli,
	}}
	if e.PossibleDuplicate {
		ops = append(ops, ledger.Op{Kind: ledger.Producing, MessageID: e.MessageID, UnixMilli: e.ChangedMilli})
	}
	if e.Step != "" {
		ops = append(ops, ledger.Op{Kind: ledger.Stepped, MessageID: e.MessageID, Step: e.Step, UnixMilli: e.ChangedMilli})
	}
	switch e.State {
	case ledger.StateReceived:
	case ledger.StateProducing:
		ops = append(ops, ledger.Op{Kind: ledger.Producing, MessageID: e.MessageID, UnixMilli: e.ChangedMilli})
	case ledger.StateHeld:
		ops = append(ops, ledger.Op{Kind: ledger.Held, MessageID: e.MessageID, Reason: e.Reason, UnixMilli: e.ChangedMilli})
	}
	return ops
}
