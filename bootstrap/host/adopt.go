package host

import (
	"context"
	"errors"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// Taker is a Workload that takes messages up while it runs. For any other workload they wait for the next mastership.
type Taker interface {
	// TakeUp returns when it is decided what becomes of each message, not when it is done; soon after ctx has ended, and
	// at once when the workload has stopped.
	TakeUp(ctx context.Context, entries []adapter.Entry) error
}

// adopt gives the running workload what only returning nodes held: a master that was alone, and then was none, may have
// messages that nobody else ever got. The mirror takes them while this node leads. It goes on in the background until
// ctx ends; m.adopting waits for it, which must not be done before the workload has stopped, because that ends a TakeUp
// for certain.
func (n *Node) adopt(ctx context.Context, m *mastership) {
	adopter, serves := m.plugin.(contract.Adopter)
	taker, takes := m.workload.(Taker)
	if serves && takes {
		m.adopting.Go(func() { n.followAdopted(ctx, adopter, taker, m.flights) })
	}
}

// followAdopted asks again when the plugin has hung up, until ctx ends. What is lost on the way is in the mirror all the
// same, and comes with the next Lead.
func (n *Node) followAdopted(ctx context.Context, adopter contract.Adopter, taker Taker, flights *flights) {
	for {
		err := adopter.Adopted(ctx, func(entries []contract.Entry) {
			if len(entries) > 0 && ctx.Err() == nil {
				n.takeUp(ctx, taker, flights, entries)
			}
		})
		if errors.Is(err, contract.ErrNotServed) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(n.opt.Delay):
			n.log.Debug("the mirror no longer says what returning nodes held; it is asked again", "error", err)
		}
	}
}

// takeUp gives the workload messages that the mirror has taken.
func (n *Node) takeUp(ctx context.Context, taker Taker, flights *flights, in []contract.Entry) {
	taken := entries(in)
	flights.adopt(taken)
	if err := taker.TakeUp(ctx, taken); err != nil {
		n.log.Warn("messages that only a returning node held are in the mirror and were not taken up; they are with the next mastership",
			"messages", len(taken), "error", err)
		return
	}
	n.log.Info("messages that only a returning node held are taken up", "messages", len(taken))
}
