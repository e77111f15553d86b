// Package failover is one node's membership in the election: a Node drives the pure machine of package
// election over a Transport, keeps its term on disk, and tells the host which role it has. Packages multicast
// and memnet are transports. README.md has the rules, the states and the times.
package failover
