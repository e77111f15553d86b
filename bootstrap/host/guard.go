package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
)

// Guard returns a factory whose consumers and producers keep to the lease of this node's gate: what they do is
// cancelled when the lease lapses, and done again when it comes back in the same term. A producer that is fenced off
// shuts the gate, because a newer master exists, whatever the election has heard.
func (n *Node) Guard(factory adapter.Factory) adapter.Factory {
	if !n.opt.Failover {
		return factory
	}
	return guardedFactory{Factory: factory, gate: n.gate}
}

type guardedFactory struct {
	adapter.Factory
	gate *Gate
}

func (f guardedFactory) Consumer(spec adapter.Spec) (adapter.Consumer, error) {
	c, err := f.Factory.Consumer(spec)
	if err != nil {
		return nil, err
	}
	guarded := &guardedConsumer{Consumer: c, gate: f.gate}
	if r, ok := c.(adapter.Rescanner); ok {
		return guardedRescanner{guardedConsumer: guarded, Rescanner: r}, nil
	}
	return guarded, nil
}

func (f guardedFactory) Producer(spec adapter.Spec) (adapter.Producer, error) {
	p, err := f.Factory.Producer(spec)
	if err != nil {
		return nil, err
	}
	return &guardedProducer{Producer: p, gate: f.gate}, nil
}

type guardedConsumer struct {
	adapter.Consumer
	gate *Gate
}

type guardedRescanner struct {
	*guardedConsumer
	adapter.Rescanner
}

// Receive waits for the lease while it has lapsed, so that nothing is taken out of a source that another node may be
// reading.
func (c *guardedConsumer) Receive(ctx context.Context) (*adapter.Delivery, error) {
	pass := c.gate.current()
	if pass == nil {
		return c.Consumer.Receive(ctx) // the gate is shut for good, and ctx has ended with it
	}
	for {
		bounded, lapsed, release := pass.during(ctx)
		delivery, err := c.Consumer.Receive(bounded)
		again := err != nil && lapsed() && ctx.Err() == nil
		release()
		if !again {
			return delivery, err
		}
		if shut := pass.await(ctx); shut != nil {
			return nil, shut
		}
	}
}

type guardedProducer struct {
	adapter.Producer
	gate *Gate
}

// Produce is cancelled with the lease. What was cancelled so may have reached the receiver all the same.
func (p *guardedProducer) Produce(ctx context.Context, batch adapter.Batch) error {
	pass := p.gate.current()
	if pass == nil {
		return p.Producer.Produce(ctx, batch)
	}
	for {
		bounded, lapsed, release := pass.during(ctx)
		err := p.Producer.Produce(bounded, batch)
		again := err != nil && lapsed() && ctx.Err() == nil
		release()
		if errors.Is(err, adapter.ErrFenced) {
			p.gate.shutTerm(pass.term, err.Error())
			return err
		}
		if !again {
			return err
		}
		if shut := pass.await(ctx); shut != nil {
			return fmt.Errorf("%w; the produce that it cut off: %w", shut, err)
		}
		if !p.Idempotent() {
			batch.SetMeta(adapter.MetaPossibleDuplicate, "true")
		}
	}
}
