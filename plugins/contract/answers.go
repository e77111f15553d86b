package contract

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	cachesyncv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cachesync/v1"
)

// serveCommits is the plugin's side of the stream of commits: changes go to commit in the order of the
// stream, and answers go back in the order in which they are settled.
func serveCommits(
	stream cachesyncv1.CacheSyncService_CommitServer,
	commit func(term Term, op Op, quiet bool, settle func(CommitResult, error)),
) error {
	ctx, cancel := context.WithCancel(stream.Context())
	out := &answers{wake: make(chan struct{}, 1)}
	var sending sync.WaitGroup
	sending.Go(func() { out.send(ctx, stream) })
	defer sending.Wait()
	defer cancel()
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		sequence, quiet := r.GetSequence(), r.GetQuiet()
		commit(fromTerm(r.GetTerm()), fromOp(r.GetOp()), quiet, func(result CommitResult, err error) {
			if quiet && result == Committed && err == nil {
				return
			}
			answer := &cachesyncv1.CommitResponse{Sequence: sequence, Result: cachesyncv1.CommitResult(result)}
			if err != nil {
				answer.Error = strings.ToValidUTF8(err.Error(), "\uFFFD")
			}
			out.add(answer)
		})
	}
}

// answers is the queue of answers on their way to the host. Settling never blocks, so that a host that stands
// still cannot hold up whoever settles; the queue is never longer than what the host has in flight.
type answers struct {
	mu    sync.Mutex // guards queue
	queue []*cachesyncv1.CommitResponse
	// wake holds a token while the queue may not be empty.
	wake chan struct{}
}

func (a *answers) add(answer *cachesyncv1.CommitResponse) {
	a.mu.Lock()
	a.queue = append(a.queue, answer)
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// send sends until ctx ends or the stream does.
func (a *answers) send(ctx context.Context, stream cachesyncv1.CacheSyncService_CommitServer) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		a.mu.Lock()
		queue := a.queue
		a.queue = nil
		a.mu.Unlock()
		for _, answer := range queue {
			if stream.Send(answer) != nil {
				return
			}
		}
	}
}
