package failover_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestLogLines: what people and their log watchers know from the original, at its moments.
func TestLogLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const started = "Creating listener...\nCreating broadcaster...\nStarted listener\nStarted broadcaster\nFailover Manager has started"
		const promoted = "\nPromoted to Master node\nFailover Manager has been promoted"
		network := memnet.New(1)
		a := join(t, network, "a", &memoryStore{}, &lines{})
		pass(3 * delay)
		if got := a.log.messages(); got != started {
			t.Errorf("after the start:\n%s", got)
		}
		pass(2 * delay)
		if got := a.log.messages(); got != started+promoted {
			t.Errorf("alone for delay × retries:\n%s", got)
		}
		b := join(t, network, "b", &memoryStore{}, &lines{})
		pass(20 * delay)
		if got := b.log.messages(); got != started {
			t.Errorf("the standby is not silent:\n%s", got)
		}
		if err := a.stop(); err != nil {
			t.Fatal(err)
		}
		pass(5 * delay)
		if got := b.log.messages(); got != started+promoted {
			t.Errorf("after the takeover:\n%s", got)
		}
	})
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := join(t, memnet.New(1), "a", &memoryStore{}, &lines{})
		if state, err := m.Report(t.Context(), ready()); err != nil || state.Valid != 0 || state.Role != election.Starting {
			t.Errorf("before the promotion: %+v, %v", state, err)
		}
		pass(10 * delay)
		for range 10 {
			pass(delay / 3)
			state, err := m.Report(t.Context(), ready())
			if err != nil || state.Valid <= 3*delay || state.Valid > 4*delay {
				t.Errorf("a master's lease is %v, %v; want between 3 and 4 delays", state.Valid, err)
			}
		}
		if err := m.Resign(t.Context(), mustState(m).Term, ""); err != nil {
			t.Fatal(err)
		}
		if state := mustState(m); state.Valid != 0 || state.Role != election.Standby {
			t.Errorf("after resigning: %+v", state)
		}
	})
}

func mustState(m *member) failover.State {
	state, _ := m.State()
	return state
}

// TestHandover: a resignation costs a round trip, not a timeout.
func TestHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		network.SetFaults(memnet.Faults{Delay: time.Millisecond})
		members := map[string]*member{}
		for _, id := range []string{"a", "b", "c"} {
			members[id] = join(t, network, id, &memoryStore{}, &lines{})
		}
		pass(10 * delay)
		master := members["c"]
		if master.role() != election.Master {
			t.Fatal("c does not lead")
		}
		if err := master.Resign(t.Context(), mustState(master).Term, ""); err != nil {
			t.Fatal(err)
		}
		pass(3 * time.Millisecond) // resignation, claim, grants
		if members["b"].role() != election.Master || master.role() != election.Standby {
			t.Errorf("after a resignation and one round trip b is %v", members["b"].role())
		}
	})
}

// TestBrokenWorkload: a master whose workload cannot run, and is at rest, lets another one lead.
func TestBrokenWorkload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		a := join(t, network, "a", &memoryStore{}, &lines{})
		b := join(t, network, "b", &memoryStore{}, &lines{})
		pass(10 * delay)
		b.setHost(election.Host{AtRest: true, Reason: "the folder in does not exist"})
		pass(delay)
		if a.role() != election.Master || b.role() != election.Standby {
			t.Errorf("a is %v, b is %v", a.role(), b.role())
		}
		if reason := mustState(b).Reason; !strings.Contains(reason, "the folder in does not exist") {
			t.Errorf("b says %q", reason)
		}
	})
}

func TestRestartKeepsTheTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		store := &memoryStore{}
		var last election.Term
		var boot uint64
		for range 3 {
			m := join(t, network, "a", store, &lines{})
			pass(10 * delay)
			term := mustState(m).Term
			saved, _ := store.Load()
			if term.Compare(last) <= 0 || saved.Term != term.Number || saved.Boot <= boot {
				t.Errorf("term %v after %v, on disk %+v", term, last, saved)
			}
			last, boot = term, saved.Boot
			if err := m.stop(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestDiskFull: a node that cannot save its term must not lead, and must not end.
func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := join(t, memnet.New(1), "a", &memoryStore{}, &lines{})
		pass(delay)
		m.store.fail(errors.New("no space left on device"))
		pass(20 * delay)
		if state := mustState(m); state.Role == election.Master {
			t.Errorf("it leads: %+v", state)
		}
		if !strings.Contains(m.log.messages(), "could not be saved") {
			t.Errorf("it says nothing:\n%s", m.log.messages())
		}
		m.store.fail(nil)
		pass(6 * delay)
		if m.role() != election.Master {
			t.Errorf("with room on the disk: %+v", mustState(m))
		}
	})
}

func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		m := join(t, network, "a", &memoryStore{}, &lines{})
		stranger, err := network.Join("stranger")
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.Close()
		for i := range 70 {
			if err := stranger.Send(make([]byte, i)); err != nil { // 70 bytes: Interlok's own packet.
				t.Fatal(err)
			}
		}
		pass(10 * delay)
		status, err := m.Status(t.Context())
		if err != nil || status.Dropped["not-ours"] != 70 || status.State.Role != election.Master {
			t.Errorf("status %+v, %v", status, err)
		}
	})
}

func TestConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		a := join(t, network, "a", &memoryStore{}, &lines{})
		b := join(t, network, "b", &memoryStore{}, &lines{})
		network.Partition("a")
		pass(10 * delay)
		if a.role() != election.Master || b.role() != election.Master {
			t.Fatalf("apart they are %v and %v", a.role(), b.role())
		}
		network.Heal()
		pass(2 * delay)
		if a.role() != election.Standby || b.role() != election.Master {
			t.Errorf("together they are %v and %v", a.role(), b.role())
		}
		if !strings.Contains(a.log.messages(), "this node stands down") || !strings.Contains(a.log.messages(), "Demoted") {
			t.Errorf("the loser says:\n%s", a.log.messages())
		}
	})
}

func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := join(t, memnet.New(1), "a", &memoryStore{}, &lines{})
		pass(10 * delay)
		if err := m.Run(t.Context()); err == nil || errors.Is(err, failover.ErrStopped) {
			t.Errorf("a second Run: %v", err)
		}
		waiting := make(chan error)
		go func() {
			_, changed := m.State()
			<-changed
			waiting <- m.AwaitMaster(context.Background())
		}()
		synctest.Wait()
		if err := m.stop(); err != nil {
			t.Fatal(err)
		}
		if err := <-waiting; !errors.Is(err, failover.ErrStopped) {
			t.Errorf("await: %v", err)
		}
		if state := mustState(m); state.Role != election.Standby || state.Valid != 0 {
			t.Errorf("a stopped node says %+v", state)
		}
		if _, err := m.Report(t.Context(), ready()); !errors.Is(err, failover.ErrStopped) {
			t.Errorf("report: %v", err)
		}
		if _, err := m.Status(t.Context()); !errors.Is(err, failover.ErrStopped) {
			t.Errorf("status: %v", err)
		}
	})
}

func TestTransportEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := join(t, memnet.New(1), "a", &memoryStore{}, &lines{})
		pass(delay)
		if err := m.transport.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := m.Status(t.Context()); !errors.Is(err, failover.ErrStopped) {
			t.Errorf("status: %v", err)
		}
		if err := m.stop(); err == nil || !strings.Contains(err.Error(), "transport") {
			t.Errorf("run: %v", err)
		}
		m.stop = func() error { return nil }
	})
}

func ExampleConfigFromProperties() {
	_, err := failover.ConfigFromProperties(map[string]string{
		"node.id": "orders-1", "cluster.name": "orders", "failover.delay": "soon", "failover.retries": "1",
		"failover.group": "10.0.0.1",
	})
	fmt.Println(err)
	// Output:
	// failover.delay: "soon" is neither a number of milliseconds nor a duration such as 500ms
	// failover.retries: 1 is out of range, it must be between 3 and 1000
	// failover.group: 10.0.0.1 is no IPv4 multicast address, it must be between 224.0.0.0 and 239.255.255.255
}
