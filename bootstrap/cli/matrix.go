package cli

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

// hearing is who hears whom: for each node, how long ago it last heard each of the others, in nanoseconds. The row of a
// node that is not heard here is nil.
type hearing map[string]map[string]int64

// hearingOf is what this node knows: its own row from what it hears itself, the others' as they have told it.
func hearingOf(s *controlv1.StatusResponse) hearing {
	h := hearing{s.NodeId: {}}
	for _, p := range s.GetElection().GetPeers() {
		if !fresh(p.AgeNanos, s.PatienceNanos) {
			h[p.NodeId] = nil // what it hears now nobody knows here
			continue
		}
		h[s.NodeId][p.NodeId] = p.AgeNanos
		row := map[string]int64{}
		for _, heard := range p.Hears {
			// What it said is as old as it is itself.
			if total := heard.AgeNanos + p.AgeNanos; fresh(total, s.PatienceNanos) {
				row[heard.NodeId] = total
			}
		}
		h[p.NodeId] = row
	}
	return h
}

// fresh: a node that was silent for longer counts as not heard.
func fresh(nanos, patience int64) bool { return patience <= 0 || nanos <= patience }

func (h hearing) nodes() []string {
	var ids []string
	for id, row := range h {
		ids = append(ids, id)
		for other := range row {
			ids = append(ids, other)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// oneWay: a hears b, but b does not hear a.
func (h hearing) oneWay(a, b string) bool {
	_, heard := h[a][b]
	_, back := h[b][a]
	return heard && !back && h[b] != nil
}

// printMatrix shows who hears whom: the row hears the column.
func printMatrix(w io.Writer, s *controlv1.StatusResponse) {
	if len(s.GetElection().GetPeers()) == 0 {
		return
	}
	h := hearingOf(s)
	ids := h.nodes()
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "\nHEARS")
	for _, id := range ids {
		fmt.Fprintf(t, "\t%s", id)
	}
	fmt.Fprintln(t)
	var oneWay []string
	for _, a := range ids {
		fmt.Fprint(t, a)
		for _, b := range ids {
			fmt.Fprintf(t, "\t%s", h.cell(a, b))
			if a != b && h.oneWay(a, b) {
				oneWay = append(oneWay, fmt.Sprintf("%s hears %s, but %s does not hear %s", a, b, b, a))
			}
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
	for _, line := range oneWay {
		fmt.Fprintf(w, "! one way: %s\n", line)
	}
}

func (h hearing) cell(a, b string) string {
	heard, ok := h[a][b]
	switch {
	case a == b:
		return "."
	case h[a] == nil:
		return "?"
	case !ok:
		return "-"
	case h.oneWay(a, b):
		return age(heard) + " !"
	}
	return age(heard)
}
