// Package components makes the consumers, services and producers of an adapter: those of Benthos
// (its packages io and pure), and "fs", which consumes and produces files in folders that several nodes share.
package components

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"gopkg.in/yaml.v3"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/benthos"
	"github.com/understudy-ha/understudy/bootstrap/components/document"
	"github.com/understudy-ha/understudy/bootstrap/components/filename"
	"github.com/understudy-ha/understudy/bootstrap/components/folder"
	"github.com/understudy-ha/understudy/bootstrap/components/httpserver"
	"github.com/understudy-ha/understudy/bootstrap/components/message"
	"github.com/understudy-ha/understudy/bootstrap/components/schedule"
	"github.com/understudy-ha/understudy/profiler"
)

// The types of our own: fs is a consumer and a producer, cron a consumer.
const (
	typeFS   = "fs"
	typeCron = "cron"
)

// Options is what a Factory is made from. The zero value is a factory without resources.
type Options struct {
	// Resources is the adapter file's mapping of Benthos resources, or nil.
	Resources *yaml.Node
	// File is the adapter file's name, as faults in Resources show it.
	File string
	// Logger is where components log. Default: nowhere.
	Logger *slog.Logger
	// Dir is where relative paths in the adapter file begin. Default: the working directory.
	Dir string
	// LookupEnv finds environment variables. Default: os.LookupEnv.
	LookupEnv func(name string) (string, bool)
	// HTTP is the adapter file's mapping for the server that all http_server inputs without an address of their own
	// share, or nil: such an input is a fault then.
	HTTP *yaml.Node
	// Mux serves those inputs in place of HTTP; the caller serves it.
	Mux *benthos.Mux
	// StateDir is a folder of this node where components may keep what they want to remember; "" keeps nothing.
	StateDir string
}

// Factory makes components. It is safe for concurrent use.
type Factory struct {
	options Options
	runtime *benthos.Runtime
	claims  *folder.Claims
	// server is nil if nobody shares one.
	server *httpserver.Server
	// broken is what is wrong with the resources.
	broken error
}

var _ adapter.Factory = (*Factory)(nil)

// New returns a factory; nothing is started before the first component is made. The error joins everything that
// is wrong with the resources. The factory that comes with it can check components, so that all faults of a file
// can be shown at once, but makes none.
func New(options Options) (*Factory, error) {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.LookupEnv == nil {
		options.LookupEnv = os.LookupEnv
	}
	factory := &Factory{options: options, claims: folder.NewClaims()}
	config := benthos.Config{
		Source: factory.source(options.File), Logger: options.Logger, Dir: options.Dir, Mux: options.Mux,
	}
	faults := factory.readHTTP(&config)
	if options.Resources != nil {
		var wrong []error
		config.Resources, wrong = config.Source.Resolve(options.Resources)
		faults = append(faults, wrong...)
	}
	factory.runtime = benthos.NewRuntime(config)
	faults = append(faults, factory.runtime.CheckResources()...)
	if factory.broken = errors.Join(faults...); factory.broken != nil {
		return factory, factory.broken
	}
	return factory, nil
}

// readHTTP reads the settings of the shared server.
func (f *Factory) readHTTP(config *benthos.Config) []error {
	if f.options.HTTP == nil {
		return nil
	}
	node, faults := config.Source.Resolve(f.options.HTTP)
	fields := document.NewFields(config.Source, "http", node)
	settings := httpserver.ReadConfig(fields, f.options.Dir)
	settings.Logger = f.options.Logger
	// Faulty settings do as well for checking the rest.
	config.Mux = &benthos.Mux{}
	f.server = httpserver.New(settings, config.Mux)
	return append(faults, document.Without(fields.Faults(), faults)...)
}

func (f *Factory) source(file string) document.Source {
	return document.Source{File: file, Lookup: f.options.LookupEnv}
}

// Check reports what is wrong with a component.
func (f *Factory) Check(spec adapter.Spec) []error {
	_, faults := f.read(spec)
	return faults
}

// part is a component's configuration after it was read: one of the fields is set.
type part struct {
	node     *yaml.Node
	consumer folder.ConsumerConfig
	producer folder.ProducerConfig
	cron     schedule.Config
	// served: it is, or has in it, an input on the shared server.
	served bool
}

// read resolves and checks a component's configuration.
func (f *Factory) read(spec adapter.Spec) (part, []error) {
	source := f.source(spec.File)
	node, faults := source.Resolve(spec.Node)
	config, wrong := f.readResolved(source, spec, node)
	return config, append(faults, document.Without(wrong, faults)...)
}

