package rules_test

import (
	"flag"
	"strings"
	"testing"
	"time"
)

var (
	simSeed      = flag.Uint64("sim.seed", 0, "run only this schedule of the simulation, with a trace")
	simSchedules = flag.Int("sim.schedules", 400, "how many schedules to run")
)

// settling is how long a cluster of n members may need when the last fault is over: a Java member that has exited comes
// back after 10 s, one that has resigned or could not save its term waits for a timeout and two polls, a timeout passes
// until a lost primary or an old place is noticed, then one place is gained per poll.
func settling(n int) time.Duration {
	return 10*time.Second + 3*timeout + time.Duration(n+6)*5*time.Second
}

// TestSimulation runs schedules of faults over clusters of 1 to 5 members of both kinds. All the time it holds: no term
// is led in twice, none that is not on disk; ours is never promoted within the timeout of a primary's ping that it has
// received; on a network that loses nothing nobody is promoted while the host of one of ours works. When the faults
// are over, one primary is left, and all places are different.
func TestSimulation(t *testing.T) {
	t.Parallel()
	if *simSeed != 0 {
		reportFaults(t, *simSeed, simulate(*simSeed, sound, t.Logf))
		return
	}
	for seed := uint64(1); seed <= uint64(*simSchedules) && !t.Failed(); seed++ {
		reportFaults(t, seed, simulate(seed, sound, nil))
	}
}

func reportFaults(t *testing.T, seed uint64, faults []string) {
	t.Helper()
	if len(faults) > 0 {
		t.Errorf("seed %d (run again with -sim.seed=%d -v):\n%s", seed, seed, strings.Join(faults, "\n"))
	}
}

func simulate(seed uint64, broken mutation, trace func(string, ...any)) []string {
	w := newWorld(seed, trace)
	w.mutation = broken
	count := 1 + w.random.IntN(5)
	positioned := w.random.IntN(2) == 0
	for i := range count {
		position := 0
		if positioned || w.random.IntN(3) == 0 {
			position = 1 + w.random.IntN(count)
		}
		if positioned {
			position = i + 1
		}
		w.add(w.random.IntN(2) == 0, position)
		w.run(time.Duration(w.random.Int64N(int64(8 * time.Second))))
	}
	// Half of the schedules keep the network whole: then more must hold.
	whole := w.random.IntN(2) == 0
	if !whole && w.random.IntN(3) == 0 {
		w.loss, w.lossy = 0.3*w.random.Float64(), true
	}
	for range 3 + w.random.IntN(5) {
		w.disturb(whole)
		w.run(time.Duration(w.random.Int64N(int64(40 * time.Second))))
	}
	w.repair()
	w.run(settling(count))
	w.settled()
	return w.faults
}

// disturb makes one fault.
func (w *world) disturb(whole bool) {
	n := w.nodes[w.random.IntN(len(w.nodes))]
	length := time.Duration(w.random.Int64N(int64(45 * time.Second)))
	kinds := 8
	if whole {
		kinds = 5
	}
	switch w.random.IntN(kinds) {
	case 0:
		w.crash(n, length)
	case 1:
		if leaders := w.primaries(); len(leaders) > 0 {
			w.crash(leaders[0], length)
		}
	case 2:
		if n.ours && !n.down {
			w.trace("%v %s freezes for %v", w.now, n.name, length)
			n.frozen = w.now + length
		}
	case 3:
		if n.ours && !n.down {
			w.trace("%v the host of %s freezes for %v", w.now, n.name, length)
			n.hostFrozen = w.now + length
		}
	case 4:
		if n.ours {
			n.able = !n.able
			w.trace("%v %s can lead: %v", w.now, n.name, n.able)
		}
	case 5:
		other := w.nodes[w.random.IntN(len(w.nodes))]
		w.trace("%v partition %s %s", w.now, n.name, other.name)
		w.partition(n, other)
	case 6:
		w.cutEver = true
		w.cut[[2]int{n.index, w.nodes[w.random.IntN(len(w.nodes))].index}] = true
	case 7:
		w.trace("%v heal", w.now)
		w.heal()
	}
}

// repair ends all faults.
func (w *world) repair() {
	w.trace("%v all faults end", w.now)
	w.heal()
	w.loss = 0
	for _, n := range w.nodes {
		n.able = true
		if !n.down {
			n.frozen, n.hostFrozen = min(n.frozen, w.now), min(n.hostFrozen, w.now)
		} else if n.restart == never || n.restart > w.now {
			n.restart = w.now + 1
		}
	}
}

// TestMutations: the harness finds what it is there to find.
func TestMutations(t *testing.T) {
	t.Parallel()
	for _, broken := range []mutation{impatient, leaseTooLong, conflictIgnored, termForgotten} {
		t.Run(string(broken), func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= 500; seed++ {
				if len(simulate(seed, broken, nil)) > 0 {
					return
				}
			}
			t.Error("500 schedules found nothing")
		})
	}
}
