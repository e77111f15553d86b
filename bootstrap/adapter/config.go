package adapter

import (
	"errors"
	"fmt"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/understudy-ha/understudy/profiler"
)

// Takeover says what becomes of a workflow's messages that were in flight when another node led.
type Takeover uint8

// The policies of on-takeover.
const (
	// TakeoverReplay goes on after the last mirrored step. It is the default.
	TakeoverReplay Takeover = iota
	// TakeoverHold keeps them for an operator.
	TakeoverHold
	// TakeoverDrop forgets them.
	TakeoverDrop
)

// String gives the word of the adapter file.
func (t Takeover) String() string {
	switch t {
	case TakeoverReplay:
		return "replay"
	case TakeoverHold:
		return "hold"
	case TakeoverDrop:
		return "drop"
	}
	return "unknown"
}

// Config is an adapter file that has been read and found sound. It does not change.
type Config struct {
	// File is the name that Load was given, Digest the SHA-256 of the file's bytes in hex.
	File, Digest string
	ID           string
	// Resources is for the Factory, as it stands in the file; nil if there is none.
	Resources *yaml.Node
	// HTTP is for the Factory, too: the server that several consumers share.
	HTTP *yaml.Node
	// OnError takes failed messages that neither their workflow nor its channel takes; nil: nobody does.
	OnError *ErrorHandler
	// Failed are the limits of the failed-message store.
	Failed   FailedConfig
	Channels []ChannelConfig
}

// ErrorHandler takes messages that have failed: a producer, or the failed-message store.
type ErrorHandler struct {
	// Store: Spec is empty.
	Store bool
	Spec  Spec
}

// FailedConfig bounds the failed-message store. A message that would exceed a limit is not stored, and so not
// acknowledged.
type FailedConfig struct {
	MaxMessages int
	MaxBytes    int64
}

// Throttle lets Count messages be received Per time, evenly, and up to Burst at once after a lull.
type Throttle struct {
	Count, Burst int
	Per          time.Duration
}

// MetricsConfig keeps the figures of the last Slices slices of time.
type MetricsConfig struct {
	Slice  time.Duration
	Slices int
}

// Retry says how a step that failed is tried again before anybody else gets the message.
type Retry struct {
	// Max is how often; 0 is never.
	Max int
	// Delay is the first pause; each later one is Factor times as long, up to MaxDelay. Each is half as long again
	// or short, by chance, so that workers and nodes do not keep in step.
	Delay, MaxDelay time.Duration
	Factor          float64
	// Services: services are tried again, too, not only the producer.
	Services bool
}

// ChannelConfig is a group of workflows that start and stop together.
type ChannelConfig struct {
	ID        string
	OnError   *ErrorHandler
	Workflows []WorkflowConfig
}

// WorkflowConfig is one way from a consumer through services to a producer. Its id is unique in the
// adapter, because the mirror and the step events know a workflow by it.
type WorkflowConfig struct {
	ID string
	// Pool is how many messages may be in flight; 1 keeps their order.
	Pool       int
	OnTakeover Takeover
	// AcknowledgeEarly acknowledges the source as soon as the mirror has the message, instead of after the
	// produce. Such messages are replayed from the mirror.
	AcknowledgeEarly bool
	// Throttle bounds how fast messages are received; the zero value does not.
	Throttle Throttle
	// Metrics are kept per slice of time; the zero value keeps none.
	Metrics  MetricsConfig
	Retry    Retry
	Restart  Restart
	Consumer Spec
	Services []ServiceConfig
	Producer Spec
	// OnError is asked first, then the channel's, then the adapter's.
	OnError *ErrorHandler
}

// ServiceConfig is a service and what the engine does after it.
type ServiceConfig struct {
	Spec
	// Checkpoint waits until the standbys have what the service made of the message.
	Checkpoint bool
}

// Check asks the factory about every component that has a type, and joins what it finds wrong. Nothing is built.
func Check(cfg *Config, factory Factory) error {
	var faults []error
	for spec := range cfg.specs {
		if spec.Type == "" {
			continue // Load has said so
		}
		found, err := checkSpec(factory, spec)
		faults = append(append(faults, found...), err)
	}
	return errors.Join(faults...)
}

func checkSpec(factory Factory, spec Spec) (faults []error, err error) {
	defer recovered("check of "+spec.Path, &err)
	return factory.Check(spec), nil
}

// specs yields every component, in the order of the file.
func (c *Config) specs(yield func(Spec) bool) {
	optional := func(h *ErrorHandler) bool { return h == nil || h.Store || yield(h.Spec) }
	if !optional(c.OnError) {
		return
	}
	for _, channel := range c.Channels {
		if !optional(channel.OnError) {
			return
		}
		for _, w := range channel.Workflows {
			if !yield(w.Consumer) {
				return
			}
			for _, s := range w.Services {
				if !yield(s.Spec) {
					return
				}
			}
			if !yield(w.Producer) || !optional(w.OnError) {
				return
			}
		}
	}
}

// recovered turns a panic of a component into the error of the call that it happened in.
func recovered(what string, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%s panicked: %v", what, r)
	}
}

// title is the name by which log lines call a component: FsConsumer(in), MappingService(stamp).
func title(spec Spec) string {
	name := make([]byte, 0, len(spec.Type)+8)
	upper := true
	for _, c := range []byte(spec.Type) {
		if c == '_' || c == '-' || c == '.' {
			upper = true
			continue
		}
		if upper && 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		upper = false
		name = append(name, c)
	}
	switch spec.Kind {
	case profiler.KindConsumer:
		name = append(name, "Consumer"...)
	case profiler.KindService:
		name = append(name, "Service"...)
	default:
		name = append(name, "Producer"...)
	}
	return string(name) + "(" + spec.ID + ")"
}
