package interlok

import "github.com/understudy-ha/understudy/failover/interlok/rules"

// report logs what the machine has to say, in the words of Interlok 4 where it has some. What others can cause is not
// said once per ping.
func (n *Node) report(r rules.Report) {
	say := n.log.Info
	switch r.Kind {
	case rules.Progress:
		say = n.log.Debug
	case rules.Conflict, rules.Yielded, rules.Stalled:
		say = n.log.Warn
	case rules.Crowded:
		say = n.log.Warn
		n.dropped[r.Kind.String()]++
	case rules.Assigned, rules.Moved, rules.Promoting, rules.TimedOut, rules.Muted, rules.Unmuted:
	}
	key := r.Kind.String() + " " + r.Peer
	if r.Kind == rules.Crowded {
		key = r.Kind.String()
	}
	if r.Peer != "" && !n.quiet.First(key, n.clock()) {
		say = n.log.Debug
	}
	attrs := []any{"kind", r.Kind.String()}
	if r.Peer != "" {
		attrs = append(attrs, "peer", r.Peer)
	}
	say(r.Text, attrs...)
}
