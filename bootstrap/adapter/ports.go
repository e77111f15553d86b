package adapter

import (
	"context"
	"errors"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/understudy-ha/understudy/profiler"
)

// Batch is what travels from step to step: one or more parts that belong together. Only the components
// know what is inside. A batch is used by one goroutine at a time.
type Batch interface {
	// Parts is the number of parts.
	Parts() int
	// Meta returns the metadata value of the first part, "" if there is none.
	Meta(key string) string
	// SetMeta sets a metadata value on every part.
	SetMeta(key, value string)
	// Err is the failure that a service has left on a part (Benthos marks the part and goes on), or nil.
	Err() error
	// ClearErr removes such failures, for the way to on-error.
	ClearErr()
	// Copy returns a batch that can be changed without changing this one.
	Copy() Batch
}

// Codec turns batches into the bytes that the mirror holds, and back. A message is a list of batches: a
// service may split one into several.
type Codec interface {
	Marshal(batches []Batch) ([]byte, error)
	Unmarshal(payload []byte) ([]Batch, error)
}

// ErrEndOfInput is returned by Consumer.Receive when nothing will ever come again.
var ErrEndOfInput = errors.New("end of input")

// Delivery is one message as a consumer hands it over.
type Delivery struct {
	// MessageID is the source's own id, the same each time the message is delivered, and unlike that of any
	// other source of the adapter: the mirror knows a message by nothing else. Empty: the source has none,
	// and the engine gives a new UUID.
	MessageID string
	Batch     Batch
	// Settle ends the delivery, once: nil acknowledges it, an error gives it back, to be delivered again if
	// the source can do that.
	Settle func(ctx context.Context, failure error) error
}

// Consumer is where messages come from. Receive is called from one goroutine, Settle from any.
type Consumer interface {
	// Open connects. It returns when the consumer is ready or has started to try. ctx bounds the opening, not
	// the life of the consumer.
	Open(ctx context.Context) error
	// Receive waits for the next message, until ctx ends. Consumers limit by themselves how much they hold.
	Receive(ctx context.Context) (*Delivery, error)
	// Close is called when every delivery has been settled. Safe without Open, and twice.
	Close(ctx context.Context) error
	// Redelivers: what was not acknowledged is delivered again with the same MessageID after a restart, on
	// whichever node leads. Such a message is not replayed from the mirror: its entry waits for the source.
	Redelivers() bool
}

// Rescanner is a Consumer that can tell when it has offered everything that was waiting in the source when
// it was opened, so that nobody waits for a redelivery that will not come.
type Rescanner interface {
	// Rescanned is closed then.
	Rescanned() <-chan struct{}
}

// Service changes messages. Process may be called from as many goroutines as the workflow has in flight.
type Service interface {
	// Process takes the batch over. No batches back means that the message was filtered; several that it was
	// split. A part that failed carries its error (Batch.Err); an error return is the whole batch's failure.
	Process(ctx context.Context, batch Batch) ([]Batch, error)
	// Close is called when no Process is under way.
	Close(ctx context.Context) error
}

// The metadata that the engine sets on batches.
const (
	// MetaMessageID is the message's id. If a service has split the message, "#2" and so on is added for the
	// second batch and those after it, so that no receiver takes one for a repeat of the other.
	MetaMessageID = "message-id"
	// MetaTerm is the mastership that produces, see Gate.Term.
	MetaTerm = "term"
	// MetaPossibleDuplicate is "true" if the same batch may have been produced before.
	MetaPossibleDuplicate = "possible-duplicate"
	// MetaError and MetaErrorStep tell on-error what failed, and the id of the step.
	MetaError     = "error"
	MetaErrorStep = "error-step"
)

// Producer is where messages go. Produce may be called from as many goroutines as the workflow has in flight.
type Producer interface {
	// Open connects, as Consumer.Open does.
	Open(ctx context.Context) error
	// Produce returns when the receiver has the batch. It must give up when ctx ends, and must not change
	// the batch, which may be produced again.
	Produce(ctx context.Context, batch Batch) error
	// Close is called when no Produce is under way. Safe without Open.
	Close(ctx context.Context) error
	// Idempotent: a second produce of the same message id changes nothing.
	Idempotent() bool
}

