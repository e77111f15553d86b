package cachesync

import "sync"

// settlement is an answer that has to be given.
type settlement struct {
	settle Settle
	result Result
	err    error
}

func (a settlement) give() { a.settle(a.result, a.err) }

// settler calls the callbacks of commits, in order and in a goroutine of its own: a slow one must not keep a
// standby's acknowledgements from being read.
type settler struct {
	mu       sync.Mutex // guards what follows
	due      []settlement
	stopping bool
	ended    bool
	wake     *sync.Cond // on mu
}

func newSettler() *settler {
	s := &settler{}
	s.wake = sync.NewCond(&s.mu)
	return s
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
	s.wake.Signal()
	return true
}

// run settles until stop, and then what is left.
func (s *settler) run() {
	var batch []settlement
	for {
		s.mu.Lock()
		for len(s.due) == 0 && !s.stopping {
			s.wake.Wait()
		}
		if s.ended = len(s.due) == 0; s.ended {
			s.mu.Unlock()
			return
		}
		batch, s.due = s.due, batch[:0]
		s.mu.Unlock()
		for i := range batch {
			batch[i].give()
		}
		clear(batch)
	}
}

// stop lets run return when everything is settled.
func (s *settler) stop() {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	s.wake.Signal()
}
