package netns_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// tick is by how much the time that a file system gives a file may be behind: it takes the clock of the last timer
// interrupt, which is 10 ms old at most.
const tick = 10 * time.Millisecond

// written is a line of a journal with the two times of the write: line is when the producer noted it, which may be any
// time after the file had its name; named is when the kernel gave it that name.
type written struct {
	cluster.Write
	named time.Time
}

// dated looks up when the files of the writes got their names.
func dated(writes []cluster.Write) ([]written, error) {
	all := make([]written, 0, len(writes))
	for _, w := range writes {
		info, err := os.Stat(w.File)
		if err != nil {
			return nil, fmt.Errorf("a file that %s has written: %w", w.Node, err)
		}
		changed := info.Sys().(*syscall.Stat_t).Ctim
		all = append(all, written{Write: w, named: time.Unix(changed.Unix())})
	}
	return all, nil
}

// compareTerms orders terms as the journal has them, number:node.
func compareTerms(a, b string) int {
	number := func(term string) (uint64, string) {
		text, node, _ := strings.Cut(term, ":")
		n, _ := strconv.ParseUint(text, 10, 64)
		return n, node
	}
	an, anode := number(a)
	bn, bnode := number(b)
	switch {
	case an < bn:
		return -1
	case an > bn:
		return 1
	}
	return strings.Compare(anode, bnode)
}

// order is what the journals say about the order of the terms.
type order struct {
	terms []string
	// after are writes that the kernel made for a term when a higher one had written already; there must be none.
	after []written
	// noted are writes that were made before that, and noted in the journal after it: they were under way.
	noted []written
}

// orderOf checks that no term has written after the first write of a higher one.
func orderOf(writes []written) order {
	first, firstLine := map[string]time.Time{}, map[string]time.Time{}
	earliest := func(times map[string]time.Time, term string, at time.Time) {
		if old, known := times[term]; !known || at.Before(old) {
			times[term] = at
		}
	}
	var o order
	for _, w := range writes {
		if !slices.Contains(o.terms, w.Term) {
			o.terms = append(o.terms, w.Term)
		}
		earliest(first, w.Term, w.named)
		earliest(firstLine, w.Term, w.Time())
	}
	slices.SortFunc(o.terms, compareTerms)
	for _, w := range writes {
		for _, higher := range o.terms {
			if compareTerms(higher, w.Term) <= 0 {
				continue
			}
			if w.named.After(first[higher].Add(tick)) {
				o.after = append(o.after, w)
				break
			}
			if w.Time().After(firstLine[higher]) {
				o.noted = append(o.noted, w)
				break
			}
		}
	}
	return o
}

// pause is the longest time between two files of which the second came out between two moments.
func pause(writes []written, from, to time.Time) time.Duration {
	times := make([]time.Time, len(writes))
	for i, w := range writes {
		times[i] = w.named
	}
	slices.SortFunc(times, time.Time.Compare)
	var longest time.Duration
	for i := 1; i < len(times); i++ {
		if times[i].After(from) && times[i].Before(to) {
			longest = max(longest, times[i].Sub(times[i-1]))
		}
	}
	return longest
}
