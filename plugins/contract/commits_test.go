package contract_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-plugin"

	"github.com/understudy-ha/understudy/plugins/contract"
)

func TestCommitsKeepTheirOrder(t *testing.T) {
	const n = 2000
	var arrived []string
	m := mirror(t, &scriptedMirror{onCommit: func(_ contract.Term, op contract.Op, _ bool, settle func(contract.CommitResult, error)) {
		arrived = append(arrived, op.MessageID)
		settle(contract.Committed, nil)
	}})
	settled := newSettlements(t)
	var sent []string
	for i := range n {
		id := name(i)
		sent = append(sent, id)
		m.Commit(term, op(id), false, settled.of(id))
	}
	for id, o := range settled.wait() {
		if o.result != contract.Committed || o.err != nil {
			t.Fatalf("%s: %+v", id, o)
		}
	}
	if !slices.Equal(arrived, sent) {
		t.Error("the changes arrived in another order")
	}
}

func TestCommitsFromManyGoroutines(t *testing.T) {
	var mu sync.Mutex
	last := map[string]int{}
	m := mirror(t, &scriptedMirror{onCommit: func(_ contract.Term, op contract.Op, _ bool, settle func(contract.CommitResult, error)) {
		mu.Lock()
		defer mu.Unlock()
		if last[op.WorkflowID] != len(op.Step) {
			t.Errorf("caller %s: change %d came after %d", op.WorkflowID, len(op.Step), last[op.WorkflowID])
		}
		last[op.WorkflowID]++
		go settle(contract.Committed, nil)
	}})
	settled := newSettlements(t)
	var callers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			for i := range 200 {
				o := op("m")
				o.WorkflowID, o.Step = name(caller), strings.Repeat(".", i)
				m.Commit(term, o, false, settled.of(name(caller, "/", i)))
			}
		})
	}
	callers.Wait()
	settled.wait()
}

func TestCommitOutcomes(t *testing.T) {
	answers := map[string]outcome{
		"committed": {contract.Committed, nil},
		"before":    {contract.DoneBefore, nil},
		"lost":      {contract.NotLeading, nil},
		"invalid":   {contract.Invalid, errors.New("no such message")},
		"failed":    {0, errors.New("the disk is \xff full")},
	}
	m := mirror(t, &scriptedMirror{onCommit: func(_ contract.Term, op contract.Op, _ bool, settle func(contract.CommitResult, error)) {
		settle(answers[op.MessageID].result, answers[op.MessageID].err)
	}})
	settled := newSettlements(t)
	for id := range answers {
		m.Commit(term, op(id), false, settled.of(id))
	}
	for id, got := range settled.wait() {
		want := answers[id]
		if got.result != want.result || (got.err == nil) != (want.err == nil) {
			t.Errorf("%s: got %+v, want %+v", id, got, want)
		}
		if got.err != nil && !strings.Contains(got.err.Error(), "plugin fake: commit: ") {
			t.Errorf("%s: %v does not name the plugin", id, got.err)
		}
	}
}

func TestQuietCommitsSpeakOnlyOfRefusal(t *testing.T) {
	m := mirror(t, &scriptedMirror{onCommit: func(_ contract.Term, op contract.Op, quiet bool, settle func(contract.CommitResult, error)) {
		switch op.MessageID {
		case "good":
			settle(contract.Committed, nil)
		case "nobody waits":
			if !quiet {
				t.Error("a change that nobody waits for asks for an answer")
			}
			settle(contract.NotLeading, nil)
		default:
			settle(contract.NotLeading, nil)
		}
	}})
	settled := newSettlements(t)
	m.Commit(term, op("good"), true, func(result contract.CommitResult, err error) {
		t.Errorf("quiet, and yet told: %v, %v", result, err)
	})
	m.Commit(term, op("nobody waits"), true, nil)
	m.Commit(term, op("refused"), true, settled.of("refused"))
	m.Commit(term, op("last"), false, settled.of("last"))
	if got := settled.wait()["refused"]; got.result != contract.NotLeading {
		t.Errorf("refused: %+v", got)
	}
}

