package adapter

import (
	"sync/atomic"
)

type counter = atomic.Uint64

// counters are what a workflow has counted since it was built.
type counters struct {
	received, resumed, produced, filtered, failed, duplicates, restarts counter
	inFlight, held, stored                                              atomic.Int64
	lastError                                                           atomic.Pointer[string]
	times                                                               timeSlices
}

func (c *counters) failure(err error) {
	text := err.Error()
	c.lastError.Store(&text)
}

// Status is how an adapter is, for people and metrics.
type Status struct {
	ID    string
	State State
	// Strays are held messages of workflows that this adapter file does not have.
	Strays    uint64
	Workflows []WorkflowStatus
}

// WorkflowStatus is how one workflow is. The counts begin with New.
type WorkflowStatus struct {
	ID, Channel string
	State       State
	// Received counts messages from the source, Resumed those that went on from the mirror.
	Received, Resumed uint64
	// Produced messages are with the receiver; Filtered ones were ended by a service; Failed ones failed at
	// least once, whatever became of them; Duplicates had been done before.
	Produced, Filtered, Failed, Duplicates uint64
	// InFlight is what is under way now, Held what waits for an operator.
	InFlight, Held uint64
	// Stored is what the failed-message store has of it.
	Stored uint64
	// Restarts is how often it was built anew because its consumer or producer failed.
	Restarts uint64
	// Slices are the figures of the last slices of time, the oldest first, if the workflow keeps them.
	Slices []Slice
	// LastError is the last thing that went wrong, "" if nothing has.
	LastError string
}

// Status may be called at any time.
func (a *Adapter) Status() Status {
	s := Status{ID: a.id, State: a.root.State(), Strays: a.strays.Load(), Workflows: []WorkflowStatus{}}
	for _, u := range a.units() {
		s.Workflows = append(s.Workflows, u.status())
	}
	return s
}

func (u *unit) status() WorkflowStatus {
	c := u.counters
	s := WorkflowStatus{
		ID: u.cfg.ID, Channel: u.shown.Load().channel, State: u.shownState(), Restarts: c.restarts.Load(),
		Received: c.received.Load(), Resumed: c.resumed.Load(), Produced: c.produced.Load(),
		Filtered: c.filtered.Load(), Failed: c.failed.Load(), Duplicates: c.duplicates.Load(),
		InFlight: uint64(max(0, c.inFlight.Load())), Held: uint64(max(0, c.held.Load())),
		Stored: uint64(max(0, c.stored.Load())), Slices: c.times.list(),
	}
	if text := c.lastError.Load(); text != nil {
		s.LastError = *text
	}
	return s
}

func (u *unit) shownState() State {
	if s := State(u.state.Load()); s != StateClosed {
		return s
	}
	return u.shown.Load().node.State()
}
