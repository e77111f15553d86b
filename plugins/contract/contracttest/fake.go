package contracttest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/profiler"
)

// Plugin is the smallest plugin that keeps the whole contract, all in memory: a cluster of one. Tests of
// hosts run against it, and so does the suite.
func Plugin(name string) contract.Plugin {
	return contract.Plugin{Name: name, Version: "test", Agent: &Agent{Name: name}, Failover: &Failover{}, CacheSync: NewMirror()}
}

// Agent remembers what it was told.
type Agent struct {
	Name string
	// OnBefore answers Before, if it is set.
	OnBefore func(ctx context.Context, at profiler.Joinpoint) error

	mu       sync.Mutex // guards what follows
	premain  contract.Premain
	events   []profiler.StepEvent
	dropped  uint64
	failures []string
	ended    bool
}

// Premain implements contract.Agent.
func (a *Agent) Premain(_ context.Context, premain contract.Premain) (contract.Manifest, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.premain = premain
	return contract.Manifest{Name: a.Name, Version: "test", Interests: []contract.Interest{
		{Kind: profiler.KindAdapter, Lifecycle: true}, {Kind: profiler.KindService, Steps: true},
	}}, nil
}

// Before implements contract.Agent.
func (a *Agent) Before(ctx context.Context, at profiler.Joinpoint) error {
	if a.OnBefore == nil {
		return nil
	}
	return a.OnBefore(ctx, at)
}

// After implements contract.Agent.
func (a *Agent) After(_ context.Context, at profiler.Joinpoint, failure error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if failure != nil {
		a.failures = append(a.failures, at.Path+": "+failure.Error())
	}
	return nil
}

// Steps implements contract.Agent.
func (a *Agent) Steps(_ context.Context, events []profiler.StepEvent, dropped uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events, a.dropped = append(a.events, events...), dropped
	return nil
}

// Shutdown implements contract.Agent.
func (a *Agent) Shutdown(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	return nil
}

// Seen is what an Agent was told.
type Seen struct {
	Premain  contract.Premain
	Events   []profiler.StepEvent
	Dropped  uint64
	Failures []string
	Ended    bool
}

// Seen tells what the agent was told so far.
func (a *Agent) Seen() Seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Seen{Premain: a.premain, Events: a.events, Dropped: a.dropped, Failures: a.failures, Ended: a.ended}
}

// Failover leads from the first report on that says it can, in term 1.
type Failover struct{}

var term1 = contract.Term{Number: 1, Node: "fake"}

// Session implements contract.Failover.
func (*Failover) Session(ctx context.Context, reports <-chan contract.HostReport, send func(contract.RoleReport) error) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case report, ok := <-reports:
			if !ok {
				return nil
			}
			answer := contract.RoleReport{Role: contract.RoleStandby, EchoClock: report.Clock, Reason: report.Reason}
			if report.CanLead {
				answer.Role, answer.Term, answer.Valid = contract.RoleMaster, term1, 5e9
				answer.MasterID, answer.MasterTerm = term1.Node, term1
			}
			if err := send(answer); err != nil {
				return err
			}
		}
	}
}

// Resign implements contract.Failover.
func (*Failover) Resign(context.Context, contract.Term, string) error { return nil }

// Pause implements contract.Failover.
func (*Failover) Pause(context.Context, bool) error { return nil }

// ChangeMembers implements contract.Failover.
func (*Failover) ChangeMembers(context.Context, contract.MembersChange) ([]string, error) {
	return nil, errors.New("the fake has no quorum")
}

// Status implements contract.Failover.
func (*Failover) Status(context.Context) (contract.ElectionStatus, error) {
	return contract.ElectionStatus{NodeID: "fake", Role: contract.RoleStandby, Transport: "none"}, nil
}

// Mirror is a mirror without peers: what is committed is committed at once.
type Mirror struct {
	mu       sync.Mutex // guards what follows
	position contract.Position
	leading  bool
	entries  map[string]contract.Entry
	done     map[string]bool
	changed  chan struct{} // closed at each change
}

