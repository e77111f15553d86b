package folder

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
)

// wipSuffix is on the names of files that are being worked on.
const wipSuffix = ".wip"

// The pauses before a file that was given back is delivered again: each twice the one before.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 30 * time.Second
)

// state is what is the matter with a file that is not simply waiting to be taken.
type state uint8

const (
	// inFlight: delivered, and not settled.
	inFlight state = iota + 1
	// paused: not to be taken before a time.
	paused
	// settling: changed lately.
	settling
	// refused: reported, and not looked at again until it changes.
	refused
)

// file is what the scan remembers of a name. It is forgotten when the file has gone.
type file struct {
	state state
	// wip: it lies under its .wip name, and is ours.
	wip bool
	// seen is how it looked when it was found settling or refused, since when.
	seen  info
	since time.Time
	// until is when a pause ends, failures how often it was given back in a row.
	until    time.Time
	failures int
	// told: the reason for the pause was logged.
	told bool
	// listing is the last one that it was in.
	listing uint64
}

// scan is a consumer between Open and Close. next is called from one goroutine, settle from any.
type scan struct {
	config    ConsumerConfig
	rescanned chan struct{}
	// watch is nil if nobody tells of new files.
	watch *watch
	// wake interrupts the wait for the next poll.
	wake chan struct{}

	// Only next's goroutine uses these.
	queue    []string // names of the last listing that were not looked at
	worked   bool     // the last listing had something to deliver
	due      time.Time
	trouble  string // what the last listing failed with
	listings uint64
	// subTrouble is what the listing of sub-folders failed with; strangers are .wip files of nobody in this process.
	subTrouble map[string]string
	strangers  map[string]stranger

	mu      sync.Mutex
	files   map[string]*file    // guarded by mu
	waiting map[string]struct{} // guarded by mu: names of the first listing that rescanned waits for; then nil
	skipped uint64              // guarded by mu: files refused so far
}

// stranger is a .wip file that may be somebody's, or nobody's.
type stranger struct {
	seen    info
	since   time.Time
	listing uint64
}

func newScan(config ConsumerConfig) *scan {
	return &scan{
		config: config, rescanned: make(chan struct{}), wake: make(chan struct{}, 1), files: map[string]*file{},
		strangers: map[string]stranger{},
	}
}

func (s *scan) path(name string, wip bool) string {
	if wip {
		name += wipSuffix
	}
	return filepath.Join(s.config.Directory, name)
}

// next waits for a file that can be delivered. A listing is worked through before the next is made, which
// happens at once while there is work, else after the poll interval.
func (s *scan) next(ctx context.Context) (*adapter.Delivery, error) {
	for {
		for len(s.queue) > 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			name := s.queue[0]
			s.queue = s.queue[1:]
			if delivery := s.offer(name); delivery != nil {
				s.worked = true
				return delivery, nil
			}
		}
		if !s.worked {
			if err := s.wait(ctx); err != nil {
				return nil, err
			}
		}
		s.worked = false
		if err := s.list(); err != nil {
			s.report(err)
		} else if s.trouble != "" {
			s.trouble = ""
			s.config.Logger.Info("folder can be listed again", "path", s.config.Directory)
		}
	}
}

// report logs a failed listing once, not with every poll.
func (s *scan) report(err error) {
	if err.Error() != s.trouble {
		s.trouble = err.Error()
		s.config.Logger.Error("folder cannot be listed, and is tried again", "path", s.config.Directory, "error", err)
	}
}

// wait returns when the next poll is due, or the pause of a file has ended.
func (s *scan) wait(ctx context.Context) error {
	for {
		s.mu.Lock()
		until := s.due
		for _, f := range s.files {
			if f.state == paused && f.until.Before(until) {
				until = f.until
			}
			if quiet := f.since.Add(s.config.Quiet); f.state == settling && quiet.Before(until) {
				until = quiet
			}
		}
		s.mu.Unlock()
		pause := time.Until(until)
		if pause <= 0 {
			return ctx.Err()
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
			return nil
		case <-s.watch.told():
			timer.Stop()
			return nil
		case <-s.wake:
			timer.Stop()
		}
	}
}

// list fills the queue: what is taken up first, then the others in their order.
func (s *scan) list() error {
	s.due = time.Now().Add(s.config.Poll)
	entries, err := s.walk()
	if err != nil {
		return err
	}
	s.listings++
	takenUp, names := s.sort(entries)
	s.inOrder(names)
	s.queue = slices.Concat(takenUp, names)
	if s.listings > 1 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = make(map[string]struct{}, len(s.queue))
	for _, name := range s.queue {
		s.waiting[name] = struct{}{}
	}
	s.doneLocked("")
	return nil
}

