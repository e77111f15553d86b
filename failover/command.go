package failover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/failover/election"
)

// Pause says to the whole cluster that nobody may be promoted, or ends that. Nodes that are not heard at the moment
// learn of it when they are. It survives restarts.
func (n *Node) Pause(ctx context.Context, on bool) error {
	return n.front.Do(ctx, func() { n.step(election.SetPause{At: n.clock(), On: on}) })
}

// ChangeMembers removes a voter, adds one, or does both in this order, and returns the list of voters when a majority
// of the old and of the new one has it on disk. Only the master can. If ctx ends before, the change may come
// about all the same, or remain half done; asking again is safe.
func (n *Node) ChangeMembers(ctx context.Context, remove, add string) ([]string, error) {
	if remove == "" && add == "" {
		return nil, errors.New("change members: no node was named")
	}
	if remove != "" {
		if err := n.changeMember(ctx, election.ChangeMembers{Remove: remove}); err != nil {
			return nil, fmt.Errorf("remove voter %s: %w", remove, err)
		}
	}
	if add != "" {
		// It must have heard that it is none before it can become one.
		if err := n.changeMember(ctx, election.ChangeMembers{Add: add}); err != nil {
			return nil, fmt.Errorf("add voter %s: %w", add, err)
		}
	}
	var voters []string
	err := n.front.Do(ctx, func() { voters = n.machine.Voters().IDs })
	return voters, err
}

// changeMember begins one change and waits for its end. What can pass, such as that a node is not heard yet, is tried
// again for a few delays.
func (n *Node) changeMember(ctx context.Context, change election.ChangeMembers) error {
	retry := time.NewTicker(max(n.cfg.Delay/4, time.Millisecond))
	defer retry.Stop()
	begun := false
	var refusal string
	late := func() error {
		if refusal == "" {
			refusal = "no majority of the voters has answered"
		}
		return fmt.Errorf("%w: %s", context.Cause(ctx), refusal)
	}
	for tries := 0; ; tries++ {
		var underWay, leads bool
		err := n.front.Do(ctx, func() {
			if !begun {
				change.At = n.clock()
				n.step(change)
			}
			underWay, refusal = n.machine.Change()
			leads = n.machine.State().Role == election.Master
		})
		switch {
		case ctx.Err() != nil:
			return late()
		case err != nil:
			return err
		case !leads && begun:
			return errors.New("this node has lost the mastership meanwhile: look at 'bootstrap members list' on the new master")
		case refusal == "" && !underWay:
			return nil
		case refusal == "":
			begun = true
		case begun || change.Add == "" || !leads || tries >= 20:
			return errors.New(refusal)
		}
		select {
		case <-retry.C:
		case <-n.front.Done():
			return ErrStopped
		case <-ctx.Done():
			return late()
		}
	}
}
