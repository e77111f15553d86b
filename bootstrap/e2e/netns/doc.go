// Package netns has the whole-system tests that need a network which can be cut: each node lives in a network
// namespace of its own, and the cables between them belong to the test. Nothing is made in the namespace that the
// test itself runs in. They run as root on Linux with iproute2, and nftables for some, when UNDERSTUDY_NETNS=1 asks for
// them; make e2e and CI do.
package netns
