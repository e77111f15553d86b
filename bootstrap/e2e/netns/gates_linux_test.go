package netns_test

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

const (
	// sampleEvery is the time between two questions to one node, sampleWithin how long an answer may take: a little more
	// than the node itself waits for its plugins.
	sampleEvery  = 5 * time.Millisecond
	sampleWithin = 1200 * time.Millisecond
)

// sample is what a node answered: the answer was true at some moment between sent and received. A node that does not
// answer does not run, or stands still: nothing passes its gate.
type sample struct {
	sent, received time.Time
	answered, open bool
	term           string
}

// answer is what a node said last, to a question of a moment; status is nil if it did not answer.
type answer struct {
	sent   time.Time
	status *controlv1.StatusResponse
}

// gates asks every node all the time, and keeps what it says of its gate.
type gates struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	samples map[string][]sample // guarded by mu; by node
	latest  map[string]answer   // guarded by mu
}

// watchGates asks until the test ends.
func watchGates(t *testing.T, nodes []*cluster.Node) *gates {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	g := &gates{cancel: cancel, samples: map[string][]sample{}, latest: map[string]answer{}}
	t.Cleanup(g.stop)
	for _, node := range nodes {
		control, err := node.Control()
		if err != nil {
			t.Fatal(err)
		}
		g.done.Go(func() {
			defer control.Close()
			g.watch(ctx, node.ID, control)
		})
	}
	return g
}

func (g *gates) stop() {
	g.cancel()
	g.done.Wait()
}

func (g *gates) watch(ctx context.Context, id string, control *cluster.Control) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		g.ask(ctx, id, control)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (g *gates) ask(ctx context.Context, id string, control *cluster.Control) {
	ctx, cancel := context.WithTimeout(ctx, sampleWithin)
	defer cancel()
	s := sample{sent: time.Now()}
	status, err := control.Status(ctx)
	s.received = time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.latest[id] = answer{sent: s.sent}
	if err == nil {
		g.latest[id] = answer{sent: s.sent, status: status}
		s.answered, s.open, s.term = true, status.GetGateOpen(), status.GetTerm().String()
	}
	g.samples[id] = append(g.samples[id], s)
}

// status is what the node said last; nil if it does not answer.
func (g *gates) status(id string) *controlv1.StatusResponse {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.latest[id].status
}

// statusSince is the same, of a question that was asked after a moment.
func (g *gates) statusSince(id string, from time.Time) *controlv1.StatusResponse {
	g.mu.Lock()
	defer g.mu.Unlock()
	if a := g.latest[id]; a.sent.After(from) {
		return a.status
	}
	return nil
}

// since returns the answers to questions that were asked from a moment on.
func (g *gates) since(from time.Time) map[string][]sample {
	g.mu.Lock()
	defer g.mu.Unlock()
	recent := map[string][]sample{}
	for id, samples := range g.samples {
		first, _ := slices.BinarySearchFunc(samples, from, func(s sample, t time.Time) int { return s.sent.Compare(t) })
		recent[id] = slices.Clone(samples[first:])
	}
	return recent
}

// span is a time during which a node's gate was open for certain: from an answer that says so to the question that
// was answered so last. So it is never too long, and two spans of two nodes that overlap are two open gates.
type span struct {
	node     string
	from, to time.Time
}

// spans works out when gates were open.
func spans(samples map[string][]sample) []span {
	var all []span
	for _, id := range slices.Sorted(maps.Keys(samples)) {
		var open *span
		var last sample
		for _, s := range samples[id] {
			switch {
			case open != nil && s.open && s.term == last.term:
				open.to = s.sent
			case s.open:
				all = append(all, span{node: id, from: s.received, to: s.received})
				open = &all[len(all)-1]
			default:
				open = nil
			}
			last = s
		}
	}
	slices.SortStableFunc(all, func(a, b span) int { return a.from.Compare(b.from) })
	return all
}

// overlap returns how many of the gates were open at one time at most, and for how long more than one was. A span that
// is one answer proves nothing.
func overlap(all []span) (most int, twice time.Duration) {
	type edge struct {
		at   time.Time
		step int
	}
	var edges []edge
	for _, s := range all {
		if s.to.After(s.from) {
			edges = append(edges, edge{s.from, 1}, edge{s.to, -1})
		}
	}
	// What ends at the moment when another begins does not overlap it.
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(a.at.Compare(b.at), a.step-b.step) })
	open := 0
	for i, e := range edges {
		if open > 1 {
			twice += e.at.Sub(edges[i-1].at)
		}
		open += e.step
		most = max(most, open)
	}
	return most, twice
}

// shut returns the longest time during which no gate was known to be open, between the first and the last span. It is
// too long by up to two questions.
func shut(all []span) time.Duration {
	var longest time.Duration
	var until time.Time
	for _, s := range all {
		if !until.IsZero() {
			longest = max(longest, s.from.Sub(until))
		}
		if s.to.After(until) {
			until = s.to
		}
	}
	return longest
}

var errNotSettled = errors.New("the nodes do not agree on one master yet")

// settled returns the master if exactly one of the running nodes leads, all others follow it, and it has them all,
// but for so many witnesses, as standbys in sync. What was said before a moment does not count.
func (g *gates) settled(nodes []*cluster.Node, witnesses int, from time.Time) (*cluster.Node, error) {
	var master *cluster.Node
	running, follow := 0, map[string]int{}
	for _, node := range nodes {
		if !node.Running() {
			continue
		}
		running++
		s := g.statusSince(node.ID, from)
		switch {
		case s == nil:
			return nil, errors.New(node.ID + " does not answer")
		case cluster.Leads(s) && master != nil:
			return nil, errors.New(master.ID + " and " + node.ID + " both lead")
		case cluster.Leads(s):
			master = node
		default:
			follow[s.GetMasterId()]++
		}
	}
	if master == nil || follow[master.ID] != running-1 {
		return nil, errNotSettled
	}
	if n := g.statusSince(master.ID, from).GetMirror().GetState().GetInSyncStandbys(); int(n) != running-1-witnesses {
		return nil, errors.New("not every mirror is in sync")
	}
	return master, nil
}
