package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

const (
	// backlog is how many files wait in the in folder while the demo feeds: enough that work is under way whenever
	// a node dies, few enough that the feeding goes on through the whole story.
	backlog = 100
	// look is how often the journals are read.
	look = 10 * time.Millisecond
	// patience is how long nothing may happen before the demo gives up.
	patience = 60 * time.Second
)

// outcome is what the demo is about.
type outcome struct {
	cluster.Result
	crash, handover time.Duration
	verified        bool
}

// String is the demo's last line.
func (o outcome) String() string {
	return fmt.Sprintf("demo: messages=%d lost=%d duplicated=%d takeovers=%d crash_takeover_ms=%d handover_ms=%d",
		o.Messages, o.Lost, o.Duplicated, o.Takeovers(), o.crash.Milliseconds(), o.handover.Milliseconds())
}

func (o outcome) good() bool {
	return o.verified && o.Lost == 0 && o.Duplicated == 0 && o.Takeovers() == 2 && len(o.Faults) == 0
}

// story is one run. Its methods are called from one goroutine; the feeder shares only what says so.
type story struct {
	nodes    *cluster.Cluster
	screen   *screen
	sources  []cluster.Source
	journals *cluster.Journals

	// writes is what the journals have said so far, in the order in which it was read; last is the latest by time.
	writes []cluster.Write
	last   cluster.Write
	// written is len(writes), for the feeder.
	written atomic.Int64
	// want has the digest of each file that was fed. It is the feeder's until that has ended.
	want map[string]string
}

func newStory(nodes *cluster.Cluster, screen *screen, sources []cluster.Source) *story {
	return &story{
		nodes: nodes, screen: screen, sources: sources,
		journals: nodes.Journals(), want: map[string]string{},
	}
}

// play plays the story and counts. Every goroutine has ended when it returns; nodes may still run if it fails.
func (s *story) play(ctx context.Context) (outcome, error) {
	var o outcome
	if err := s.gather(ctx); err != nil {
		return o, err
	}

	ctx, cancel := context.WithCancelCause(ctx)
	var feeder sync.WaitGroup
	feeder.Go(func() {
		if err := s.feed(ctx); err != nil {
			cancel(err)
		}
	})
	err := s.turns(ctx, &o)
	cancel(err)
	feeder.Wait()
	if err != nil {
		// What the feeder found wrong is the cause of what went wrong here.
		return o, errors.Join(err, causeOf(ctx))
	}

	o.Result, err = s.nodes.Verify(s.want)
	if err != nil {
		return o, err
	}
	o.verified = true
	for i, fault := range o.Faults {
		if i == 10 {
			s.screen.say("... and %d more", len(o.Faults)-i)
			break
		}
		s.screen.say("WRONG: %s", fault)
	}
	if o.good() {
		s.screen.say("%d outputs compared with their sources by SHA-256: all there, each written once", o.Messages)
	}
	return o, nil
}

