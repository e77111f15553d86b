// Package tcp moves datagrams between the nodes of a network over TCP, where there is no multicast. It knows nothing of
// what they mean, and promises as little as UDP does: what cannot be sent soon is dropped, the oldest first.
//
// Each node listens on one address, which it tells the others, and keeps one connection to every other node that it
// knows: those of failover.tcp.peers, and those that it has learned of. It sends over the connections that it has dialled
// itself, because there it has chosen whom it speaks to; only while that is down does it answer over connections that a
// peer has dialled. It receives over all. So either side alone can dial, both may at once, and nothing is lost for it.
// Names of peers are looked up anew at each attempt, never while something is sent.
//
// A connection begins with a hello of each side:
//
//	USTC  version  least version  instance (16 bytes)  length (1 byte)  address
//
// The instance is a random number of this start, by which a node notices that it speaks to itself. The address is where
// the sender listens. Then come frames: a length of four bytes, the greatest first, and as many bytes. The length
// 0xFFFFFFFF is a sign of life without content, said when there was nothing else for a second.
//
// Nothing here is authenticated; the datagrams are, by whoever made them. A stranger who connects gets a hello, costs a
// few kilobytes and at most one frame of MaxDatagram, and is closed when it is silent for three seconds, takes as
// long for a frame, or does not read what it is sent. There are at most 256 connections that others have dialled, 32 from
// one host. Nodes learned are at most 64; who does not answer for long is forgotten.
//
// What a packet that is lost carried, and all that comes later, is heard when the system has sent it again, often after
// 200 ms, and after twice as long each time that fails: when a cable was cut for a second the nodes hear each other 0.4 to
// 1 s after it is whole. After three seconds the connection is given up, and made anew at most 2 s after that is possible.
// So failover.delay times failover.retries should be a second at least with this transport.
package tcp
