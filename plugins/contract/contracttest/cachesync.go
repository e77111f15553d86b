package contracttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/plugins/contract"
)

func runCacheSync(t *testing.T, start func(t testing.TB) node) {
	term := contract.Term{Number: 1, Node: "fake"}

	t.Run("configure says where it is", func(t *testing.T) {
		n := configured(t, start)
		status, err := n.CacheSync.Status(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if status.NodeID != "fake" || !strings.Contains(status.Address, ":") {
			t.Errorf("status %+v, want this node's id and host:port", status)
		}
	})

	t.Run("who does not lead commits nothing", func(t *testing.T) {
		n := configured(t, start)
		if got := n.commit(t, term, received("m1")); got != contract.NotLeading {
			t.Errorf("before Lead: %v", got)
		}
		n.lead(t, term)
		if got := n.commit(t, contract.Term{Number: 1, Node: "other"}, received("m1")); got != contract.NotLeading {
			t.Errorf("in another term: %v", got)
		}
		if err := n.CacheSync.Follow(within(t)); err != nil {
			t.Fatal(err)
		}
		if got := n.commit(t, term, received("m1")); got != contract.NotLeading {
			t.Errorf("after Follow: %v", got)
		}
	})

	t.Run("the life of a message", func(t *testing.T) {
		n := configured(t, start)
		n.lead(t, term)
		steps := []contract.Op{
			received("m1"),
			{Kind: contract.OpStepped, MessageID: "m1", Step: "stamp", Payload: []byte("changed"), Time: now()},
			{Kind: contract.OpProducing, MessageID: "m1", Time: now()},
			{Kind: contract.OpDone, MessageID: "m1", Time: now()},
		}
		for _, op := range steps {
			if got := n.commit(t, term, op); got != contract.Committed {
				t.Fatalf("op %d: %v", op.Kind, got)
			}
		}
		if got := n.commit(t, term, received("m1")); got != contract.DoneBefore {
			t.Errorf("the same message again: %v, want DoneBefore", got)
		}
	})

	t.Run("the next term finds what was in flight", func(t *testing.T) {
		n := configured(t, start)
		n.lead(t, term)
		large := bytes.Repeat([]byte("x"), 1<<20)
		for i := range 5 {
			op := received(fmt.Sprint("m", i))
			op.Payload = large
			if got := n.commit(t, term, op); got != contract.Committed {
				t.Fatal(got)
			}
		}
		stepped := contract.Op{Kind: contract.OpStepped, MessageID: "m3", Step: "stamp", Time: now()}
		n.CacheSync.Commit(term, stepped, true, nil)
		if got := n.commit(t, term, contract.Op{Kind: contract.OpProducing, MessageID: "m3", Time: now()}); got != contract.Committed {
			t.Fatal(got)
		}
		lead := n.lead(t, contract.Term{Number: 2, Node: "fake"})
		if len(lead.Entries) != 5 {
			t.Fatalf("%d entries in flight, want 5", len(lead.Entries))
		}
		for _, entry := range lead.Entries {
			if !bytes.Equal(entry.Payload, large) {
				t.Errorf("%s came back with %d bytes", entry.MessageID, len(entry.Payload))
			}
			producing := entry.MessageID == "m3"
			if entry.PossibleDuplicate != producing || (entry.Step == "stamp") != producing {
				t.Errorf("%s: step %q, possible duplicate %v", entry.MessageID, entry.Step, entry.PossibleDuplicate)
			}
		}
	})

	t.Run("nonsense is refused and harms nobody", func(t *testing.T) {
		n := configured(t, start)
		n.lead(t, term)
		if got := n.commit(t, term, contract.Op{Kind: contract.OpDone, MessageID: "nobody", Time: now()}); got != contract.Invalid {
			t.Errorf("done of an unknown message: %v, want Invalid", got)
		}
		if got := n.commit(t, term, received("m1")); got != contract.Committed {
			t.Errorf("after it: %v", got)
		}
	})

	t.Run("who adopts says so until it is told to stop", func(t *testing.T) {
		n := configured(t, start)
		adopter, ok := n.CacheSync.(contract.Adopter)
		if !ok {
			t.Skip("it takes nothing over from returning nodes")
		}
		ctx, cancel := context.WithCancel(within(t))
		ended := make(chan error, 1)
		go func() {
			ended <- adopter.Adopted(ctx, func(entries []contract.Entry) { t.Errorf("nobody has returned, but it adopts %+v", entries) })
		}()
		n.lead(t, term)
		cancel()
		if err := <-ended; err != nil && !isContextError(err) && !errors.Is(err, contract.ErrNotServed) {
			t.Errorf("adopted ended with %v", err)
		}
	})

	t.Run("watch tells the last state", func(t *testing.T) {
		n := configured(t, start)
		ctx, cancel := context.WithCancel(within(t))
		defer cancel()
		states, ended := make(chan contract.MirrorState), make(chan error, 1)
		go func() {
			ended <- n.CacheSync.Watch(ctx, func(s contract.MirrorState) {
				select {
				case states <- s:
				case <-ctx.Done():
				}
			})
		}()
		if first := <-states; first.Leading {
			t.Errorf("it leads without having been told: %+v", first)
		}
		n.lead(t, term)
		for !(<-states).Leading {
		}
		cancel()
		if err := <-ended; err != nil && !isContextError(err) {
			t.Errorf("watch ended with %v", err)
		}
	})
}

func configured(t testing.TB, start func(t testing.TB) node) node {
	t.Helper()
	n := start(t)
	config := contract.MirrorConfig{
		NodeID: "fake", Cluster: "contracttest", DataDir: t.TempDir(), Properties: n.config.Properties,
	}
	info, err := n.CacheSync.Configure(within(t), config)
	if err != nil {
		t.Fatal(err)
	}
	if info.Name == "" || info.Version == "" || !strings.Contains(info.Address, ":") {
		t.Errorf("configure answered %+v, want name, version and host:port", info)
	}
	t.Cleanup(func() {
		if err := n.CacheSync.Shutdown(context.Background()); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return n
}

func (n node) lead(t testing.TB, term contract.Term) contract.Lead {
	t.Helper()
	lead, err := n.CacheSync.Lead(within(t), term)
	if err != nil {
		t.Fatal(err)
	}
	if lead.Sealed.Term != term {
		t.Errorf("sealed in term %s, want %s", lead.Sealed.Term, term)
	}
	return lead
}

func (n node) commit(t testing.TB, term contract.Term, op contract.Op) contract.CommitResult {
	t.Helper()
	settled := make(chan contract.CommitResult, 1)
	n.CacheSync.Commit(term, op, false, func(result contract.CommitResult, err error) {
		if err != nil && result == 0 {
			t.Errorf("commit %s: %v", op.MessageID, err)
		}
		settled <- result
	})
	return <-settled
}

func received(id string) contract.Op {
	return contract.Op{Kind: contract.OpReceived, MessageID: id, WorkflowID: "w", Payload: []byte("payload of " + id), Time: now()}
}

// now has the resolution of the wire.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
