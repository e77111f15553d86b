package benthos

import (
	"context"
	"errors"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/understudy-ha/understudy/bootstrap/components/document"
)

// touch makes Benthos build the resources of the given kinds. It would do so by itself at the first use, but without
// a lock: of several first uses at one time each would build its own, and all but one be lost with what was put
// into them (internal/manager/live_resources.go, RAccess, v4.60.0).
func (r *Runtime) touch(resources *service.Resources, kinds ...string) error {
	access := map[string]func(label string) error{
		"cache_resources": func(label string) error {
			return resources.AccessCache(context.Background(), label, func(service.Cache) {})
		},
		"rate_limit_resources": func(label string) error {
			return resources.AccessRateLimit(context.Background(), label, func(service.RateLimit) {})
		},
		"processor_resources": func(label string) error {
			return resources.AccessProcessor(context.Background(), label, func(*service.ResourceProcessor) {})
		},
		"output_resources": func(label string) error {
			return resources.AccessOutput(context.Background(), label, func(*service.ResourceOutput) {})
		},
	}
	var faults []error
	for _, kind := range kinds {
		for key, list := range document.Pairs(r.config.Resources) {
			if key.Value != kind {
				continue
			}
			for _, resource := range list.Content {
				for name, label := range document.Pairs(resource) {
					if name.Value != "label" {
						continue
					}
					if err := access[kind](label.Value); err != nil {
						faults = append(faults, r.config.Source.Fault(label.Line, "%s: %s: %v", kind, label.Value, err))
					}
				}
			}
		}
	}
	return errors.Join(faults...)
}
