// Package election decides who leads. A Machine is one node's view: events go in, actions come out, and
// nothing else happens; it reads no clock, opens no socket, starts no goroutine and rolls no dice, so that any
// run can be replayed from its events. Package failover drives it over a network.
//
// The rules are those of Interlok's failover (one master, everybody else waits for its heartbeat to stop) with
// terms, an order of candidates, and a question to the others before anybody takes over. With a quorum a master
// works only while a majority of the voters stands behind it. Without one two
// masters can exist in a partition; when they hear of each other the lower term stands down. README.md of
// package failover has the rules, the states and the times on one page.
package election
