package message

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/redpanda-data/benthos/v4/public/service"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// Codec writes batches as understudy.mirror.v1.Payload. Equal batches give equal bytes. Content comes back as
// bytes, times in metadata as text, other values as they were; what an input hangs onto its messages besides
// content and metadata (the way back of a synchronous response) does not come back. It is safe for
// concurrent use.
type Codec struct{}

var _ adapter.Codec = Codec{}

// Marshal gives the payload of a message.
func (Codec) Marshal(batches []adapter.Batch) ([]byte, error) {
	payload := &mirrorv1.Payload{Batches: make([]*mirrorv1.PayloadBatch, 0, len(batches))}
	for _, batch := range batches {
		messages, err := From(batch)
		if err != nil {
			return nil, fmt.Errorf("marshal: %w", err)
		}
		parts := make([]*mirrorv1.PayloadPart, 0, len(messages))
		for _, message := range messages {
			part, err := marshalPart(message)
			if err != nil {
				return nil, fmt.Errorf("marshal: %w", err)
			}
			parts = append(parts, part)
		}
		payload.Batches = append(payload.Batches, &mirrorv1.PayloadBatch{Parts: parts})
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("marshal: %w", err)
	}
	return data, nil
}

func marshalPart(message *service.Message) (*mirrorv1.PayloadPart, error) {
	content, err := message.AsBytes()
	if err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	part := &mirrorv1.PayloadPart{Content: content}
	if failure := message.GetError(); failure != nil {
		part.Failed, part.Error = true, []byte(failure.Error())
	}
	err = message.MetaWalkMut(func(key string, value any) error {
		kind, data, ok := marshalMeta(value)
		if !ok {
			text, _ := message.MetaGet(key)
			kind, data = mirrorv1.PayloadMetaKind_PAYLOAD_META_KIND_TEXT, []byte(text)
		}
		part.Meta = append(part.Meta, &mirrorv1.PayloadMeta{Key: []byte(key), Kind: kind, Value: data})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	slices.SortFunc(part.Meta, func(a, b *mirrorv1.PayloadMeta) int { return bytes.Compare(a.GetKey(), b.GetKey()) })
	return part, nil
}

// marshalMeta is not ok for a value that JSON cannot hold, say a number that is none.
func marshalMeta(value any) (kind mirrorv1.PayloadMetaKind, data []byte, ok bool) {
	switch value := value.(type) {
	case string:
		return mirrorv1.PayloadMetaKind_PAYLOAD_META_KIND_TEXT, []byte(value), true
	case []byte:
		return mirrorv1.PayloadMetaKind_PAYLOAD_META_KIND_BYTES, value, true
	}
	data, err := json.Marshal(value)
	return mirrorv1.PayloadMetaKind_PAYLOAD_META_KIND_JSON, data, err == nil
}

// Unmarshal gives the batches of a payload, which may come from another version of this program.
func (Codec) Unmarshal(data []byte) ([]adapter.Batch, error) {
	var payload mirrorv1.Payload
	if err := proto.Unmarshal(data, &payload); err != nil {
		return nil, fmt.Errorf("unmarshal: %w", err)
	}
	batches := make([]adapter.Batch, 0, len(payload.GetBatches()))
	for _, batch := range payload.GetBatches() {
		messages := make(service.MessageBatch, 0, len(batch.GetParts()))
		for _, part := range batch.GetParts() {
			message, err := unmarshalPart(part)
			if err != nil {
				return nil, fmt.Errorf("unmarshal: %w", err)
			}
			messages = append(messages, message)
		}
		batches = append(batches, NewBatch(messages))
	}
	return batches, nil
}

func unmarshalPart(part *mirrorv1.PayloadPart) (*service.Message, error) {
	// An absent content is an empty one.
	message := service.NewMessage(append([]byte{}, part.GetContent()...))
	for _, meta := range part.GetMeta() {
		key := string(meta.GetKey())
		switch meta.GetKind() {
		case mirrorv1.PayloadMetaKind_PAYLOAD_META_KIND_TEXT:
			message.MetaSetMut(key, string(meta.GetValue()))
		case mirrorv1.PayloadMetaKind_PAYLOAD_META_KIND_BYTES:
			message.MetaSetMut(key, append([]byte{}, meta.GetValue()...))
		case mirrorv1.PayloadMetaKind_PAYLOAD_META_KIND_JSON:
			value, err := unmarshalJSON(meta.GetValue())
			if err != nil {
				return nil, fmt.Errorf("metadata %q: %w", key, err)
			}
			message.MetaSetMut(key, value)
		default:
			return nil, fmt.Errorf("metadata %q has kind %d, which this version does not know: upgrade this node",
				key, meta.GetKind())
		}
	}
	if part.GetFailed() {
		message.SetError(errors.New(string(part.GetError())))
	}
	return message, nil
}

// unmarshalJSON keeps whole numbers whole: a float64 has no room for a large int64.
func unmarshalJSON(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return numbers(value), nil
}

func numbers(value any) any {
	switch value := value.(type) {
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return whole
		}
		if fraction, err := value.Float64(); err == nil {
			return fraction
		}
		return value
	case map[string]any:
		for key, inner := range value {
			value[key] = numbers(inner)
		}
	case []any:
		for i, inner := range value {
			value[i] = numbers(inner)
		}
	}
	return value
}
