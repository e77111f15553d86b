package cachesync

import "sync"

// settlement is an answer that has to be given.
type settlement struct {
	settle Settle
	result Result
	err    error
}

func (a settlement) give() { a.settle(a.result, a.err) }

// settler calls the callbacks of commits, in order, one at a time, and never with a lock of the Replicator held. It
// has a goroutine of its own, and whoever has just made answers due and holds no lock can help: that spares a switch
// between goroutines.
type settler struct {
	mu       sync.Mutex // guards what follows
	due      []settlement
	spare    []settlement // the memory of the last batch
	giving   bool         // somebody calls callbacks
	held     bool         // who adds answers is going to help
	stopping bool
	ended    bool
	wake     *sync.Cond // on mu
}

func newSettler() *settler {
	s := &settler{}
	s.wake = sync.NewCond(&s.mu)
	return s
}

// hold says that whoever adds answers up to unhold calls help afterwards. Both are called with the Replicator's lock
// held.
func (s *settler) hold()   { s.setHeld(true) }
func (s *settler) unhold() { s.setHeld(false) }

func (s *settler) setHeld(held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = held
}

// add takes over an answer; it returns false if the settler has ended.
func (s *settler) add(a settlement) bool {
	if a.settle == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.due = append(s.due, a)
	if !s.held {
		s.wake.Signal()
	}
	return true
}

// help gives what is due, unless somebody else is at it.
func (s *settler) help() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveLocked()
}

// giveLocked gives what is due, with the lock released meanwhile.
func (s *settler) giveLocked() {
	if s.giving {
		return // who gives looks again afterwards
	}
	s.giving = true
	for len(s.due) > 0 {
		batch := s.due
		s.due, s.spare = s.spare[:0], nil
		s.mu.Unlock()
		for i := range batch {
			batch[i].give()
		}
		clear(batch)
		s.mu.Lock()
		s.spare = batch[:0]
	}
	s.giving = false
	if s.stopping {
		s.wake.Signal()
	}
}

// run settles until stop, and then what is left.
func (s *settler) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for s.giving || len(s.due) == 0 && !s.stopping {
			s.wake.Wait()
		}
		if s.ended = len(s.due) == 0; s.ended {
			return
		}
		s.giveLocked()
	}
}

// stop lets run return when everything is settled.
func (s *settler) stop() {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	s.wake.Signal()
}
