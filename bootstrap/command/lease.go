package command

import (
	"fmt"
	"math"
	"time"
)

// Lease is a mastership as the host knows it: until when it is valid, by the host's clock, and a channel that is
// closed when that changes. It is read from several goroutines.
type Lease interface {
	Until() (until time.Duration, renewed <-chan struct{})
}

// forever is the end of a mastership that nobody can take away: that of a node without an election.
const forever = time.Duration(math.MaxInt64)

// The lease is renewed with each heartbeat that arrives. lateBeats of them may be late or lost before the program is
// stopped: with fewer, one lost datagram would stop it.
const lateBeats = 2

// killMargin is the time before the end of the lease at which the program is killed: for the kernel to end all of its
// processes, and for what the clocks of two machines may differ by in one lease, 1 % each.
func killMargin(lease time.Duration) time.Duration {
	return 100*time.Millisecond + lease/50
}

// most is how long a program may take to end, if the lease is renewed every beat; and what is kept for the kill.
func most(lease, beat time.Duration) (stop, margin time.Duration) {
	margin = killMargin(lease)
	return lease - lateBeats*beat - margin, margin
}

// Fit checks that a program which may take stop to end can be stopped within the lease of a cluster whose master
// counts as gone after retries heartbeats of delay that did not come. The error has the numbers.
func Fit(stop, delay time.Duration, retries int) error {
	lease := time.Duration(retries) * delay
	most, margin := most(lease, delay)
	if stop <= most {
		return nil
	}
	remedy := fmt.Sprintf("want at most %s, or a longer failover.delay or more failover.retries", most)
	if most <= 0 {
		remedy = "nothing is left: a longer failover.delay or more failover.retries are needed"
	}
	return fmt.Errorf("workload.stop.timeout=%s does not fit into the lease: failover.delay %s x failover.retries %d = %s, "+
		"less %s for %d late heartbeats, less %s for the kill and the drift of the clocks, leaves %s; %s",
		stop, delay, retries, lease, lateBeats*delay, lateBeats, margin, max(most, 0), remedy)
}

// FitPings is Fit for a member of an Interlok cluster, which pings every interval and may work for a lease after each. The
// error has the numbers.
func FitPings(stop, interval, lease time.Duration) error {
	most, margin := most(lease, interval)
	if stop <= most {
		return nil
	}
	return fmt.Errorf("workload.stop.timeout=%s does not fit into the lease of %s that failover.ping.interval.seconds and "+
		"failover.instance.timeout.seconds leave: less %s for %d late pings, less %s for the kill and the drift of the clocks, leaves %s; "+
		"want less, or, on all members, pings that come more often",
		stop, lease, lateBeats*interval, lateBeats, margin, max(most, 0))
}
