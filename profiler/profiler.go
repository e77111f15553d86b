// Package profiler is the weaving of hooks into the adapter: which joinpoints exist (the weave file), who
// wants to see them (the agents), and how finished steps travel to them without holding a message up. It
// does what interlok-profiler does with AspectJ's load-time weaver, by wrapping at construction. It knows
// nothing of processes or gRPC.
package profiler

import "context"

// Kind is a kind of component that can be woven.
type Kind uint8

// The kinds, from the outside in.
const (
	KindAdapter Kind = iota + 1
	KindChannel
	KindWorkflow
	KindConsumer
	KindService
	KindProducer
)

// String gives the kind in lower case, as log lines and the weave file's short names have it.
func (k Kind) String() string {
	switch k {
	case KindAdapter:
		return "adapter"
	case KindChannel:
		return "channel"
	case KindWorkflow:
		return "workflow"
	case KindConsumer:
		return "consumer"
	case KindService:
		return "service"
	case KindProducer:
		return "producer"
	}
	return "unknown"
}

// Transition is a change in a component's life.
type Transition uint8

// The transitions, in the order in which a component goes through them.
const (
	TransitionInit Transition = iota + 1
	TransitionStart
	TransitionStop
	TransitionClose
)

// String gives the transition in lower case.
func (t Transition) String() string {
	switch t {
	case TransitionInit:
		return "init"
	case TransitionStart:
		return "start"
	case TransitionStop:
		return "stop"
	case TransitionClose:
		return "close"
	}
	return "unknown"
}

// Joinpoint is a place in the life of one component.
type Joinpoint struct {
	Kind Kind
	ID   string
	// Path is where the component stands: adapter/channel/workflow/id.
	Path       string
	Transition Transition
}

// Hook runs around lifecycle changes. Both methods may be called from several goroutines.
type Hook interface {
	// Before may block, until ctx ends; its error is a veto: the change must not happen.
	Before(ctx context.Context, at Joinpoint) error
	// After is told how the change ended.
	After(ctx context.Context, at Joinpoint, failure error)
}

// StepEvent is one finished joinpoint of a message. The fields are those of Interlok's ProcessStep.
type StepEvent struct {
	MessageID      string
	StepName       string
	StepInstanceID string
	WorkflowID     string
	StepType       Kind
	// Order counts the steps of a message from 1.
	Order int
	// StartUnixNano is the wall clock at the start, in nanoseconds.
	StartUnixNano int64
	// DurationNanos is how long the step took, by the monotonic clock.
	DurationNanos int64
	Failed        bool
}

// Sink takes finished steps. Record never blocks and may be called from several goroutines; what finds no
// room is dropped and counted.
type Sink interface {
	Record(event StepEvent)
}
