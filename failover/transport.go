package failover

import "time"

// Transport carries datagrams to all nodes that listen, the sender perhaps included. It promises nothing:
// datagrams may be lost, doubled or overtaken.
type Transport interface {
	// Send sends one datagram and keeps nothing of it. It does not block for long, and may be called from
	// several goroutines.
	Send(datagram []byte) error
	// Packets are the datagrams received. The channel is closed when the transport ends: after Close, or
	// because of a failure.
	Packets() <-chan Packet
	// Close ends the transport and waits until nothing of it runs. It is safe to call twice.
	Close() error
}

// Packet is one datagram as it was received.
type Packet struct {
	// Data belongs to the receiver.
	Data []byte
	// Received is when it was read.
	Received time.Time
	// Source is where it seems to come from, for log lines only: on a loopback interface it is the host's
	// outside address, and anybody can forge it.
	Source string
	// Interface is where it came in, if the transport knows.
	Interface string
}
