package adapter_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
)

// batch is text with metadata.
type batch struct {
	Text   string
	M      map[string]string
	failed error
}

func newBatch(text string) *batch { return &batch{Text: text, M: map[string]string{}} }

func (b *batch) Parts() int                { return 1 }
func (b *batch) Meta(key string) string    { return b.M[key] }
func (b *batch) SetMeta(key, value string) { b.M[key] = value }
func (b *batch) Err() error                { return b.failed }
func (b *batch) ClearErr()                 { b.failed = nil }
func (b *batch) Copy() adapter.Batch       { c := *b; return &c }

type codec struct{}

func (codec) Marshal(batches []adapter.Batch) ([]byte, error) { return json.Marshal(batches) }
func (codec) Unmarshal(payload []byte) ([]adapter.Batch, error) {
	var bs []*batch
	if err := json.Unmarshal(payload, &bs); err != nil {
		return nil, err
	}
	out := make([]adapter.Batch, len(bs))
	for i, b := range bs {
		out[i] = b
	}
	return out, nil
}

func encode(texts ...string) []byte {
	var bs []adapter.Batch
	for _, t := range texts {
		bs = append(bs, newBatch(t))
	}
	payload, err := codec{}.Marshal(bs)
	if err != nil {
		panic(err)
	}
	return payload
}

type serviceFunc func(ctx context.Context, b *batch) ([]adapter.Batch, error)

// factory builds fakes. Consumers and services are found by their id; what is not there gets a plain one.
type factory struct {
	world      *world
	consumers  map[string]*consumer
	services   map[string]serviceFunc
	idempotent map[string]bool
	check      func(adapter.Spec) []error
	broken     string // the path of a component that cannot be built
}

func (f *factory) Check(spec adapter.Spec) []error {
	if f.check == nil {
		return nil
	}
	return f.check(spec)
}

func (f *factory) err(spec adapter.Spec) error {
	if spec.Path == f.broken {
		return errors.New("cannot be built")
	}
	return nil
}

func (f *factory) Consumer(spec adapter.Spec) (adapter.Consumer, error) {
	c := f.consumers[spec.Path]
	if c == nil {
		c = newConsumer(f.world)
	}
	c.id = spec.ID
	if c.rescanned != nil {
		return rescanner{c}, f.err(spec)
	}
	return c, f.err(spec)
}

func (f *factory) Service(spec adapter.Spec) (adapter.Service, error) {
	return &service{world: f.world, id: spec.ID, do: f.services[spec.ID]}, f.err(spec)
}

func (f *factory) Producer(spec adapter.Spec) (adapter.Producer, error) {
	id := strings.TrimPrefix(spec.Path, "orders/")
	return &producer{world: f.world, id: id, idempotent: f.idempotent[id]}, f.err(spec)
}

func (f *factory) Codec() adapter.Codec        { return codec{} }
func (f *factory) Close(context.Context) error { return nil }

// consumer gives what the test puts in.
type consumer struct {
	world      *world
	id         string
	input      chan *adapter.Delivery
	redelivers bool
	rescanned  chan struct{}
	// again delivers what was given back.
	again bool
}

func newConsumer(w *world) *consumer {
	return &consumer{world: w, input: make(chan *adapter.Delivery, 100)}
}

func (c *consumer) put(ids ...string) {
	for _, id := range ids {
		c.input <- c.delivery(id)
	}
}

func (c *consumer) delivery(id string) *adapter.Delivery {
	return &adapter.Delivery{MessageID: id, Batch: newBatch(id), Settle: func(_ context.Context, failure error) error {
		err := c.world.call("settle %s %s", id, outcome(failure))
		if failure != nil && c.again {
			c.put(id)
		}
		return err
	}}
}

func outcome(failure error) string {
	switch {
	case failure == nil:
		return "ok"
	case errors.Is(failure, adapter.ErrGateShut), errors.Is(failure, adapter.ErrNotLeading):
		return "shut"
	case errors.Is(failure, adapter.ErrStopping):
		return "stopping"
	}
	return "failed"
}

func (c *consumer) Open(context.Context) error { return c.world.call("open %s", c.id) }
func (c *consumer) Receive(ctx context.Context) (*adapter.Delivery, error) {
	if !c.world.quiet {
		if err := c.world.call("receive"); err != nil {
			return nil, err
		}
	}
	select {
	case d, ok := <-c.input:
		if !ok {
			return nil, adapter.ErrEndOfInput
		}
		return d, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
func (c *consumer) Close(context.Context) error { return c.world.call("close %s", c.id) }
func (c *consumer) Redelivers() bool            { return c.redelivers }

type rescanner struct{ *consumer }

func (r rescanner) Rescanned() <-chan struct{} { return r.rescanned }

type service struct {
	world *world
	id    string
	do    serviceFunc
}

func (s *service) Process(ctx context.Context, b adapter.Batch) ([]adapter.Batch, error) {
	if err := s.world.call("process %s %s", s.id, b.(*batch).Text); err != nil {
		return nil, err
	}
	if s.do == nil {
		return []adapter.Batch{b}, nil
	}
	return s.do(ctx, b.(*batch))
}
func (s *service) Close(context.Context) error { return s.world.call("close %s", s.id) }

type producer struct {
	world      *world
	id         string
	idempotent bool
}

func (p *producer) Open(context.Context) error { return p.world.call("open %s", p.id) }
func (p *producer) Produce(ctx context.Context, b adapter.Batch) error {
	x := b.(*batch)
	extra := ""
	for _, key := range []string{adapter.MetaPossibleDuplicate, adapter.MetaErrorStep, adapter.MetaError} {
		if v := x.M[key]; v != "" {
			extra += " " + key + "=" + v
		}
	}
	if x.M[adapter.MetaTerm] != "7:n1" {
		extra += " without term"
	}
	if err := p.world.call("produce %s %s as %s%s", p.id, x.Text, x.M[adapter.MetaMessageID], extra); err != nil {
		return err
	}
	return ctx.Err()
}
func (p *producer) Close(context.Context) error { return p.world.call("close %s", p.id) }
func (p *producer) Idempotent() bool            { return p.idempotent }

// slowly takes three seconds, and marks what has bad in it.
func slowly(ctx context.Context, b *batch) ([]adapter.Batch, error) {
	select {
	case <-time.After(3 * time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if strings.HasPrefix(b.Text, "bad") {
		return mark(ctx, b)
	}
	return []adapter.Batch{b}, nil
}
