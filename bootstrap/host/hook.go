package host

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/plugins/contract"
)

// HookConfig is what is run at each change of role.
type HookConfig struct {
	// Run does it; see CommandHook. ctx ends at the timeout.
	Run     func(ctx context.Context, event HookEvent) error
	Timeout time.Duration
}

// HookEvent is a change of role as a hook sees it.
type HookEvent struct {
	// Number counts up from 1, which is the state at the start.
	Number uint64
	Role   HookRole
	// Term is the one that a master has.
	Term contract.Term
	// Master is the id of the node that leads; empty if that is not known.
	Master, Reason string
}

// HookRole is a role as a hook sees it.
type HookRole string

// The roles of hooks. A node that is starting is a standby to them.
const (
	HookMaster  HookRole = "master"
	HookStandby HookRole = "standby"
	// HookStopped: the node is ending.
	HookStopped HookRole = "stopped"
)

func (e HookEvent) same(other HookEvent) bool {
	return e.Role == other.Role && e.Term == other.Term && e.Master == other.Master
}

// maxHookQueue bounds what waits for a slow hook; the oldest is left out then, since the newest is what counts.
const maxHookQueue = 64

// hooks runs something at each change of role: one at a time, in order. Nothing ever waits for it but the end of
// the node.
type hooks struct {
	cfg    HookConfig
	log    *slog.Logger
	wakeUp chan struct{}

	mu    sync.Mutex
	queue []HookEvent // guarded by mu
	last  HookEvent   // guarded by mu; what was queued last
	ended bool        // guarded by mu
}

func newHooks(cfg *HookConfig, log *slog.Logger) *hooks {
	if cfg == nil {
		return nil
	}
	return &hooks{cfg: *cfg, log: log, wakeUp: make(chan struct{}, 1)}
}

// become queues a run for a new state; one like the last is none.
func (h *hooks) become(e HookEvent) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.becomeLocked(e)
}

func (h *hooks) becomeLocked(e HookEvent) {
	if h.ended || h.last.Number > 0 && h.last.same(e) {
		return
	}
	e.Number = h.last.Number + 1
	h.last = e
	if len(h.queue) >= maxHookQueue {
		h.log.Warn("a role hook was left out, because the ones before it take too long", "event", h.queue[0].Number)
		h.queue = h.queue[1:]
	}
	h.queue = append(h.queue, e)
	wake(h.wakeUp)
}

// follow notes who leads, while this node does not.
func (h *hooks) follow(master, reason string) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last.Role == HookStandby && h.last.Master != master {
		h.becomeLocked(HookEvent{Role: HookStandby, Master: master, Reason: reason})
	}
}

// end queues the last run, in place of all that wait: a node that ends has no time for the past.
func (h *hooks) end(reason string) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue = nil
	h.becomeLocked(HookEvent{Role: HookStopped, Reason: reason})
	h.ended = true
	wake(h.wakeUp)
}

// run runs what is queued until the end has been queued and run.
func (h *hooks) run(ctx context.Context) {
	for {
		next, ok, ended := h.next()
		switch {
		case ok:
			h.exec(ctx, next)
		case ended:
			return
		default:
			<-h.wakeUp
		}
	}
}

func (h *hooks) next() (event HookEvent, ok, ended bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.queue) == 0 {
		return HookEvent{}, false, h.ended
	}
	event = h.queue[0]
	h.queue = h.queue[1:]
	return event, true, false
}

func (h *hooks) exec(ctx context.Context, e HookEvent) {
	defer func() {
		if r := recover(); r != nil {
			h.log.Error("the role hook panicked", "event", e.Number, "error", r)
		}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, h.cfg.Timeout, fmt.Errorf("it did not end within %s", h.cfg.Timeout))
	defer cancel()
	began := time.Now()
	if err := h.cfg.Run(ctx, e); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		h.log.Warn("the role hook failed; the node goes on", "event", e.Number, "hook_role", string(e.Role), "error", err)
		return
	}
	h.log.Debug("the role hook was run", "event", e.Number, "hook_role", string(e.Role), "took", time.Since(began).String())
}

// CommandHook runs a program: role, term and master are its last arguments, and all of the event is in its
// environment, as UNDERSTUDY_ROLE and so on. Its output goes to the log. When ctx ends its process group is killed.
func CommandHook(words []string, node, cluster string, log *slog.Logger) func(ctx context.Context, event HookEvent) error {
	return func(ctx context.Context, e HookEvent) error {
		term := ""
		if !e.Term.IsZero() {
			term = e.Term.String()
		}
		err := program{
			words: append(words[:len(words):len(words)], string(e.Role), term, e.Master),
			env: []string{
				"UNDERSTUDY_ROLE=" + string(e.Role), "UNDERSTUDY_TERM=" + term, "UNDERSTUDY_MASTER=" + e.Master,
				"UNDERSTUDY_NODE_ID=" + node, "UNDERSTUDY_CLUSTER=" + cluster,
				"UNDERSTUDY_EVENT=" + strconv.FormatUint(e.Number, 10), "UNDERSTUDY_REASON=" + e.Reason,
			},
			line: func(text string) { log.Info("hook: "+text, "event", e.Number) },
		}.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", words[0], err)
		}
		return nil
	}
}

// startHooks runs the hooks until the end, which is a hook, too.
func (n *Node) startHooks(ctx context.Context) (end func()) {
	if n.hooks == nil {
		return func() {}
	}
	n.hooks.become(HookEvent{Role: HookStandby, Reason: "this node has started"})
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { n.hooks.run(ctx) })
	return func() {
		n.hooks.end("this node is stopping")
		// One that runs already may take all of its time, and so may the last.
		patience := time.AfterFunc(2*n.opt.Hook.Timeout, cancel)
		running.Wait()
		patience.Stop()
		cancel()
	}
}

// followMaster tells the hooks who leads, while this node does not.
func (n *Node) followMaster(ctx context.Context) {
	for {
		role, changed := n.election.role()
		if role.Role != contract.RoleMaster && role.MasterID != "" {
			n.hooks.follow(role.MasterID, role.Reason)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
