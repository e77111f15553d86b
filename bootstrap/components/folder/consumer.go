package folder

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
)

// errNotOpen is returned by what is used before Open or after Close.
var errNotOpen = errors.New("not open")

// Consumer takes files from a folder, one message each. A file is taken by renaming NAME to NAME.wip, deleted
// when the message is acknowledged, and given its name back when it is not. Files of that name that lie there
// when the consumer opens were taken by a node that is no more, and are taken up first; so are later those that nobody
// finishes.
type Consumer struct {
	config ConsumerConfig

	mu   sync.Mutex
	scan *scan // guarded by mu; nil when not open
	// rescanned is the last scan's, or one that is never closed.
	rescanned <-chan struct{} // guarded by mu
}

var (
	_ adapter.Consumer  = (*Consumer)(nil)
	_ adapter.Rescanner = (*Consumer)(nil)
)

// NewConsumer touches nothing yet.
func NewConsumer(config ConsumerConfig) *Consumer {
	config.Logger = config.Logger.With("component", config.Path)
	return &Consumer{config: config, rescanned: make(chan struct{})}
}

// Open lists the folder for the first time.
func (c *Consumer) Open(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.scan != nil {
		return wrap(c.config.Path, errors.New("already open"))
	}
	if err := ensure(c.config.Directory, c.config.Create); err != nil {
		return wrap(c.config.Path, err)
	}
	if c.config.TooLarge != "" {
		if err := ensure(c.config.TooLarge, c.config.Create); err != nil {
			return wrap(c.config.Path, fmt.Errorf("too-large: %w", err))
		}
	}
	scan := newScan(c.config)
	if c.config.Watch {
		scan.watch = newWatch(c.config.Logger)
	}
	if err := scan.list(); err != nil {
		return wrap(c.config.Path, errors.Join(err, scan.watch.close()))
	}
	c.scan, c.rescanned = scan, scan.rescanned
	return nil
}

// Receive waits for the next file and reads it. It holds no file but the one that it returns.
func (c *Consumer) Receive(ctx context.Context) (*adapter.Delivery, error) {
	c.mu.Lock()
	scan := c.scan
	c.mu.Unlock()
	if scan == nil {
		return nil, wrap(c.config.Path, errNotOpen)
	}
	delivery, err := scan.next(ctx)
	return delivery, wrap(c.config.Path, err)
}

// Close leaves files that are not settled as NAME.wip for whoever opens the folder next.
func (c *Consumer) Close(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	scan := c.scan
	c.scan = nil
	if scan == nil {
		return nil
	}
	c.config.Claims.leaveAll(scan)
	return wrap(c.config.Path, scan.watch.close())
}

// Redelivers is true for a folder that all nodes share: whoever leads next finds the files, under the same ids.
func (c *Consumer) Redelivers() bool { return c.config.Shared }

// Rescanned is closed when every file that was there at Open, and has not changed since, was delivered, or
// reported as one that cannot be.
func (c *Consumer) Rescanned() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rescanned
}
