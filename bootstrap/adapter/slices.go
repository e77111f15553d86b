package adapter

import (
	"sync"
	"time"
)

// Slice has the figures of the messages that came to an end in a slice of time.
type Slice struct {
	Start time.Time
	// Messages came to an end, whatever it was; Failed ones failed at least once. Bytes is what they had as they are
	// mirrored.
	Messages, Failed, Bytes uint64
	// Total and Longest are times from the reception to the end.
	Total, Longest time.Duration
}

// timeSlices keeps the last ones. The zero value keeps none, and costs a comparison.
type timeSlices struct {
	mu sync.Mutex
	// config is set before the first message of a workflow that was built with it. Guarded by mu.
	config MetricsConfig
	ring   []Slice // guarded by mu; the newest last
}

func (s *timeSlices) configure(config MetricsConfig) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config != config {
		s.config, s.ring = config, nil
	}
}

// add notes a message that began at a time and has ended now.
func (s *timeSlices) add(m *message, began time.Time) {
	now := time.Now()
	took := now.Sub(began)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config.Slices == 0 {
		return
	}
	start := now.Truncate(s.config.Slice)
	if n := len(s.ring); n == 0 || s.ring[n-1].Start.Before(start) {
		if n >= s.config.Slices {
			s.ring = append(s.ring[:0], s.ring[n-s.config.Slices+1:]...)
		}
		s.ring = append(s.ring, Slice{Start: start})
	}
	slice := &s.ring[len(s.ring)-1]
	slice.Messages++
	slice.Bytes += uint64(max(len(m.original), len(m.payload)))
	if m.failed {
		slice.Failed++
	}
	slice.Total += took
	slice.Longest = max(slice.Longest, took)
}

// list returns a copy; slices of time without a message are not there.
func (s *timeSlices) list() []Slice {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Slice(nil), s.ring...)
}
