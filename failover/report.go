package failover

import "github.com/understudy-ha/understudy/failover/election"

// report logs what the machine has to say: its normal course for those who look for it, everything that
// people should do something about loudly, but not once per datagram.
func (n *Node) report(r election.Report) {
	say := n.log.Warn
	switch r.Kind {
	case election.Progress:
		say = n.log.Debug
	case election.OldBoot, election.Impossible:
		n.dropped[r.Kind.String()]++
		say = n.log.Debug
	case election.Crowded:
		n.dropped[r.Kind.String()]++
	case election.Unmuted:
		say = n.log.Info
		n.quiet.End(election.Muted.String() + " ") // The next silence is news again.
	}
	if !n.quiet.First(r.Kind.String()+" "+r.Peer, n.clock()) {
		say = n.log.Debug
	}
	attrs := []any{"kind", r.Kind.String()}
	if r.Peer != "" {
		attrs = append(attrs, "peer", r.Peer)
	}
	say("Election: "+r.Text, attrs...)
}