// NewMirror makes an empty mirror.
func NewMirror() *Mirror {
	return &Mirror{entries: map[string]contract.Entry{}, done: map[string]bool{}, changed: make(chan struct{})}
}

// Configure implements contract.CacheSync.
func (m *Mirror) Configure(context.Context, contract.MirrorConfig) (contract.MirrorInfo, error) {
	return contract.MirrorInfo{Name: "fake", Version: "test", Address: "127.0.0.1:0"}, nil
}

// Lead implements contract.CacheSync.
func (m *Mirror) Lead(_ context.Context, term contract.Term) (contract.Lead, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if term.Less(m.position.Term) {
		return contract.Lead{}, fmt.Errorf("term %s is older than %s", term, m.position.Term)
	}
	m.position.Term, m.leading = term, true
	lead := contract.Lead{Sealed: m.position}
	for _, entry := range m.entries {
		lead.Entries = append(lead.Entries, entry)
	}
	m.changedLocked()
	return lead, nil
}

// Follow implements contract.CacheSync.
func (m *Mirror) Follow(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leading = false
	m.changedLocked()
	return nil
}

// Commit implements contract.CacheSync.
func (m *Mirror) Commit(term contract.Term, op contract.Op, quiet bool, settle func(contract.CommitResult, error)) {
	result, err := m.apply(term, op)
	if settle != nil && (!quiet || result != contract.Committed) {
		settle(result, err)
	}
}

func (m *Mirror) apply(term contract.Term, op contract.Op) (contract.CommitResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	entry, known := m.entries[op.MessageID]
	switch {
	case !m.leading || term != m.position.Term:
		return contract.NotLeading, nil
	case op.Kind == contract.OpReceived && m.done[op.MessageID]:
		return contract.DoneBefore, nil
	case op.Kind != contract.OpReceived && !known:
		return contract.Invalid, errors.New("message " + op.MessageID + " is not in flight")
	}
	m.position.Index++
	entry.Position, entry.Changed = m.position, op.Time
	if op.Payload != nil {
		entry.Payload = op.Payload
	}
	switch op.Kind {
	case contract.OpReceived:
		entry.MessageID, entry.WorkflowID, entry.Received = op.MessageID, op.WorkflowID, op.Time
		entry.State = contract.EntryReceived
	case contract.OpStepped:
		entry.Step = op.Step
	case contract.OpProducing:
		entry.State, entry.PossibleDuplicate = contract.EntryProducing, true
	case contract.OpHeld:
		entry.State, entry.Reason = contract.EntryHeld, op.Reason
	case contract.OpDone:
		m.done[op.MessageID] = true
	}
	m.entries[op.MessageID] = entry
	if op.Kind == contract.OpDone || op.Kind == contract.OpReleased {
		delete(m.entries, op.MessageID)
	}
	m.changedLocked()
	return contract.Committed, nil
}

func (m *Mirror) changedLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *Mirror) stateLocked() contract.MirrorState {
	return contract.MirrorState{Position: m.position, InSync: true, Leading: m.leading}
}

// Watch implements contract.CacheSync.
func (m *Mirror) Watch(ctx context.Context, changed func(contract.MirrorState)) error {
	for {
		m.mu.Lock()
		state, next := m.stateLocked(), m.changed
		m.mu.Unlock()
		changed(state)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-next:
		}
	}
}

// Status implements contract.CacheSync.
func (m *Mirror) Status(context.Context) (contract.MirrorStatus, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return contract.MirrorStatus{
		NodeID: "fake", Address: "127.0.0.1:0", State: m.stateLocked(),
		Entries: uint64(len(m.entries)), DedupeIDs: uint64(len(m.done)),
	}, nil
}

// Shutdown implements contract.CacheSync.
func (m *Mirror) Shutdown(context.Context) error { return nil }
