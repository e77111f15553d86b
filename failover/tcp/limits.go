package tcp

import "time"

// What others can cost this node.
const (
	// maxConfigured and maxLearned are how many peers there may be.
	maxConfigured = 64
	maxLearned    = 64
	// maxAccepted is how many connections others may have dialled, those of known hosts excepted; maxPerHost how many
	// from one host.
	maxAccepted = 256
	maxPerHost  = 32
	// maxClaims is how many of them are answered that say they come from the same node.
	maxClaims = 4
	// outboxDatagrams and outboxBytes are how much waits for one node before the oldest is dropped.
	outboxDatagrams = 256
	outboxBytes     = 1 << 20
	// maxSaid is how many lines a peer may cost in the log while it is not quiet.
	maxSaid = 4
	// queue is how many datagrams wait for the receiver before the connections are not read any more. They take turns, so
	// that one that floods does not push the others away.
	queue = 64
	// socketBuffer is what the system is asked to keep for a connection, in each direction; Linux takes twice that.
	socketBuffer = 64 << 10
)

// timing is how long things may take.
type timing struct {
	// lookup, dial and hello are for the steps of making a connection.
	lookup, dial, hello time.Duration
	// idle is after how long a sign of life is sent, silence how long there may be none, write how long sending may take.
	idle, silence, write time.Duration
	// firstPause to maxPause are between two attempts to connect; slowPause is the most for a node that never answered.
	firstPause, maxPause, slowPause time.Duration
	// stale is how old a datagram may be that still waits.
	stale time.Duration
	// quiet is how long a peer that comes and goes all the time is not logged, after maxSaid lines in that time.
	quiet time.Duration
	// drain is how long Close waits for what is under way.
	drain time.Duration
	// unanswered and gone are after how long a learned node is forgotten that has never been met, or once was.
	unanswered, gone time.Duration
}

func defaultTiming() timing {
	return timing{
		lookup: 3 * time.Second, dial: 3 * time.Second, hello: 3 * time.Second,
		idle: time.Second, silence: 3 * time.Second, write: 3 * time.Second,
		firstPause: 50 * time.Millisecond, maxPause: 2 * time.Second, slowPause: 10 * time.Second,
		stale: time.Second, quiet: time.Minute, drain: 250 * time.Millisecond,
		unanswered: time.Minute, gone: time.Hour,
	}
}