func (f *Factory) readResolved(source document.Source, spec adapter.Spec, node *yaml.Node) (part, []error) {
	kind, ok := kinds[spec.Kind]
	if !ok {
		return part{}, []error{source.Fault(node.Line, "%s: a %s is no component", spec.Path, spec.Kind)}
	}
	if slices.Contains(kind.own, spec.Type) {
		return f.readOwn(source, spec, node)
	}
	names := append(f.runtime.Names(kind.benthos), kind.own...)
	return part{node: node, served: f.server != nil && benthos.Unserved(node)}, f.runtime.Check(source, kind.benthos, spec.Kind.String(), spec.Type, node, names)
}

// kinds says, for each kind of component, what Benthos calls it, and which types of our own there are.
var kinds = map[profiler.Kind]struct {
	benthos benthos.Kind
	own     []string
}{
	profiler.KindConsumer: {benthos.KindInput, []string{typeFS, typeCron}},
	profiler.KindService:  {benthos.KindProcessor, nil},
	profiler.KindProducer: {benthos.KindOutput, []string{typeFS}},
}

func (f *Factory) readOwn(source document.Source, spec adapter.Spec, node *yaml.Node) (part, []error) {
	var result part
	var faults []error
	for key, value := range document.Pairs(node) {
		if key.Value != spec.Type {
			faults = append(faults, source.Fault(key.Line, "%s: unknown key %q beside %s; it has its options below it",
				spec.Kind, key.Value, spec.Type))
			continue
		}
		fields := document.NewFields(source, fmt.Sprintf("%s %s", spec.Kind, spec.Type), value)
		switch {
		case spec.Type == typeCron:
			result.cron = schedule.ReadConfig(fields)
			result.cron.Path, result.cron.Logger = spec.Path, f.options.Logger
			if f.options.StateDir != "" {
				result.cron.StateFile = filepath.Join(f.options.StateDir, filename.ForID(spec.Path))
			}
		case spec.Kind == profiler.KindConsumer:
			result.consumer = folder.ReadConsumerConfig(fields, f.options.Dir)
			result.consumer.Path, result.consumer.Logger, result.consumer.Claims = spec.Path, f.options.Logger, f.claims
		default:
			result.producer = folder.ReadProducerConfig(fields, f.options.Dir)
			result.producer.Path, result.producer.Logger = spec.Path, f.options.Logger
		}
		faults = append(faults, fields.Faults()...)
	}
	return result, faults
}

// ready reads a component's configuration in order to make it.
func (f *Factory) ready(spec adapter.Spec) (part, error) {
	config, faults := f.read(spec)
	return config, errors.Join(f.broken, errors.Join(faults...))
}

// Consumer makes a consumer.
func (f *Factory) Consumer(spec adapter.Spec) (adapter.Consumer, error) {
	config, err := f.ready(spec)
	if err != nil {
		return nil, err
	}
	switch spec.Type {
	case typeFS:
		return folder.NewConsumer(config.consumer), nil
	case typeCron:
		return schedule.NewConsumer(config.cron), nil
	}
	consumer := benthos.NewConsumer(f.runtime, spec.Path, config.node)
	if config.served {
		return &servedConsumer{Consumer: consumer, server: f.server}, nil
	}
	return consumer, nil
}

// Service makes a service.
func (f *Factory) Service(spec adapter.Spec) (adapter.Service, error) {
	config, err := f.ready(spec)
	if err != nil {
		return nil, err
	}
	return benthos.NewService(f.runtime, spec.Path, config.node)
}

// Producer makes a producer.
func (f *Factory) Producer(spec adapter.Spec) (adapter.Producer, error) {
	config, err := f.ready(spec)
	if err != nil {
		return nil, err
	}
	if spec.Type == typeFS {
		return folder.NewProducer(config.producer), nil
	}
	return benthos.NewProducer(f.runtime, spec.Path, config.node), nil
}

// Codec gives batches their form in the mirror.
func (f *Factory) Codec() adapter.Codec { return message.Codec{} }

// Close closes the resources, when all components have been closed.
func (f *Factory) Close(ctx context.Context) error { return f.runtime.Close(ctx) }

// servedConsumer is an input on the shared server, which listens while at least one such input is open: a standby must
// not.
type servedConsumer struct {
	*benthos.Consumer
	server *httpserver.Server

	mu   sync.Mutex
	open bool // guarded by mu
}

// Open opens the input, then lets the server listen.
func (c *servedConsumer) Open(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.Consumer.Open(ctx); err != nil {
		return err
	}
	if err := c.server.Acquire(); err != nil {
		return errors.Join(err, c.Consumer.Close(ctx))
	}
	c.open = true
	return nil
}

// Close lets the server go first, so that no request comes to a closed input.
func (c *servedConsumer) Close(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if c.open {
		c.open = false
		err = c.server.Release(ctx)
	}
	return errors.Join(err, c.Consumer.Close(ctx))
}
