// Package benthos runs Benthos inputs, processors and outputs one by one, in place of Benthos's own stream:
// hooks, mirror and gate have to sit between them.
//
// # How components get at the adapter's resources
//
// Benthos gives logger, resources and HTTP multiplexer only to the components of a stream that it has built
// itself, and hands components out (OwnedInput and its like) only to a plugin, from that plugin's own
// configuration. So a Runtime runs one idle stream of its own environment, whose input is a plugin of ours
// that never has a message. What it has is a parsed configuration with an open-ended field; a component is
// built by writing its configuration there and asking for the field. The stream's end closes the resources.
package benthos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"
	"gopkg.in/yaml.v3"

	// Every input, processor and output of these two can stand in an adapter file.
	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"

	"github.com/understudy-ha/understudy/bootstrap/components/document"
)

// idleInput is the plugin's name, componentsField its one option.
const (
	idleInput       = "understudy"
	componentsField = "components"
)

// Config is what a Runtime needs.
type Config struct {
	// Resources is a resolved mapping of Benthos resources (cache_resources, rate_limit_resources, ...), or nil.
	Resources *yaml.Node
	// Source is the file that resources and components come from.
	Source document.Source
	Logger *slog.Logger
	// Dir is where relative paths begin; "" is the working directory.
	Dir string
	// Mux serves inputs without an address of their own. It may be nil.
	Mux *Mux
}

// Runtime builds components. Its stream starts with the first one. It is safe for concurrent use.
type Runtime struct {
	config Config
	// plain is the environment that adapter files can use; the one that runs has the idle input as well.
	plain *service.Environment

	mu      sync.Mutex
	stream  *service.Stream // guarded by mu, as all below; nil before the first component and after Close
	parsed  *service.ParsedConfig
	field   map[string]any
	broken  error         // what the resources could not be built for
	stopped chan struct{} // closed when the stream's goroutine has ended
	closed  bool
}

// NewRuntime returns a Runtime; nothing is started.
func NewRuntime(config Config) *Runtime {
	r := &Runtime{config: config, plain: service.NewEnvironment()}
	if config.Dir != "" {
		r.plain.UseFS(service.NewFS(files{dir: config.Dir}))
	}
	return r
}

// errClosed is returned by whatever is built after Close.
var errClosed = errors.New("the components are closed")

// Input builds an input, which begins to read at once. path is its place in the adapter.
func (r *Runtime) Input(path string, node *yaml.Node) (*service.OwnedInput, error) {
	return build(r, path, node, func(parsed *service.ParsedConfig) (*service.OwnedInput, error) {
		return parsed.FieldInput(componentsField, path)
	})
}

// Processor builds a processor.
func (r *Runtime) Processor(path string, node *yaml.Node) (*service.OwnedProcessor, error) {
	return build(r, path, node, func(parsed *service.ParsedConfig) (*service.OwnedProcessor, error) {
		return parsed.FieldProcessor(componentsField, path)
	})
}

// Output builds an output.
func (r *Runtime) Output(path string, node *yaml.Node) (*service.OwnedOutput, error) {
	return build(r, path, node, func(parsed *service.ParsedConfig) (*service.OwnedOutput, error) {
		if err := r.touch(parsed.Resources(), "output_resources"); err != nil {
			return nil, err
		}
		return parsed.FieldOutput(componentsField, path)
	})
}

func build[T any](
	r *Runtime, path string, node *yaml.Node, from func(*service.ParsedConfig) (T, error),
) (T, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var none T
	if err := r.startLocked(); err != nil {
		return none, err
	}
	// The field's value is the parsed configuration's own map, not a copy: a test holds Benthos to that.
	r.field[path] = node
	defer delete(r.field, path)
	var component T
	var err error
	r.buildComponent(func() { component, err = from(r.parsed) })
	if err != nil {
		return none, r.config.Source.Fault(node.Line, "%s: %v", path, err)
	}
	return component, nil
}

// buildFunction is the name of the function below, which Mux looks for.
const buildFunction = "buildComponent"

// buildComponent is on the stack while a component is built.
func (r *Runtime) buildComponent(construct func()) { construct() }

// startLocked starts the idle stream, once.
func (r *Runtime) startLocked() error {
	if r.closed {
		return errClosed
	}
	if r.stream != nil {
		return r.broken
	}
	built := make(chan *service.ParsedConfig, 1)
	environment := r.plain.Clone()
	spec := service.NewConfigSpec().Field(service.NewAnyField(componentsField))
	err := environment.RegisterInput(idleInput, spec,
		func(parsed *service.ParsedConfig, _ *service.Resources) (service.Input, error) {
			built <- parsed
			return idle{}, nil
		})
	if err != nil {
		return fmt.Errorf("start components: %w", err)
	}
	builder := environment.NewStreamBuilder()
	builder.SetLogger(slog.New(&logHandler{next: r.config.Logger.Handler()}))
	// Variables have been replaced before; a lookup by Benthos would leave a missing one empty.
	builder.SetEnvVarLookupFunc(func(string) (string, bool) { return "", false })
	mux := r.config.Mux
	if mux == nil {
		mux = &Mux{}
	}
	builder.SetHTTPMux(mux)
	err = errors.Join(
		builder.SetMetricsYAML("none: {}"),
		builder.AddInputYAML(idleInput+": {"+componentsField+": {}}"),
		builder.AddOutputYAML("drop: {}"),
		r.addResources(builder),
	)
	if err != nil {
		return fmt.Errorf("start components: %w", err)
	}
	stream, err := builder.Build()
	if err != nil {
		return fmt.Errorf("start components: %w", err)
	}
	stopped, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(stopped)
		failed <- stream.Run(context.Background()) // ends in Close
	}()
	select {
	case r.parsed = <-built:
	case err := <-failed:
		return fmt.Errorf("start components: %w", err)
	}
	r.stream, r.stopped = stream, stopped
	field, err := r.parsed.FieldAny(componentsField)
	if err != nil {
		return fmt.Errorf("start components: %w", err)
	}
	r.field = field.(map[string]any)
	// Not the outputs, which connect, and not the inputs, which have one reader.
	r.broken = r.touch(r.parsed.Resources(), "cache_resources", "rate_limit_resources", "processor_resources")
	return r.broken
}

func (r *Runtime) addResources(builder *service.StreamBuilder) error {
	if r.config.Resources == nil {
		return nil
	}
	text, err := document.NewText(r.config.Resources)
	if err != nil {
		return err
	}
	return builder.AddResourcesYAML(text.YAML)
}

// Close closes the resources. Components are closed by who has built them, before. Safe twice, and without a
// component ever built.
func (r *Runtime) Close(ctx context.Context) error {
	r.mu.Lock()
	stream, stopped := r.stream, r.stopped
	r.stream, r.closed = nil, true
	r.mu.Unlock()
	if stream == nil {
		return nil
	}
	if err := stream.Stop(ctx); err != nil {
		return fmt.Errorf("close resources: %w", err)
	}
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close resources: %w", ctx.Err())
	}
}

// idle is an input that never has a message.
type idle struct{}

// Connect succeeds.
func (idle) Connect(context.Context) error { return nil }

// Read waits for the end.
func (idle) Read(ctx context.Context) (*service.Message, service.AckFunc, error) {
	<-ctx.Done()
	return nil, nil, ctx.Err()
}

// Close has nothing to close.
func (idle) Close(context.Context) error { return nil }
