package benthos

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"
	"gopkg.in/yaml.v3"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/message"
)

// errNotOpen is returned by what is used before Open or after Close.
var errNotOpen = errors.New("not open")

// Consumer is a Benthos input. An input reads from the moment it is built, so that happens in Open.
type Consumer struct {
	runtime *Runtime
	path    string
	node    *yaml.Node

	mu    sync.Mutex
	input *service.OwnedInput // guarded by mu; nil when not open
}

var _ adapter.Consumer = (*Consumer)(nil)

// NewConsumer takes a resolved configuration that has been checked.
func NewConsumer(runtime *Runtime, path string, node *yaml.Node) *Consumer {
	return &Consumer{runtime: runtime, path: path, node: node}
}

// Open builds the input, which goes on to connect by itself.
func (c *Consumer) Open(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.input != nil {
		return fmt.Errorf("%s: already open", c.path)
	}
	input, err := c.runtime.Input(c.path, c.node) //nolint:contextcheck // What it starts outlives the opening.
	if err != nil {
		return err
	}
	c.input = input
	return nil
}

// Receive waits for the next batch. Its message id is empty: Benthos inputs name no messages, and one that
// comes again after it was given back is not told from a new one.
func (c *Consumer) Receive(ctx context.Context) (*adapter.Delivery, error) {
	c.mu.Lock()
	input := c.input
	c.mu.Unlock()
	if input == nil {
		return nil, fmt.Errorf("%s: %w", c.path, errNotOpen)
	}
	messages, ack, err := input.ReadBatch(ctx)
	if errors.Is(err, service.ErrEndOfInput) {
		return nil, adapter.ErrEndOfInput
	}
	if err != nil {
		return nil, fmt.Errorf("%s: receive: %w", c.path, err)
	}
	return &adapter.Delivery{
		Batch: message.NewBatch(messages),
		Settle: func(ctx context.Context, failure error) error {
			if err := ack(ctx, failure); err != nil {
				return fmt.Errorf("%s: settle: %w", c.path, err)
			}
			return nil
		},
	}, nil
}

// Close waits for what is not settled yet, until ctx ends; Benthos has no way to force an input.
func (c *Consumer) Close(ctx context.Context) error {
	c.mu.Lock()
	input := c.input
	c.input = nil
	c.mu.Unlock()
	if input == nil {
		return nil
	}
	if err := input.Close(ctx); err != nil {
		return fmt.Errorf("%s: close: %w (a delivery that was never settled keeps an input open)", c.path, err)
	}
	return nil
}

// Redelivers is false: without ids nobody can tell what comes again.
func (c *Consumer) Redelivers() bool { return false }
