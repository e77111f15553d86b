package contract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sync/semaphore"

	cachesyncv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cachesync/v1"
)

const (
	// entryOverhead is what a change or an entry is counted for beside its payload, in bytes.
	entryOverhead = 512
	// commitWindow is how much may be unanswered on the stream of commits, in bytes: payloads and overheads.
	// A quiet change that nobody waits for does not count; gRPC's own flow control bounds those.
	commitWindow = MaxPayload + 8192*entryOverhead
)

// commits is the client's side of the stream of commits: it is opened by the first change, carries all of
// them in the order of the calls, and is opened anew after it broke.
type commits struct {
	life   context.Context
	end    context.CancelFunc
	plugin string
	rpc    cachesyncv1.CacheSyncServiceClient

	mu       sync.Mutex // guards what follows, and is held during a send: it is the order on the stream
	current  *commitStream
	sequence uint64

	receivers sync.WaitGroup
}

func newCommits(ctx context.Context, rpc cachesyncv1.CacheSyncServiceClient, plugin string) *commits {
	life, end := context.WithCancel(ctx)
	return &commits{life: life, end: end, plugin: plugin, rpc: rpc}
}

// commitStream is one gRPC stream and what is unanswered on it.
type commitStream struct {
	rpc    cachesyncv1.CacheSyncService_CommitClient
	broken context.Context // ends with the stream
	cancel context.CancelFunc
	window *semaphore.Weighted

	mu sync.Mutex // guards open; never held during a send or a settle
	// open holds the unanswered changes by sequence. It is nil when the stream is broken and all of them have
	// been taken out.
	open map[uint64]unanswered
}

// unanswered is a change whose fate is not known yet. Who takes it out of the map calls settle, so that it is
// called once.
type unanswered struct {
	settle func(CommitResult, error)
	cost   int64
}

// commit implements CacheSync.Commit. A quiet change with a settle function asks the plugin for an answer all
// the same, or it would never be known when to forget it.
func (c *commits) commit(term Term, op Op, quiet bool, settle func(CommitResult, error)) {
	if settle != nil && quiet {
		loud := settle
		settle = func(result CommitResult, err error) {
			if result != Committed || err != nil {
				loud(result, err)
			}
		}
	}
	if err := checkOp(op); err != nil {
		if settle != nil {
			settle(Invalid, fmt.Errorf("plugin %s: commit: %w", c.plugin, err))
		}
		return
	}
	op.Reason = strings.ToValidUTF8(op.Reason, "\uFFFD")
	request := &cachesyncv1.CommitRequest{Term: toTerm(term), Op: toOp(op), Quiet: settle == nil}
	if err := c.send(request, settle); err != nil && settle != nil {
		settle(0, err)
	}
}

// checkOp refuses what gRPC could not carry: it would end the whole stream, and every other change with it.
func checkOp(op Op) error {
	switch {
	case len(op.Payload) > MaxPayload:
		return fmt.Errorf("message %q: payload of %d bytes, at most %d can be mirrored", op.MessageID, len(op.Payload), MaxPayload)
	case !utf8.ValidString(op.MessageID):
		return fmt.Errorf("message id %q is not valid UTF-8", op.MessageID)
	case !utf8.ValidString(op.WorkflowID):
		return fmt.Errorf("workflow id %q is not valid UTF-8", op.WorkflowID)
	case !utf8.ValidString(op.Step):
		return fmt.Errorf("step id %q is not valid UTF-8", op.Step)
	}
	return nil
}

// send puts a change onto the stream. An error means that it did not get there, and that settle will not be
// called from here.
func (c *commits) send(request *cachesyncv1.CommitRequest, settle func(CommitResult, error)) error {
	stream, err := c.stream()
	if err != nil {
		return err
	}
	cost := int64(len(request.GetOp().GetPayload()) + entryOverhead)
	if settle != nil && stream.window.Acquire(stream.broken, cost) != nil {
		return c.gone()
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	c.sequence++
	request.Sequence = c.sequence
	if settle != nil && !stream.expect(request.Sequence, unanswered{settle: settle, cost: cost}) {
		return c.gone()
	}
	if stream.rpc.Send(request) != nil {
		// The receiver learns why, and settles this change with all others.
		stream.cancel()
	}
	return nil
}

func (c *commits) gone() error {
	return fmt.Errorf("plugin %s: commit: %w", c.plugin, ErrGone)
}

// stream gives the open stream, or opens one.
func (c *commits) stream() (*commitStream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life.Err() != nil {
		return nil, c.gone()
	}
	if c.current != nil && c.current.broken.Err() == nil {
		return c.current, nil
	}
	broken, cancel := context.WithCancel(c.life)
	rpc, err := c.rpc.Commit(broken)
	if err != nil {
		cancel()
		return nil, fromStatus(c.life, c.plugin, "commit", err)
	}
	s := &commitStream{
		rpc: rpc, broken: broken, cancel: cancel,
		window: semaphore.NewWeighted(commitWindow), open: map[uint64]unanswered{},
	}
	c.current = s
	c.receivers.Go(func() { c.receive(s) })
	return s, nil
}

// close ends the stream and waits until everything on it is settled.
func (c *commits) close() {
	c.end()
	// Whoever holds the lock now may still start a receiver; after it nobody can.
	c.mu.Lock()
	c.mu.Unlock() //nolint:staticcheck // an empty section is the point: it waits for the last holder
	c.receivers.Wait()
}

// receive settles changes as their answers come, and the rest when the stream ends.
func (c *commits) receive(s *commitStream) {
	for {
		r, err := s.rpc.Recv()
		if err != nil {
			s.fail(c.ended(err))
			return
		}
		if change, ok := s.answered(r.GetSequence()); ok {
			s.window.Release(change.cost)
			change.settle(c.outcome(r))
		}
	}
}

func (c *commits) ended(err error) error {
	switch {
	case c.life.Err() != nil:
		return c.gone()
	case errors.Is(err, io.EOF):
		return fmt.Errorf("plugin %s: commit: the plugin ended the stream", c.plugin)
	}
	return fromStatus(c.life, c.plugin, "commit", err)
}

func (c *commits) outcome(r *cachesyncv1.CommitResponse) (CommitResult, error) {
	result := fromEnum[CommitResult](r.GetResult())
	if text := r.GetError(); text != "" {
		return result, fmt.Errorf("plugin %s: commit: %s", c.plugin, text)
	}
	if result < Committed || result > NoRoom {
		return 0, fmt.Errorf("plugin %s: commit: unknown result %d", c.plugin, r.GetResult())
	}
	return result, nil
}

// expect remembers a change before it is sent; false if the stream is broken.
func (s *commitStream) expect(sequence uint64, change unanswered) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return false
	}
	s.open[sequence] = change
	return true
}

// answered takes a change out. Answers to quiet changes that nobody waits for find none.
func (s *commitStream) answered(sequence uint64) (unanswered, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change, ok := s.open[sequence]
	delete(s.open, sequence)
	return change, ok
}

// fail settles all that is open, oldest first.
func (s *commitStream) fail(err error) {
	s.cancel()
	s.mu.Lock()
	open := s.open
	s.open = nil
	s.mu.Unlock()
	for _, sequence := range slices.Sorted(maps.Keys(open)) {
		open[sequence].settle(0, err)
	}
}
