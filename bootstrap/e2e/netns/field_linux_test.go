package netns_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// The election's times in these tests: short ones, and a silence long enough for a machine that is busy.
const (
	delay   = 200 * time.Millisecond
	retries = 5
	silence = delay * retries
)

// field is a stage under observation: every gate is watched, and files are fed all the time.
type field struct {
	*stage
	gates     *gates
	journals  *cluster.Journals
	witnesses int

	writes []written
	end    context.CancelFunc
	fed    chan error
}

// newField starts so many nodes, with a quorum of members if that is not 0.
func newField(t *testing.T, nodes, members int) *field {
	t.Helper()
	s := layOut(t, nodes, timing(members))
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return observe(t, s)
}

// timing are the properties of a field.
func timing(members int) map[string]string {
	properties := map[string]string{
		"failover.delay":   strconv.FormatInt(delay.Milliseconds(), 10),
		"failover.retries": strconv.Itoa(retries),
	}
	if members > 0 {
		properties["failover.members"] = strconv.Itoa(members)
	}
	return properties
}

func observe(t *testing.T, s *stage) *field {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &field{stage: s, gates: watchGates(t, s.Nodes), journals: s.Journals(), end: cancel, fed: make(chan error, 1)}
	go func() {
		defer close(f.fed)
		f.fed <- f.flow(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		// Its error was taken by finish; a test that has failed before that has another.
		for range f.fed {
		}
	})
	return f
}

// flow feeds a file every now and then until ctx ends. The wanted digests are its own before it has returned.
func (f *field) flow(ctx context.Context) error {
	ticker := time.NewTicker(15 * time.Millisecond)
	defer ticker.Stop()
	for i := 0; ; i++ {
		name := fmt.Sprintf("flow-%06d", i)
		content := []byte(strings.Repeat(name+"\n", 50))
		sum := sha256.Sum256(content)
		f.want[name] = hex.EncodeToString(sum[:])
		if err := f.Feed(name, content); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// settled waits until there is one master, with everybody else behind it, and a file has come out in its term.
func (f *field) settled() *cluster.Node {
	f.t.Helper()
	var master *cluster.Node
	now := time.Now()
	f.eventually("the nodes agree on one master", func() (err error) {
		master, err = f.gates.settled(f.Nodes, f.witnesses, now)
		return err
	})
	f.eventually(master.ID+" writes", func() error {
		f.read()
		for _, w := range slices.Backward(f.writes) {
			if w.Node == master.ID && w.named.After(now) {
				return nil
			}
		}
		return errors.New("it has not")
	})
	return master
}

// leads waits until one of the nodes leads.
func (f *field) leads(nodes []*cluster.Node) *cluster.Node {
	f.t.Helper()
	var leader *cluster.Node
	f.eventually("one of them leads", func() error {
		for _, node := range nodes {
			if s := f.gates.status(node.ID); s != nil && cluster.Leads(s) {
				leader = node
				return nil
			}
		}
		return errNotSettled
	})
	return leader
}

// read takes what has been written since.
func (f *field) read() {
	f.t.Helper()
	fresh, err := f.journals.Next()
	if err != nil {
		f.t.Fatal(err)
	}
	writes, err := dated(fresh)
	if err != nil {
		f.t.Fatal(err)
	}
	f.writes = append(f.writes, writes...)
}

// slow says in the log which answers since a moment took long: what happened to a gate meanwhile is known less well.
func (f *field) slow(from time.Time) {
	f.t.Helper()
	for id, samples := range f.gates.since(from) {
		for _, s := range samples {
			if took := s.received.Sub(s.sent); took > delay {
				f.t.Logf("%s took %v to say how it is, %v after the fault; answered: %v, gate open: %v", id, took, s.sent.Sub(from), s.answered, s.open)
			}
		}
	}
}

// fenced is how many masters the output folder has told so far that a later one has written there.
func (f *field) fenced() int {
	count := 0
	for _, node := range f.Nodes {
		for _, line := range node.Log.Lines(0) {
			if line.Msg == "demoted: the work is stopped" && strings.Contains(line.Raw, "a receiver has heard of a newer master") {
				count++
			}
		}
	}
	return count
}

// finish ends the flow, waits for the last file, stops everybody, counts, and looks at the order of the terms.
func (f *field) finish() {
	f.t.Helper()
	f.end()
	if err := <-f.fed; err != nil {
		f.t.Fatal(err)
	}
	f.gates.stop()
	f.stage.end()
	f.read()
	o := orderOf(f.writes)
	f.t.Logf("%d writes in the terms %v; noted after the first write of a later term, but made before it: %d", len(f.writes), o.terms, len(o.noted))
	for _, w := range o.after {
		f.t.Errorf("%s has written %s in term %s at %v, after the first write of a later term", w.Node, w.File, w.Term, w.named)
	}
	late := map[string]int{}
	for _, w := range o.noted {
		late[w.Term]++
	}
	for term, n := range late {
		if n > pool {
			f.t.Errorf("term %s has noted %d writes after the first one of a later term, and %d can have been under way", term, n, pool)
		}
	}
}

// pool is how many messages of a master are under way at once, as the adapter file of package cluster has it.
const pool = 4
