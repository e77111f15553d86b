// Package interlok makes a node a member of a running Interlok cluster, generation 2 (interlok-failover 3.8 and later):
// the same packets, over multicast or TCP, and the same rules, as secondary and as primary. Node has the methods of
// failover.Node. It is for moving such a cluster over node by node; README.md says how, and what is missing in this
// mode: evidence, quorum, authentication, and speed.
package interlok
