package failover

import (
	"github.com/understudy-ha/understudy/failover/election"
)

// unicastAddress is where this node alone can be reached; empty if the transport cannot do that.
func (n *Node) unicastAddress() string {
	if unicaster, ok := n.transport.(Unicaster); ok {
		return unicaster.Address()
	}
	return ""
}

// learns reports whether the transport has to be told of other nodes.
func (n *Node) learns() bool {
	_, ok := n.transport.(Learner)
	return ok
}

// learn tells the transport of the sender of a message, and of those whom that hears. So it is enough to know one node.
func (n *Node) learn(about election.About) {
	learner, ok := n.transport.(Learner)
	if !ok {
		return
	}
	if about.Address != "" {
		learner.Learn(about.Address)
	}
	for _, h := range about.Hears {
		if h.Address != "" && h.ID != n.cfg.NodeID {
			learner.Learn(h.Address)
		}
	}
}

// send sends a message to all nodes, or to one.
func (n *Node) send(s election.Send) {
	s.Message.About.Address = n.unicastAddress() // It changes with the address of the interface.
	data, err := n.codec.Encode(toDatagram(n.cfg.Cluster, s.Message))
	if err == nil {
		err = n.deliver(s.To, data)
	}
	if err == nil {
		n.sent++
		n.quiet.End("send")
		return
	}
	n.dropped["send-failed"]++
	if n.quiet.First("send", n.clock()) {
		n.log.Warn("datagrams cannot be sent, other nodes do not hear this one", "peer", s.To, "error", err)
	}
}

// deliver multicasts what cannot be sent to one node alone: who is not meant ignores it.
func (n *Node) deliver(to string, data []byte) error {
	if unicaster, ok := n.transport.(Unicaster); ok && to != "" {
		if address := n.machine.Address(to); address != "" {
			return unicaster.SendTo(address, data)
		}
	}
	return n.transport.Send(data)
}