// Spec is a component as it stands in the adapter file: a mapping with the component's type as key, say
// {fs: {directory: in}} or {mapping: "root = this"}.
type Spec struct {
	Kind profiler.Kind
	// ID is the step's id, unique in its workflow; Path is adapter/channel/workflow/id.
	ID, Path string
	// Type is the component's type, the key of the mapping.
	Type string
	// File is the adapter file, Node the part of it with line and column; the engine's own keys (id,
	// checkpoint) have been taken out.
	File string
	Node *yaml.Node
}

// Factory builds components. It is made once per adapter and closed after the adapter.
type Factory interface {
	// Check reports what is wrong with a component without building it; each error names file and line, and
	// what is allowed there.
	Check(spec Spec) []error
	Consumer(spec Spec) (Consumer, error)
	Service(spec Spec) (Service, error)
	Producer(spec Spec) (Producer, error)
	Codec() Codec
	Close(ctx context.Context) error
}

// ErrGateShut is returned by Gate.Check, and by whatever was cancelled because the gate was shut.
var ErrGateShut = errors.New("the gate is shut: this node does not lead")

// ErrFenced is what Producer.Produce returns if the receiver has heard of a newer term than the batch carries: another
// node leads, though this one does not know it yet. The message has not failed, so the engine leaves it as it is.
var ErrFenced = errors.New("fenced off by a newer master")

// ErrNobodyWaits is what Producer.Produce returns if it answers a request and nobody waits for the answer: the message
// was replayed, and who has sent it is long gone. Such a message is done; to try again would not bring anybody back.
var ErrNobodyWaits = errors.New("nobody waits for the answer")

// Gate is asked before a message is received, before each service, each produce and each acknowledgement.
type Gate interface {
	// Check returns nil while this node may work, else an error that wraps ErrGateShut and says why. It costs
	// one clock read.
	Check() error
	// Context ends when the gate is shut. Work that has passed the gate runs under it. The engine asks for it
	// once, at the start: a gate that opens again needs another Adapter.
	Context() context.Context
	// Term is the mastership that the gate was opened for, as "number:node"; every produce carries it.
	Term() string
}

// EntryState is how far a message in flight has come.
type EntryState uint8

// The states of a mirrored message.
const (
	EntryReceived EntryState = iota + 1
	EntryProducing
	EntryHeld
)

// Entry is a message in flight as the mirror holds it.
type Entry struct {
	MessageID string
	Workflow  string
	State     EntryState
	// Step is the id of the last service that has finished; "" before the first.
	Step              string
	Payload           []byte
	Received          time.Time
	PossibleDuplicate bool
	Reason            string
}

// What a Mirror answers when it will not write.
var (
	// ErrNotLeading: this node no longer writes the term. The engine stops at once.
	ErrNotLeading = errors.New("the mirror is written by another term")
	// ErrRefused: the change makes no sense in the table's state, and will not later. The engine leaves the
	// message as it is.
	ErrRefused = errors.New("the mirror refused the change")
)

// Mirror holds the messages in flight for whoever leads next. All methods may be called from several
// goroutines; changes of one message are applied in the order of the calls. After any other error than
// ErrNotLeading and ErrRefused the engine calls again until the gate shuts, so a repeated call is answered
// like the first; that includes Receive of an id that is in flight.
type Mirror interface {
	// Receive commits a new message and returns when every in-sync standby has it. done is true, and nothing
	// is written, if the id was finished before.
	Receive(ctx context.Context, entry Entry) (done bool, err error)
	// Step says that a service has finished. payload is nil if it changed nothing. It waits for the standbys
	// only if wait is true.
	Step(ctx context.Context, messageID, step string, payload []byte, wait bool) error
	// Producing commits that the produce is about to begin.
	Producing(ctx context.Context, messageID string) error
	// Done commits that all is done: the entry goes, its id is remembered in the dedupe window.
	Done(ctx context.Context, messageID string) error
	// Release removes the entry without remembering the id: the source has the message still.
	Release(ctx context.Context, messageID string) error
	// Hold keeps the message for an operator. Any later change takes it up again.
	Hold(ctx context.Context, messageID, reason string) error
}

// Run is what an adapter is started with: one mastership.
type Run struct {
	Gate   Gate
	Mirror Mirror
	// InFlight is what the mirror held when the term was sealed.
	InFlight []Entry
}

// Weaver says which hooks a component gets. Both methods are called at construction; nil means that nobody
// asked, and the component stays bare. typ is the component's type (fs, mapping, ...).
type Weaver interface {
	Lifecycle(kind profiler.Kind, id, typ string) profiler.Hook
	Steps(kind profiler.Kind, id, typ string) profiler.Sink
}
