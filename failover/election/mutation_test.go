package election_test

import (
	"testing"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
)

// mutation is a rule that a world breaks. The simulation has to find each of them: a harness that does not is worth
// nothing.
type mutation string

const (
	// voteNotSynced: what a voter has granted is lost when it crashes.
	voteNotSynced mutation = "the vote's fsync is dropped"
	// leaseTooLong: the gate stays open for longer than the voters have promised.
	leaseTooLong mutation = "the lease is longer than the promise"
	// driftForgotten: the lease is as long as the promise, but clocks differ.
	driftForgotten mutation = "the drift of the clocks is forgotten"
	// noWaitAfterStart: a voter that was restarted grants at once.
	noWaitAfterStart mutation = "a restarted voter grants at once"
	// lostDiskVotes: a node that has lost its disk goes on voting.
	lostDiskVotes mutation = "a voter that lost its disk votes"
	// strangersAcknowledge: acknowledgements of one node count as those of all.
	strangersAcknowledge mutation = "acknowledgements count more than once"
	// strangersGrant: grants of one node count as those of all.
	strangersGrant mutation = "grants count more than once"
	// gateIgnoresLease: the gate stays open until the demotion.
	gateIgnoresLease mutation = "the gate ignores that the lease has run out"
	// termNotSynced: the highest term is lost when a node crashes.
	termNotSynced mutation = "the term's fsync is dropped"
	// objectionLost: nobody says that it hears a master that the claimant does not.
	objectionLost mutation = "the objection is forgotten"
)

func (m mutation) needsQuorum() bool { return m != "" && m != termNotSynced && m != objectionLost }

func (c *cluster) mutateStart(n *node, config *election.Config) {
	switch c.mutation {
	case voteNotSynced:
		config.Vote.Granted = election.Term{}
	case leaseTooLong:
		config.Drift = -0.3
	case driftForgotten:
		config.Drift = 0
	case noWaitAfterStart:
		if n.boot > 1 {
			config.Start -= config.Suspicion()
		}
	case termNotSynced:
		config.Term, n.savedTerm = 0, 0
	}
}

func (c *cluster) mutateLoss(n *node) election.Vote {
	if c.mutation == lostDiskVotes {
		return election.Vote{Voters: n.savedVote.Voters, Member: n.savedVote.Member}
	}
	return election.Vote{}
}

// mutateMessage returns what is sent in place of a message.
func (c *cluster) mutateMessage(msg election.Message) []election.Message {
	multiply := false
	switch body := msg.Body.(type) {
	case election.Ack:
		multiply = c.mutation == strangersAcknowledge
	case election.Answer:
		multiply = c.mutation == strangersGrant && body.Verdict == election.Grant
		if c.mutation == objectionLost && body.Verdict == election.Object {
			return nil
		}
	}
	if c.mutation == objectionLost {
		msg.About.Heard = election.Heard{}
	}
	messages := []election.Message{msg}
	if multiply {
		for _, id := range c.order {
			if id != msg.From {
				other := msg
				other.From, other.Boot, other.Sequence = id, c.nodes[id].boot, 1
				messages = append(messages, other)
			}
		}
	}
	return messages
}

// TestMutations breaks one rule after the other: each time the simulation must find a fault.
func TestMutations(t *testing.T) {
	t.Parallel()
	// Each begins shortly before a schedule that found it, which only saves time.
	for broken, first := range map[mutation]uint64{
		voteNotSynced: 1, leaseTooLong: 1, driftForgotten: 1, lostDiskVotes: 6200, strangersAcknowledge: 1,
		strangersGrant: 10800, gateIgnoresLease: 1, termNotSynced: 1,
	} {
		t.Run(string(broken), func(t *testing.T) {
			t.Parallel()
			const schedules = 50_000
			for seed := first; seed <= first+schedules; seed++ {
				if faults := simulate(seed, broken, nil); len(faults) > 0 {
					t.Logf("found by schedule %d: %s", seed, faults[0])
					return
				}
			}
			t.Errorf("not found in %d schedules", schedules)
		})
	}
}

// TestObjectionStopsADeafClaimant cuts the way from the master to one standby: the others tell it that the master lives.
func TestObjectionStopsADeafClaimant(t *testing.T) {
	t.Parallel()
	for _, broken := range []mutation{"", objectionLost} {
		c := newCluster(1)
		c.mutation = broken
		for _, id := range []string{"a", "b", "c"} {
			c.start(c.add(id, election.Config{Delay: simDelay, Retries: simRetries}))
		}
		c.run(5 * simDelay)
		before := c.promotions
		master := c.masters()[0]
		for _, id := range c.order {
			if id != master {
				c.network.cut[[2]string{master, id}] = true
				break
			}
		}
		c.run(time.Duration(4*simRetries) * simDelay)
		if disturbed := c.promotions != before; disturbed != (broken != "") {
			t.Errorf("mutation %q: %d promotions after %d", broken, c.promotions, before)
		}
	}
}

// TestRestartedVoterKeepsItsVote restarts a voter right after its acknowledgement, cut off from the master from then on:
// if it granted the claim of a node that has missed the master for long, two gates would be open. (Chance finds this
// once in 100000 schedules, so it is told here.)
func TestRestartedVoterKeepsItsVote(t *testing.T) {
	t.Parallel()
	for _, broken := range []mutation{"", noWaitAfterStart} {
		c := newCluster(1)
		c.mutation, c.oneGate = broken, true
		for _, id := range []string{"a", "b", "c"} {
			c.start(c.add(id, election.Config{Delay: simDelay, Retries: simRetries, Members: 3, Drift: 0.05}))
		}
		c.run(5 * simDelay)
		master := c.masters()[0] // c, which has the greatest id.
		c.isolate("a")
		c.run(simRetries*simDelay - 300*time.Millisecond)
		clear(c.network.cut)
		c.isolate(master)
		c.kill(c.nodes["b"])
		c.start(c.nodes["b"])
		c.run(simRetries * simDelay)
		if found := len(c.faults) > 0; found != (broken != "") {
			t.Errorf("mutation %q: faults %v", broken, c.faults)
		}
		c.run(3 * simRetries * simDelay)
		if broken == "" && (len(c.masters()) != 1 || c.masters()[0] == master) {
			t.Errorf("masters %v, want one on the side of a and b", c.masters())
		}
	}
}

// isolate cuts a node off from all others.
func (c *cluster) isolate(id string) {
	for _, other := range c.order {
		c.network.cut[[2]string{id, other}] = true
		c.network.cut[[2]string{other, id}] = true
	}
}
