package contract_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/plugins/contract/contracttest"
)

// The test binary is a plugin when it is started as one, and by hand when it has this in its environment.
const asPlugin = "CONTRACT_TEST_AS_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(asPlugin) != "" {
		contract.NewLogger("fake", nil).Warn("about to serve", "msg", "an attribute")
		contract.Serve(contracttest.Plugin("fake"))
		return
	}
	goleak.VerifyTestMain(m)
}

// scriptedMirror is a CacheSync whose commits are the test's to settle.
type scriptedMirror struct {
	contract.CacheSync
	onCommit func(term contract.Term, op contract.Op, quiet bool, settle func(contract.CommitResult, error))
	onLead   func() (contract.Lead, error)
	onWatch  func(ctx context.Context, changed func(contract.MirrorState)) error
}

func (m *scriptedMirror) Commit(term contract.Term, op contract.Op, quiet bool, settle func(contract.CommitResult, error)) {
	m.onCommit(term, op, quiet, settle)
}

func (m *scriptedMirror) Lead(context.Context, contract.Term) (contract.Lead, error) {
	return m.onLead()
}

func (m *scriptedMirror) Watch(ctx context.Context, changed func(contract.MirrorState)) error {
	return m.onWatch(ctx, changed)
}

// mirror serves m and gives the host's client.
func mirror(t testing.TB, m contract.CacheSync) contract.CacheSync {
	return contracttest.Pair(t, contract.Plugin{Name: "fake", CacheSync: m}).CacheSync
}

var term = contract.Term{Number: 1, Node: "n"}

// outcome is what settle was called with.
type outcome struct {
	result contract.CommitResult
	err    error
}

// settlements notes the outcome of each commit, and that none has two.
type settlements struct {
	t    testing.TB
	all  sync.WaitGroup
	mu   sync.Mutex // guards seen
	seen map[string]outcome
}

func newSettlements(t testing.TB) *settlements { return &settlements{t: t, seen: map[string]outcome{}} }

// of is the settle function of one commit.
func (s *settlements) of(id string) func(contract.CommitResult, error) {
	s.all.Add(1)
	return func(result contract.CommitResult, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if earlier, ok := s.seen[id]; ok {
			s.t.Errorf("%s was settled twice: %v, %v", id, earlier, result)
			return
		}
		s.seen[id] = outcome{result, err}
		s.all.Done()
	}
}

// wait waits until every commit is settled.
func (s *settlements) wait() map[string]outcome {
	s.all.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

func op(id string) contract.Op {
	return contract.Op{Kind: contract.OpReceived, MessageID: id, WorkflowID: "w", Payload: []byte("x")}
}

func name(parts ...any) string { return fmt.Sprint(parts...) }
