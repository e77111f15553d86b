package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components"
	"github.com/understudy-ha/understudy/bootstrap/components/failedstore"
	"github.com/understudy-ha/understudy/bootstrap/host"
	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

// failedFolder is where, in the data folder, messages are kept that have failed.
const failedFolder = "failed"

// engine is the adapter of one mastership after the other, and what outlives them.
type engine struct {
	adapter atomic.Pointer[adapter.Adapter]
	// config is the adapter file as it was reloaded last, nil before.
	config atomic.Pointer[adapter.Config]

	// changing is held while an adapter is built or reloaded; it guards workload, which is the last that was built.
	changing sync.Mutex
	workload *workload

	mu     sync.Mutex
	failed *failedstore.Store // guarded by mu; nil before the first adapter
}

// errNoAdapter is the answer of a node whose workload is a program, or that is a witness.
var errNoAdapter = status.Error(codes.FailedPrecondition, "this node has no adapter, so no messages")

// adapterConfig is the adapter file that counts now; nil if the node has no adapter.
func (r *runner) adapterConfig() *adapter.Config {
	if cfg := r.engine.config.Load(); cfg != nil {
		return cfg
	}
	return r.setup.adapter
}

// failedStore returns the store of this node, which is opened once.
func (r *runner) failedStore() (*failedstore.Store, error) {
	cfg := r.adapterConfig()
	if cfg == nil {
		return nil, errNoAdapter
	}
	r.engine.mu.Lock()
	defer r.engine.mu.Unlock()
	limits := failedstore.Limits{MaxMessages: cfg.Failed.MaxMessages, MaxBytes: cfg.Failed.MaxBytes}
	if r.engine.failed != nil {
		r.engine.failed.SetLimits(limits)
		return r.engine.failed, nil
	}
	store, err := failedstore.Open(filepath.Join(r.setup.cfg.DataDir, failedFolder), limits)
	r.engine.failed = store
	return store, err
}

// buildAdapter makes the adapter of one mastership, with components of its own.
func (r *runner) buildAdapter() (host.Workload, error) {
	r.engine.changing.Lock()
	defer r.engine.changing.Unlock()
	cfg := r.adapterConfig()
	store, err := r.failedStore()
	if err != nil {
		return nil, err
	}
	factory, err := r.setup.factory(cfg, r.log)
	if err != nil {
		return nil, err
	}
	a, err := adapter.New(cfg, r.node.Load().Guard(factory), r.weaver, r.log, adapter.Options{Failed: store})
	if err != nil {
		return nil, errors.Join(err, factory.Close(context.Background()))
	}
	w := &workload{Adapter: a, factory: factory, file: cfg}
	r.engine.workload = w
	r.engine.adapter.Store(a)
	return w, nil
}

// workload is an adapter with the factory that its components live on.
type workload struct {
	*adapter.Adapter

	mu sync.Mutex
	// factory and the file it was made for change with a reload; guarded by mu.
	factory *components.Factory
	file    *adapter.Config
	closed  bool
}

var (
	_ host.Workload = (*workload)(nil)
	_ host.Failing  = (*workload)(nil)
	_ host.Resumer  = (*workload)(nil)
)

// Resumes implements host.Resumer: an adapter's messages wait at the gate.
func (w *workload) Resumes() bool { return true }

// Close implements host.Workload.
func (w *workload) Close(ctx context.Context) error {
	err := w.Adapter.Close(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return errors.Join(err, w.factory.Close(ctx))
}

func (w *workload) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// changeOver changes over to another file, of which all components have been checked. fresh was made for it, and is closed
// if it is not needed.
func (w *workload) changeOver(ctx context.Context, cfg *adapter.Config, fresh *components.Factory, guard func(adapter.Factory) adapter.Factory) (adapter.Change, []error, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return adapter.Change{}, nil, errors.Join(errors.New("the adapter is stopping"), fresh.Close(ctx))
	}
	var with adapter.Factory
	if !adapter.SameResources(w.file, cfg) {
		with = guard(fresh)
	}
	change, faults, err := w.Reload(ctx, cfg, with)
	unneeded := fresh
	if err == nil {
		w.file = cfg
		if with != nil {
			unneeded, w.factory = w.factory, fresh
		}
	}
	if failed := unneeded.Close(ctx); failed != nil {
		faults = append(faults, fmt.Errorf("close what is not needed any more: %w", failed))
	}
	return change, faults, err
}

// Reload implements management.Engine. What is wrong with the file is the error, and nothing is changed then.
func (r *runner) Reload(ctx context.Context, request *controlv1.ReloadRequest) (*controlv1.ReloadResponse, error) {
	old := r.adapterConfig()
	if old == nil {
		return nil, errNoAdapter
	}
	r.engine.changing.Lock()
	defer r.engine.changing.Unlock()
	cfg, fresh, err := r.readAdapter(ctx, old.File)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "nothing was changed:\n"+err.Error())
	}
	w := r.engine.workload
	if w != nil && w.isClosed() {
		w = nil // the next one is built by the new file
	}
	if request.DryRun || w == nil {
		change := adapter.Change{}
		if w != nil {
			change = w.Compare(cfg)
		}
		if !request.DryRun {
			r.engine.config.Store(cfg)
		}
		return reloadProto(change, cfg, nil), fresh.Close(ctx)
	}
	// What has begun goes on when the caller has gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reloadTimeout(len(w.Status().Workflows), r.setup.cfg.StopTimeout))
	defer cancel()
	change, faults, err := w.changeOver(ctx, cfg, fresh, r.node.Load().Guard)
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	r.engine.config.Store(cfg)
	if _, err := r.failedStore(); err != nil { // it has new limits now
		faults = append(faults, err)
	}
	r.log.Warn("the adapter file was reloaded", "changed", change.Changed, "added", change.Added, "removed", change.Removed,
		"digest", cfg.Digest, "faults", errors.Join(faults...))
	return reloadProto(change, cfg, faults), nil
}

// reloadTimeout is what all workflows together may take to be stopped, and what is new to be started.
func reloadTimeout(workflows int, stop time.Duration) time.Duration {
	return time.Duration(1+workflows) * stop
}

func (r *runner) readAdapter(ctx context.Context, file string) (*adapter.Config, *components.Factory, error) {
	cfg, err := adapter.Load(file)
	if cfg == nil {
		return nil, nil, err
	}
	factory, broken := r.setup.factory(cfg, r.log)
	if err = errors.Join(err, broken, adapter.Check(cfg, factory)); err != nil {
		return nil, nil, errors.Join(err, factory.Close(ctx))
	}
	return cfg, factory, nil
}

func reloadProto(change adapter.Change, cfg *adapter.Config, faults []error) *controlv1.ReloadResponse {
	out := &controlv1.ReloadResponse{
		Unchanged: change.Unchanged, Changed: change.Changed, Added: change.Added, Removed: change.Removed, Digest: cfg.Digest,
	}
	for _, err := range faults {
		out.Faults = append(out.Faults, text(err.Error()))
	}
	return out
}

// watchHangup reloads at SIGHUP, until what it returns is called.
func (r *runner) watchHangup(ctx context.Context) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-hangups:
				if _, err := r.Reload(ctx, &controlv1.ReloadRequest{}); err != nil {
					r.log.Error("the adapter file was not reloaded", "error", status.Convert(err).Message())
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		signal.Stop(hangups)
		cancel()
		watching.Wait()
	}
}
