package benthos

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"
	"gopkg.in/yaml.v3"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/message"
)

// Producer is a Benthos output. It is built and primed in Open: an output that was never primed can neither be
// written to by several goroutines nor closed.
type Producer struct {
	runtime *Runtime
	path    string
	node    *yaml.Node

	mu   sync.Mutex
	open *opened // guarded by mu; nil when not open
}

// noStore is in the error of sync_response for a message that does not come from a request, or whose way back is lost
// because it was replayed. Benthos does not export the error itself; a test holds it to the words.
const noStore = "result store not found"

// opened is an output between Open and Close. Its counts are guarded by the producer's mu.
type opened struct {
	output *service.OwnedOutput
	// writing is the number of produces under way; when it reaches 0 after Close, drained is closed.
	writing int
	closing bool
	drained chan struct{}
}

var _ adapter.Producer = (*Producer)(nil)

// NewProducer takes a resolved configuration that has been checked.
func NewProducer(runtime *Runtime, path string, node *yaml.Node) *Producer {
	return &Producer{runtime: runtime, path: path, node: node}
}

// Open builds the output, which goes on to connect by itself.
func (p *Producer) Open(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open != nil {
		return fmt.Errorf("%s: already open", p.path)
	}
	output, err := p.runtime.Output(p.path, p.node) //nolint:contextcheck // What it starts outlives the opening.
	if err != nil {
		return err
	}
	if err := output.Prime(); err != nil {
		return p.runtime.config.Source.Fault(p.node.Line, "%s: open: %v", p.path, err)
	}
	p.open = &opened{output: output, drained: make(chan struct{})}
	return nil
}

// Produce waits until the output has delivered the batch. When ctx ends first, it gives up; the batch may have
// been handed over already, and may be delivered still.
func (p *Producer) Produce(ctx context.Context, batch adapter.Batch) error {
	// A copy, because an output that was given up may go on reading while the caller goes on changing.
	messages, err := message.From(batch.Copy())
	if err != nil {
		return fmt.Errorf("%s: %w", p.path, err)
	}
	if err := ctx.Err(); err != nil {
		// Benthos might take the batch all the same, and then not let the output be closed.
		return fmt.Errorf("%s: produce: %w", p.path, err)
	}
	open := p.enter()
	if open == nil {
		return fmt.Errorf("%s: produce: %w", p.path, errNotOpen)
	}
	defer p.leave(open)
	if err := open.output.WriteBatch(ctx, messages); err != nil {
		if strings.Contains(err.Error(), noStore) {
			err = fmt.Errorf("%w: %w", adapter.ErrNobodyWaits, err)
		}
		return fmt.Errorf("%s: produce: %w", p.path, err)
	}
	return nil
}

// enter keeps the output open until leave: a write to a closed output panics.
func (p *Producer) enter() *opened {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open != nil {
		p.open.writing++
	}
	return p.open
}

func (p *Producer) leave(open *opened) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if open.writing--; open.writing == 0 && open.closing {
		close(open.drained)
	}
}

// Close waits for the produces under way and closes the output, until ctx ends; Benthos has no way to force an
// output that does not connect.
func (p *Producer) Close(ctx context.Context) error {
	p.mu.Lock()
	open := p.open
	p.open = nil
	if open != nil {
		if open.closing = true; open.writing == 0 {
			close(open.drained)
		}
	}
	p.mu.Unlock()
	if open == nil {
		return nil
	}
	select {
	case <-open.drained:
	case <-ctx.Done():
		return fmt.Errorf("%s: close: %w (a produce is still under way)", p.path, ctx.Err())
	}
	if err := open.output.Close(ctx); err != nil {
		return fmt.Errorf("%s: close: %w", p.path, err)
	}
	return nil
}

// Idempotent is false: what a second write does is up to the receiver.
func (p *Producer) Idempotent() bool { return false }
