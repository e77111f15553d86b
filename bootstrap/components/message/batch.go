// Package message is what travels through the adapter: batches of Benthos messages, and their form in the
// mirror.
package message

import (
	"errors"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
)

// Batch is an adapter.Batch around Benthos messages: content that a service has parsed stays parsed for the
// next one. It is used by one goroutine at a time.
type Batch struct {
	messages service.MessageBatch
}

var _ adapter.Batch = (*Batch)(nil)

// NewBatch takes the messages over.
func NewBatch(messages service.MessageBatch) *Batch { return &Batch{messages: messages} }

// Messages are the messages themselves, not copies.
func (b *Batch) Messages() service.MessageBatch { return b.messages }

// Parts is the number of messages.
func (b *Batch) Parts() int { return len(b.messages) }

// Meta returns a metadata value of the first part as text, "" if there is none.
func (b *Batch) Meta(key string) string {
	if len(b.messages) == 0 {
		return ""
	}
	value, _ := b.messages[0].MetaGet(key)
	return value
}

// SetMeta sets a metadata value on every part.
func (b *Batch) SetMeta(key, value string) {
	for _, part := range b.messages {
		part.MetaSetMut(key, value)
	}
}

// Err joins the failures that services have left on the parts: Benthos marks a part and goes on.
func (b *Batch) Err() error {
	var failures []error
	for _, part := range b.messages {
		if err := part.GetError(); err != nil {
			failures = append(failures, err)
		}
	}
	if len(failures) == 1 {
		return failures[0]
	}
	return errors.Join(failures...)
}

// ClearErr removes the failures.
func (b *Batch) ClearErr() {
	for _, part := range b.messages {
		part.SetError(nil)
	}
}

// Copy returns a batch that shares content with this one until either is changed.
func (b *Batch) Copy() adapter.Batch {
	// A shallow copy copies on write, but its original does not: both sides become copies.
	b.messages = b.messages.Copy()
	return &Batch{messages: b.messages.Copy()}
}

// From returns the messages of a batch that these components have made.
func From(batch adapter.Batch) (service.MessageBatch, error) {
	own, ok := batch.(*Batch)
	if !ok {
		return nil, errors.New("a batch that was not made by these components")
	}
	return own.messages, nil
}
