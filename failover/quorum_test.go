package failover_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/memnet"
)

func quorumOf(n int) func(*failover.Config) {
	return func(cfg *failover.Config) { cfg.Members, cfg.Evidence = n, false }
}

// voters starts nodes of a cluster with a quorum.
func voters(t *testing.T, network *memnet.Network, ids ...string) map[string]*member {
	t.Helper()
	members := map[string]*member{}
	for _, id := range ids {
		members[id] = joinSet(t, network, id, &memoryStore{}, &lines{}, nil, quorumOf(len(ids)))
	}
	return members
}

// TestQuorum: of a cluster in two parts the minority's master may not work, before the majority has another one.
func TestQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		network.SetFaults(memnet.Faults{Delay: time.Millisecond})
		members := voters(t, network, "a", "b", "c")
		pass(3 * delay)
		c := members["c"]
		state, err := c.Report(t.Context(), ready())
		if err != nil || state.Role != election.Master || state.Valid <= 2*delay || state.Valid > 4*delay {
			t.Fatalf("c: %+v, %v; want a master with a lease of less than delay × retries", state, err)
		}
		status, err := c.Status(t.Context())
		if err != nil || status.Quorum == nil || !slices.Equal(status.Quorum.Voters.IDs, []string{"a", "b", "c"}) || status.Lease <= 0 {
			t.Errorf("status %+v, %v", status, err)
		}
		network.Cut("c", "a")
		network.Cut("a", "c")
		network.Cut("c", "b")
		network.Cut("b", "c")
		for range 45 {
			pass(delay / 10)
			state, err := c.Report(t.Context(), ready())
			if err != nil {
				t.Fatal(err)
			}
			if b := mustState(members["b"]); b.Role == election.Master && state.Valid > 0 {
				t.Fatalf("b leads while c may work for %v", state.Valid)
			}
		}
		if members["b"].role() != election.Master {
			t.Error("the majority has no master")
		}
		network.Heal()
		pass(3 * delay)
		if c.role() != election.Standby || members["b"].role() != election.Master {
			t.Errorf("after the network was mended b is %v, c is %v", members["b"].role(), c.role())
		}
	})
}

// TestVotePersists: a voter whose disk is full grants nothing, and what it has granted it knows after a restart.
func TestVotePersists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		members := voters(t, network, "a", "b", "c")
		pass(3 * delay)
		for _, id := range []string{"a", "b", "c"} {
			if saved, _ := members[id].store.Load(); saved.Vote.Granted.Node != "c" || !saved.Vote.Member || !saved.Vote.Voters.Settled {
				t.Errorf("%s has on its disk: %+v", id, saved.Vote)
			}
		}
		members["a"].store.fail(errors.New("disk full"))
		if err := members["c"].stop(); err != nil {
			t.Fatal(err)
		}
		pass(12 * delay)
		if members["b"].role() == election.Master {
			t.Error("b leads with its own vote and that of a, which could not keep it")
		}
		members["a"].store.fail(nil)
		pass(4 * delay)
		if members["b"].role() != election.Master {
			t.Error("nobody leads although a can write again")
		}
	})
}

// TestReplaceMember: a node that has lost its disk votes again when the operator admits it anew.
func TestReplaceMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		members := voters(t, network, "a", "b", "c")
		pass(3 * delay)
		if err := members["a"].stop(); err != nil {
			t.Fatal(err)
		}
		a := joinSet(t, network, "a", &memoryStore{}, &lines{}, nil, quorumOf(3))
		pass(3 * delay)
		status, err := a.Status(t.Context())
		if err != nil || status.Quorum.Voter || !strings.Contains(status.Quorum.Withheld, "lost its vote file") {
			t.Errorf("a: %+v, %v", status.Quorum, err)
		}
		if _, err := members["b"].ChangeMembers(t.Context(), "a", "a"); err == nil || !strings.Contains(err.Error(), "does not lead") {
			t.Errorf("asked on a standby: %v", err)
		}
		if _, err := members["c"].ChangeMembers(t.Context(), "x", ""); err == nil || !strings.Contains(err.Error(), "no voter") {
			t.Errorf("removed a stranger: %v", err)
		}
		list, err := members["c"].ChangeMembers(t.Context(), "a", "a")
		if err != nil || !slices.Equal(list, []string{"a", "b", "c"}) {
			t.Fatalf("voters %v, %v", list, err)
		}
		pass(delay)
		if status, err := a.Status(t.Context()); err != nil || !status.Quorum.Voter {
			t.Errorf("a is still no voter: %+v, %v", status.Quorum, err)
		}
		pass(4 * delay)
		if err := members["c"].stop(); err != nil {
			t.Fatal(err)
		}
		pass(7 * delay)
		if members["b"].role() != election.Master {
			t.Error("a and b are a majority, and b does not lead")
		}
	})
}

// TestChangeNeedsMajority: a master that is alone cannot change the voters, and says so when the caller's time is over.
func TestChangeNeedsMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		members := voters(t, network, "a", "b", "c")
		pass(3 * delay)
		for _, id := range []string{"a", "b"} {
			network.Cut("c", id)
			network.Cut(id, "c")
		}
		ctx, cancel := context.WithTimeout(t.Context(), delay)
		defer cancel()
		if list, err := members["c"].ChangeMembers(ctx, "a", ""); err == nil || !strings.Contains(err.Error(), "no majority") {
			t.Errorf("voters %v, %v", list, err)
		}
	})
}

// TestPause: nobody is promoted until it is revoked, whoever is restarted meanwhile.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		a := join(t, network, "a", &memoryStore{}, &lines{})
		b := join(t, network, "b", &memoryStore{}, &lines{})
		pass(3 * delay)
		if err := a.Pause(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		pass(2 * delay)
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		if err := a.stop(); err != nil {
			t.Fatal(err)
		}
		a = join(t, network, "a", a.store, &lines{})
		pass(10 * delay)
		status, err := a.Status(t.Context())
		if err != nil || status.State.Role == election.Master || !status.Pause.On || status.Pause.Node != "a" {
			t.Errorf("paused: %+v, %v", status, err)
		}
		if err := a.Pause(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		pass(delay)
		if a.role() != election.Master {
			t.Errorf("resumed: %+v", mustState(a))
		}
	})
}

// TestTakeoverIsTold: the new master can say what each part of the takeover has cost.
func TestTakeoverIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		network.SetFaults(memnet.Faults{Delay: time.Millisecond})
		a := join(t, network, "a", &memoryStore{}, &lines{})
		b := join(t, network, "b", &memoryStore{}, &lines{})
		pass(3 * delay)
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		pass(6 * delay)
		told := mustState(a).Takeover
		if told == nil || told.Cause != election.Silence || told.After.Node != "b" || told.Detection < 4*delay || told.Detection > 5*delay ||
			told.Wait > delay || told.Claim <= 0 || told.Claim > delay {
			t.Errorf("takeover %+v", told)
		}
	})
}
