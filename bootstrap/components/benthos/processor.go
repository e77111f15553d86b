package benthos

import (
	"context"
	"fmt"

	"github.com/redpanda-data/benthos/v4/public/service"
	"gopkg.in/yaml.v3"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/message"
)

// Service is a Benthos processor.
type Service struct {
	path      string
	processor *service.OwnedProcessor
}

var _ adapter.Service = (*Service)(nil)

// NewService builds the processor, so that a resource that is not there shows before the node leads.
func NewService(runtime *Runtime, path string, node *yaml.Node) (*Service, error) {
	processor, err := runtime.Processor(path, node)
	if err != nil {
		return nil, err
	}
	return &Service{path: path, processor: processor}, nil
}

// Process runs the processor. An error means that ctx has ended; a failure of the processor itself sits on the
// batches that come back.
func (s *Service) Process(ctx context.Context, batch adapter.Batch) ([]adapter.Batch, error) {
	messages, err := message.From(batch)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	results, err := s.processor.ProcessBatch(ctx, messages)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	batches := make([]adapter.Batch, 0, len(results))
	for _, result := range results {
		if len(result) > 0 {
			batches = append(batches, message.NewBatch(result))
		}
	}
	return batches, nil
}

// Close closes the processor.
func (s *Service) Close(ctx context.Context) error {
	if err := s.processor.Close(ctx); err != nil {
		return fmt.Errorf("%s: close: %w", s.path, err)
	}
	return nil
}