func causeOf(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// gather starts the nodes and waits until one leads and the others mirror it.
func (s *story) gather(ctx context.Context) error {
	s.screen.say("three nodes start, strangers to everything but each other (%s)", s.nodes.Name)
	if err := s.nodes.Start(); err != nil {
		return err
	}
	master, err := s.whole(ctx)
	if err != nil {
		return err
	}
	s.screen.say("%s was promoted; the others stand by and mirror it", master.ID)
	s.screen.leads(master.ID)
	return nil
}

// whole waits until all three nodes are up, one leading and two in sync.
func (s *story) whole(ctx context.Context) (*cluster.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	master, err := s.nodes.Master(ctx)
	if err != nil {
		return nil, err
	}
	return master, s.nodes.InSync(ctx, master, len(s.nodes.Nodes)-1)
}

// turns is the story from the first file to the last node's end.
func (s *story) turns(ctx context.Context, o *outcome) error {
	total := len(s.sources)
	s.screen.say("%d files of the Go source tree go in, a few at a time", total)

	if err := s.await(ctx, "the first quarter", func() bool { return s.underWay(total / 4) }); err != nil {
		return err
	}
	first := s.nodes.Node(s.last.Node)
	s.screen.down(first.ID)
	signalled := time.Now()
	first.Kill()
	s.screen.say("KILLED %s (SIGKILL) in the middle of its work, %d of %d written", first.ID, len(s.writes), total)
	var err error
	if o.crash, err = s.takeover(ctx, first, signalled); err != nil {
		return err
	}
	if err := s.restart(first); err != nil {
		return err
	}

	if err := s.await(ctx, "two thirds", func() bool { return s.underWay(total * 2 / 3) }); err != nil {
		return err
	}
	second := s.nodes.Node(s.last.Node)
	s.screen.down(second.ID)
	s.screen.say("STOPPED %s (SIGTERM), %d of %d written", second.ID, len(s.writes), total)
	signalled = time.Now()
	if err := second.Terminate(); err != nil {
		return err
	}
	if o.handover, err = s.takeover(ctx, second, signalled); err != nil {
		return err
	}
	if err := s.ended(ctx, second); err != nil {
		return err
	}
	if err := s.restart(second); err != nil {
		return err
	}

	// A file leaves the in folder when all about it is done. The journal is no measure of that: it misses a line
	// when the crash came between a write and its line.
	var failure error
	err = s.await(ctx, "the last file", func() bool {
		if s.nodes.Fed() < total {
			return false
		}
		var waiting int
		waiting, failure = s.nodes.Waiting()
		return failure != nil || waiting == 0
	})
	if err := errors.Join(failure, err); err != nil {
		return err
	}
	s.screen.say("the in folder is empty")
	master, err := s.whole(ctx)
	if err != nil {
		return err
	}
	s.screen.say("the cluster is whole again: %s leads, the others mirror it; now everybody stops", master.ID)
	return s.stop(ctx)
}

// underWay: that many are written, and more wait.
func (s *story) underWay(written int) bool {
	return len(s.writes) >= written && s.nodes.Fed() > len(s.writes)
}

// takeover waits for the first write of another node than old after the signal, and returns how long it took.
func (s *story) takeover(ctx context.Context, old *cluster.Node, signalled time.Time) (time.Duration, error) {
	from := len(s.writes)
	var first cluster.Write
	err := s.await(ctx, "another node's first output", func() bool {
		for ; from < len(s.writes); from++ {
			w := s.writes[from]
			if w.Node != old.ID && w.Time().After(signalled) && (first.Node == "" || w.TimeUnixNano < first.TimeUnixNano) {
				first = w
			}
		}
		return first.Node != ""
	})
	if err != nil {
		return 0, err
	}
	took := first.Time().Sub(signalled)
	s.screen.leads(first.Node)
	s.screen.say("%s leads in term %s: first output %d ms after the signal", first.Node, first.Term, took.Milliseconds())
	return took, nil
}

func (s *story) restart(node *cluster.Node) error {
	if err := node.Start(); err != nil {
		return err
	}
	s.screen.standby(node.ID)
	s.screen.say("%s starts again and becomes a standby", node.ID)
	return nil
}

// ended waits for the end of a node that was told to stop.
func (s *story) ended(ctx context.Context, node *cluster.Node) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	code, err := node.Wait(ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s ended with exit code %d after SIGTERM, want 0", node.ID, code)
	}
	return err
}

func (s *story) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.nodes.Stop(ctx)
}

// await follows the journals until done says so. It gives up when nothing is written for a long time.
func (s *story) await(ctx context.Context, what string, done func() bool) error {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	moved := time.Now()
	for {
		fresh, err := s.journals.Next()
		if err != nil {
			return err
		}
		for _, write := range fresh {
			if write.TimeUnixNano > s.last.TimeUnixNano {
				s.last = write
			}
		}
		if len(fresh) > 0 {
			moved = time.Now()
		}
		s.writes = append(s.writes, fresh...)
		s.written.Store(int64(len(s.writes)))
		s.screen.progress(len(s.writes), len(s.sources))
		if done() {
			return nil
		}
		if time.Since(moved) > patience {
			return fmt.Errorf("waited %v for %s: %d of %d written, nothing moves", patience, what, len(s.writes), len(s.sources))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// feed puts the files into the in folder, never more than backlog ahead of the journals.
func (s *story) feed(ctx context.Context) error {
	for _, source := range s.sources {
		content, digest, err := source.Read()
		if err != nil {
			return err
		}
		for s.nodes.Fed()-int(s.written.Load()) >= backlog {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(look / 2):
			}
		}
		s.want[source.Name] = digest
		if err := s.nodes.Feed(source.Name, content); err != nil {
			return err
		}
	}
	return nil
}
