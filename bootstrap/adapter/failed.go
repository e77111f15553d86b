package adapter

import (
	"context"
	"errors"
	"time"
)

// Failed is a message that could not be brought to its end, as the failed-message store keeps it.
type Failed struct {
	MessageID, Channel, Workflow string
	// Step is the last service that has finished with what Payload holds; a retry goes on after it. "": Payload is
	// the message as it was received, and a retry begins from the start.
	Step string
	// ErrorStep is the step that failed, Error why.
	ErrorStep, Error string
	Received, Failed time.Time
	// Attempts is how often it has come to the store.
	Attempts int
	// Term is the mastership that it failed in.
	Term string
	// PossibleDuplicate: a receiver may have the message, or a part of it.
	PossibleDuplicate bool
	// Payload is what the Codec has made of the message; nil in a list.
	Payload []byte
	// Bytes is the size of what is kept.
	Bytes int64
}

// What a FailedStore answers when it cannot.
var (
	// ErrNoSuchFailed: there is no message with this id.
	ErrNoSuchFailed = errors.New("no failed message has this id")
	// ErrStoreFull: the message would exceed the limits of the store.
	ErrStoreFull = errors.New("the failed-message store is full")
)

// FailedStore keeps messages that have failed on this node's disk. All methods may be called from several goroutines.
type FailedStore interface {
	// Put returns when the message will survive a power cut. With an error nothing is kept. A message that is there
	// keeps its payload, and gets the error and the counts of the new one.
	Put(ctx context.Context, failed Failed) error
	// Get returns a message with its payload, or ErrNoSuchFailed.
	Get(ctx context.Context, messageID string) (Failed, error)
	// List returns all messages, without payload, in the order of their failing. An error that comes beside them
	// is about messages that cannot be read.
	List(ctx context.Context) ([]Failed, error)
	// Remove forgets a message; one that is not there is no error.
	Remove(ctx context.Context, messageID string) error
}