// sort tells the files that lie under their .wip names, and are ours, from the others, and forgets files that
// have gone.
func (s *scan) sort(entries []string) (takenUp, names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, entry := range entries {
		name, wip := strings.CutSuffix(entry, wipSuffix)
		if !s.wanted(name) {
			continue
		}
		known := s.files[name]
		switch {
		case wip && (known == nil || !known.wip) && s.abandoned(name):
			known = &file{state: paused, wip: true}
			s.files[name] = known
			s.config.Claims.take(s.path(name, true), s)
		case wip && (known == nil || !known.wip):
			continue // somebody else is working on it
		case !wip && known != nil && known.wip:
			continue // its turn comes when the one before it is settled
		}
		if known != nil {
			known.listing = s.listings
		}
		if wip {
			takenUp = append(takenUp, name)
		} else {
			names = append(names, name)
		}
	}
	for name, known := range s.files {
		if known.state != inFlight && known.listing != s.listings {
			s.forgetLocked(name)
		}
	}
	for name, found := range s.strangers {
		if found.listing != s.listings {
			delete(s.strangers, name)
		}
	}
	return takenUp, names
}

// abandoned says whether a .wip file that is not ours was left by a process that is no more: every one that lies there
// when the consumer is opened, and later one that has not changed for long. It can still come then: from a master whose
// last step was to take it, just after the first listing of the next one.
func (s *scan) abandoned(name string) bool {
	path := s.path(name, true)
	if s.config.Claims.taken(path, s) {
		return false
	}
	if s.listings == 1 {
		return true
	}
	if s.config.OrphanAfter <= 0 {
		return false
	}
	found, err := look(path)
	if err != nil {
		return false
	}
	known, was := s.strangers[name]
	if !was || known.seen != found {
		known = stranger{seen: found, since: time.Now()}
	}
	known.listing = s.listings
	s.strangers[name] = known
	if time.Since(known.since) < s.config.OrphanAfter {
		return false
	}
	delete(s.strangers, name)
	s.config.Logger.Warn("file is taken up: nobody has finished it for long", "path", path, "orphan-after", s.config.OrphanAfter)
	return true
}

// wanted says whether a name, without .wip, is one of ours by the filter. Hidden files never are.
func (s *scan) wanted(name string) bool {
	base := filepath.Base(name)
	return name != "" && base[0] != '.' && !strings.HasSuffix(name, string(filepath.Separator)) && s.config.Filter.matches(name)
}

// inOrder sorts names, which come sorted by name.
func (s *scan) inOrder(names []string) {
	if s.config.Order == OrderTime || s.config.Order == OrderSize {
		keys := make(map[string]int64, len(names))
		for _, name := range names {
			found, err := look(s.path(name, false))
			switch {
			case err != nil:
			case s.config.Order == OrderTime:
				keys[name] = found.modified
			default:
				keys[name] = found.size
			}
		}
		slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(keys[a], keys[b]) })
	}
	if s.config.Descending {
		slices.Reverse(names)
	}
}

// known returns a copy of what is remembered of a name.
func (s *scan) known(name string) file {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.files[name]; f != nil {
		return *f
	}
	return file{}
}

// update changes what is remembered of a name, with mu held.
func (s *scan) update(name string, change func(*file)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[name]
	if f == nil {
		f = &file{}
		s.files[name] = f
	}
	change(f)
}

// pauseLocked keeps a file back for a while, so that it does not hold up others.
func (s *scan) pauseLocked(f *file) {
	pause := lastPause
	if doublings := max(0, f.failures-1); doublings < 9 {
		pause = min(lastPause, firstPause<<doublings)
	}
	f.state, f.until = paused, time.Now().Add(pause)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// forget is for a file that has gone.
func (s *scan) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLocked(name)
}

func (s *scan) forgetLocked(name string) {
	if f := s.files[name]; f != nil && f.wip {
		s.config.Claims.leave(s.path(name, true), s)
	}
	delete(s.files, name)
	s.doneLocked(name)
}

// done notes that rescanned need not wait for name, if it ever did.
func (s *scan) done(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doneLocked(name)
}

func (s *scan) doneLocked(name string) {
	if s.waiting == nil {
		return
	}
	delete(s.waiting, name)
	if len(s.waiting) == 0 {
		s.waiting = nil
		close(s.rescanned)
	}
}
