// Package rules decides, as one member of an Interlok cluster, who is primary: events in, actions out. It does no I/O,
// has no clock and no randomness of its own, so any run can be replayed from its events.
//
// The rules are those of interlok-failover, because the other members follow them and cannot be taught others: all
// start as secondaries, positions are given or follow from the order of the ids, position 1 becomes primary when no
// primary has been heard within the timeout, the others move up by one at each poll. Where a Java member cannot tell
// the difference this one is more careful:
//
//   - it listens for a whole timeout before it becomes primary for the first time;
//   - it pings only while it could lead: a silent secondary is left out by the others, one that pings and could not lead
//     would keep them waiting for ever;
//   - it never pings position 0, which would make every Java secondary put off its promotion;
//   - its promotion is valid for less long than the others believe it alive;
//   - of two primaries exactly one stays, see Machine.conflict.
//
// Members of this implementation know each other by their ids, and tell each other two things in fields that Java
// stores and never looks at: the number of its term, in the position of a primary's ping, and an orderly end, a
// secondary's ping in position Goodbye.
package rules
