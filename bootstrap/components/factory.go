// Package components makes the consumers, services and producers of an adapter: those of Benthos
// (its packages io and pure), and "fs", which consumes and produces files in folders that several nodes share.
package components

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"gopkg.in/yaml.v3"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components/benthos"
	"github.com/understudy-ha/understudy/bootstrap/components/document"
	"github.com/understudy-ha/understudy/bootstrap/components/folder"
	"github.com/understudy-ha/understudy/bootstrap/components/message"
	"github.com/understudy-ha/understudy/profiler"
)

// typeFS is the type of our own consumer and producer.
const typeFS = "fs"

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
	// Mux serves the paths of http_server inputs without an address of their own; the caller serves it. Without
	// one, such an input is a fault.
	Mux *benthos.Mux
}

// Factory makes components. It is safe for concurrent use.
type Factory struct {
	options Options
	runtime *benthos.Runtime
	claims  *folder.Claims
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
	var faults []error
	if options.Resources != nil {
		config.Resources, faults = config.Source.Resolve(options.Resources)
	}
	factory.runtime = benthos.NewRuntime(config)
	faults = append(faults, factory.runtime.CheckResources()...)
	if factory.broken = errors.Join(faults...); factory.broken != nil {
		return factory, factory.broken
	}
	return factory, nil
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
	names := f.runtime.Names(kind.benthos)
	if kind.folder {
		if spec.Type == typeFS {
			return f.readFolder(source, spec, node)
		}
		names = append(names, typeFS)
	}
	return part{node: node}, f.runtime.Check(source, kind.benthos, spec.Kind.String(), spec.Type, node, names)
}

// kinds says, for each kind of component, what Benthos calls it, and whether fs is one.
var kinds = map[profiler.Kind]struct {
	benthos benthos.Kind
	folder  bool
}{
	profiler.KindConsumer: {benthos.KindInput, true},
	profiler.KindService:  {benthos.KindProcessor, false},
	profiler.KindProducer: {benthos.KindOutput, true},
}

func (f *Factory) readFolder(source document.Source, spec adapter.Spec, node *yaml.Node) (part, []error) {
	var result part
	var faults []error
	for key, value := range document.Pairs(node) {
		if key.Value != typeFS {
			faults = append(faults, source.Fault(key.Line, "%s: unknown key %q beside fs; it has its options below it",
				spec.Kind, key.Value))
			continue
		}
		fields := document.NewFields(source, fmt.Sprintf("%s %s", spec.Kind, typeFS), value)
		if spec.Kind == profiler.KindConsumer {
			result.consumer = folder.ReadConsumerConfig(fields, f.options.Dir)
			result.consumer.Path, result.consumer.Logger, result.consumer.Claims = spec.Path, f.options.Logger, f.claims
		} else {
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
	if spec.Type == typeFS {
		return folder.NewConsumer(config.consumer), nil
	}
	return benthos.NewConsumer(f.runtime, spec.Path, config.node), nil
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
