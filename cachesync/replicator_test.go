package cachesync_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func term(number uint64, id string) ledger.Term { return ledger.Term{Number: number, Node: id} }

func received(id string) ledger.Op {
	return ledger.Op{Kind: ledger.Received, MessageID: id, WorkflowID: "w", Payload: []byte("payload of " + id)}
}

func lead(t *testing.T, p *node, number uint64) cachesync.Lead {
	t.Helper()
	lead, err := p.Lead(t.Context(), term(number, p.id))
	if err != nil {
		t.Fatal(err)
	}
	return lead
}

// outcome is what a commit was told.
type outcome struct {
	result cachesync.Result
	err    error
}

// begin commits and returns where the outcome will come. A second answer would block and be found by goleak.
func begin(p *node, number uint64, op ledger.Op) <-chan outcome {
	told := make(chan outcome)
	buffer := make(chan outcome, 1)
	p.Commit(term(number, p.id), op, false, func(r cachesync.Result, err error) { buffer <- outcome{r, err} })
	go func() { told <- <-buffer }()
	return told
}

func commit(t *testing.T, p *node, number uint64, op ledger.Op, want cachesync.Result) {
	t.Helper()
	if got := <-begin(p, number, op); got.result != want {
		t.Fatalf("%v of %s: %v (%v), want %v", op.Kind, op.MessageID, got.result, got.err, want)
	}
}

func TestStandbyHoldsWhatIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		a, b := net.start("a"), net.start("b")
		lead(t, a, 1)
		if s := a.State(); !s.Leading || !s.InSync || s.InSyncStandbys != 1 {
			t.Fatalf("the master says %+v", s)
		}
		commit(t, a, 1, received("m1"), cachesync.Committed)
		commit(t, a, 1, received("m2"), cachesync.Committed)
		if got, want := b.State().Position, a.State().Position; got != want {
			t.Errorf("the standby is at %v, the master at %v", got, want)
		}
		synctest.Wait()
		if s := b.State(); !s.InSync || s.Leading {
			t.Errorf("the standby says %+v", s)
		}
		commit(t, a, 1, ledger.Op{Kind: ledger.Done, MessageID: "m1"}, cachesync.Committed)
		commit(t, a, 1, received("m1"), cachesync.DoneBefore)
		commit(t, a, 1, received("m2"), cachesync.Committed)
		commit(t, a, 1, ledger.Op{Kind: ledger.Done, MessageID: "unknown"}, cachesync.Invalid)
		commit(t, a, 2, received("m3"), cachesync.NotLeading)
		commit(t, b, 1, received("m3"), cachesync.NotLeading)

		net.kill(a)
		taken := lead(t, b, 2)
		if len(taken.Entries) != 1 || taken.Entries[0].MessageID != "m2" || taken.TakenFrom != "" {
			t.Errorf("taken over %+v", taken)
		}
		commit(t, b, 2, received("m1"), cachesync.DoneBefore)
	})
}

func TestJoinerGetsASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		a := net.start("a")
		lead(t, a, 1)
		for i := range 100 {
			op := received(fmt.Sprint("m", i))
			op.Payload = bytes.Repeat([]byte("x"), 64<<10)
			commit(t, a, 1, op, cachesync.Committed)
		}
		net.delay = time.Millisecond
		b := net.start("b")
		// Writes go on while it catches up.
		for i := range 50 {
			commit(t, a, 1, received(fmt.Sprint("n", i)), cachesync.Committed)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		if s := b.State(); !s.InSync || s.Position != a.State().Position {
			t.Errorf("the joiner says %+v, the master %+v", s, a.State())
		}
		if got := b.Status().Entries; got != 150 {
			t.Errorf("the joiner holds %d entries", got)
		}
	})
}

func TestSilentStandbyIsLeftBehindAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		net := newNetwork(t, 1, nil)
		net.log = log.logger
		defer net.stop()
		a, b := net.start("a"), net.start("b")
		lead(t, a, 1)
		net.cut("a", "b")
		before := time.Now()
		told := begin(a, 1, received("m1"))
		if got := <-told; got.result != cachesync.Committed {
			t.Fatalf("ended as %v", got.result)
		}
		if waited := time.Since(before); waited < net.config.LagTimeout || waited > net.config.LagTimeout*5/4 {
			t.Errorf("the commit waited for %v", waited)
		}
		if s := b.State(); s.InSync {
			t.Error("a standby that hears nothing must not believe to be in sync")
		}
		commit(t, a, 1, received("m2"), cachesync.Committed)
		net.heal()
		time.Sleep(2 * time.Second)
		if s := b.State(); !s.InSync || s.Position != a.State().Position {
			t.Errorf("after healing the standby says %+v", s)
		}
		text := log.String()
		if strings.Count(text, "out of sync") != 1 || strings.Count(text, "going on alone") != 1 || strings.Count(text, "a standby is in sync") != 2 || strings.Contains(text, "node=b") {
			t.Errorf("log:\n%s", text)
		}
	})
}

func TestBrokenStreamReleasesCommitsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		a, b := net.start("a"), net.start("b")
		lead(t, a, 1)
		net.cut("a", "b")
		told := begin(a, 1, received("m"))
		synctest.Wait()
		before := time.Now()
		net.kill(b)
		if got := <-told; got.result != cachesync.Committed || time.Since(before) > 0 {
			t.Errorf("ended as %v after %v", got.result, time.Since(before))
		}
	})
}

// A standby that comes back while its old link finds that it is gone gets a link all the same. No bubble: a goroutine
// that waits for a lock would keep its clock from going on.
func TestStandbyThatComesBackAtOnceIsLinkedAgain(t *testing.T) {
	net := newNetwork(t, 1, nil)
	defer net.stop()
	a, b := net.start("a"), net.start("b")
	lead(t, a, 1)
	var once sync.Once
	again := make(chan *node, 1)
	comeBack := func() {
		if !calledBy("(*link).report") {
			return
		}
		once.Do(func() {
			again <- net.start("b")
			time.Sleep(20 * time.Millisecond) // enough to hear of it
		})
	}
	a.asked.Store(&comeBack)
	net.kill(b)
	b = <-again
	for deadline := time.Now().Add(5 * time.Second); !b.State().InSync; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the master has no link to it")
		}
	}
}

// calledBy reports whether a function whose name ends like that is on the stack.
func calledBy(name string) bool {
	pcs := make([]uintptr, 20)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, name) {
			return true
		}
		if !more {
			return false
		}
	}
}

func TestWatchTellsTheLastState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t, 1, nil)
		defer net.stop()
		a := net.start("a")
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var states []cachesync.State
		watched := make(chan error, 1)
		go func() {
			watched <- a.Watch(ctx, func(s cachesync.State) {
				mu.Lock()
				defer mu.Unlock()
				states = append(states, s)
			})
		}()
		synctest.Wait()
		lead(t, a, 1)
		for i := range 1000 {
			commit(t, a, 1, received(fmt.Sprint(i)), cachesync.Committed)
		}
		time.Sleep(time.Second)
		mu.Lock()
		if n := len(states); n > 10 || states[0].Leading || states[n-1] != a.State() {
			t.Errorf("%d states, last %+v", n, states[n-1])
		}
		mu.Unlock()
		cancel()
		if err := <-watched; err != nil {
			t.Error(err)
		}
	})
}

// logBuffer collects the lines of all nodes.
type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *logBuffer) logger(id string) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, nil)).With("node", id)
}