// What gRPC cannot carry is refused alone, and takes nothing with it.
func TestCommitRefusesWhatCannotTravel(t *testing.T) {
	m := mirror(t, &scriptedMirror{onCommit: func(_ contract.Term, op contract.Op, _ bool, settle func(contract.CommitResult, error)) {
		settle(contract.Committed, nil)
	}})
	settled := newSettlements(t)
	m.Commit(term, op("before"), false, settled.of("before"))
	m.Commit(term, op("caf\xe9"), false, settled.of("not UTF-8"))
	large := op("large")
	large.Payload = make([]byte, contract.MaxPayload+1)
	m.Commit(term, large, false, settled.of("large"))
	odd := op("reason")
	odd.Reason = "caf\xe9"
	m.Commit(term, odd, false, settled.of("reason"))
	got := settled.wait()
	for id, want := range map[string]contract.CommitResult{
		"before": contract.Committed, "not UTF-8": contract.Invalid, "large": contract.Invalid, "reason": contract.Committed,
	} {
		if got[id].result != want || (want == contract.Invalid) != (got[id].err != nil) {
			t.Errorf("%s: %+v, want result %v", id, got[id], want)
		}
	}
}

// The plugin dies: what is open is settled once, and so is what comes later.
func TestCommitsEndWithThePlugin(t *testing.T) {
	arrived := make(chan struct{}, 3)
	set, err := contract.Plugin{Name: "fake", CacheSync: &scriptedMirror{
		onCommit: func(contract.Term, contract.Op, bool, func(contract.CommitResult, error)) { arrived <- struct{}{} },
	}}.Set()
	if err != nil {
		t.Fatal(err)
	}
	client, server := plugin.TestPluginGRPCConn(t, false, set[contract.ProtocolVersion])
	m := contract.NewCacheSyncClient(t.Context(), client.Conn, "fake")
	settled := newSettlements(t)
	for i := range 3 {
		m.Commit(term, op(name(i)), false, settled.of(name(i)))
		<-arrived
	}
	_ = client.Close()
	<-server.DoneCh
	for id, o := range settled.wait() {
		if o.err == nil || o.result != 0 || !strings.Contains(o.err.Error(), "plugin fake: commit") {
			t.Errorf("%s: %+v, want an error", id, o)
		}
	}
	m.Commit(term, op("late"), false, settled.of("late"))
	if late := settled.wait()["late"]; late.err == nil {
		t.Errorf("after its death: %+v", late)
	}
	m.Close()
}

// The host lets go: the same.
func TestCommitsEndWithTheClient(t *testing.T) {
	arrived := make(chan struct{}, 3)
	m := mirror(t, &scriptedMirror{onCommit: func(contract.Term, contract.Op, bool, func(contract.CommitResult, error)) {
		arrived <- struct{}{}
	}})
	settled := newSettlements(t)
	for i := range 3 {
		m.Commit(term, op(name(i)), false, settled.of(name(i)))
		<-arrived
	}
	client, ok := m.(*contract.CacheSyncClient)
	if !ok {
		t.Fatalf("the client is a %T", m)
	}
	client.Close()
	client.Close()
	m.Commit(term, op("late"), false, settled.of("late"))
	m.Commit(term, op("late and quiet"), true, settled.of("late and quiet"))
	m.Commit(term, op("late and nobody waits"), true, nil)
	got := settled.wait()
	if len(got) != 5 {
		t.Errorf("%d settled, want 5", len(got))
	}
	for id, o := range got {
		if !errors.Is(o.err, contract.ErrGone) {
			t.Errorf("%s: %+v, want ErrGone", id, o)
		}
	}
}

// A mirror that does not answer makes Commit wait; nothing piles up in the host.
func TestCommitsPushBack(t *testing.T) {
	settles := make(chan func(contract.CommitResult, error), 1000)
	m := mirror(t, &scriptedMirror{onCommit: func(_ contract.Term, _ contract.Op, _ bool, settle func(contract.CommitResult, error)) {
		settles <- settle
	}})
	const size = 1 << 20
	settled := newSettlements(t)
	returned := make(chan int, 1000)
	sending := make(chan struct{})
	go func() {
		defer close(sending)
		payload := make([]byte, size)
		for i := range 200 {
			o := op(name(i))
			o.Payload = payload
			m.Commit(term, o, false, settled.of(o.MessageID))
			returned <- i
		}
	}()
	// What fits is let through; the next waits until something is answered.
	const fits = (contract.MaxPayload + 8192*512) / (size + 512)
	var open []func(contract.CommitResult, error)
	for range fits {
		<-returned
		open = append(open, <-settles)
	}
	select {
	case i := <-returned:
		t.Errorf("change %d was taken with %d unanswered", i, fits)
	default:
	}
	open[0](contract.Committed, nil)
	<-returned
	for _, settle := range open[1:] {
		settle(contract.Committed, nil)
	}
	go func() {
		for range 200 - fits {
			(<-settles)(contract.Committed, nil)
		}
	}()
	<-sending
	settled.wait()
}
