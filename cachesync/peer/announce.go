package peer

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"google.golang.org/protobuf/proto"

	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

const (
	// magic begins every announcement: "UMIR".
	magic = 0x554d4952
	// version is what this build speaks, minVersion the oldest that it understands; of datagrams and streams.
	version    = 1
	minVersion = 1
	// maxAnnouncement bounds what is looked at, maxName the names in it.
	maxAnnouncement = 2048
	maxName         = 255
)

// dropCause is why a datagram was dropped.
type dropCause string

const (
	dropBroken    dropCause = "broken"
	dropForeign   dropCause = "foreign"
	dropVersion   dropCause = "version"
	dropCluster   dropCause = "other-cluster"
	dropDuplicate dropCause = "duplicate-id"
	dropCrowd     dropCause = "too-many-peers"
	dropStranger  dropCause = "refused-stream"
	dropForged    dropCause = "not-authentic"
)

// dropError says why a datagram was dropped.
type dropError struct {
	cause dropCause
	text  string
}

func (e *dropError) Error() string { return e.text }

func dropf(cause dropCause, format string, args ...any) error {
	return &dropError{cause, fmt.Sprintf(format, args...)}
}

// decodeAnnouncement reads and checks a datagram of anybody.
func decodeAnnouncement(data []byte, cluster string) (*mirrorv1.Announcement, error) {
	if len(data) > maxAnnouncement {
		return nil, dropf(dropBroken, "%d bytes, an announcement has %d at most", len(data), maxAnnouncement)
	}
	a := &mirrorv1.Announcement{}
	if err := proto.Unmarshal(data, a); err != nil {
		return nil, dropf(dropForeign, "no announcement: %v", err)
	}
	if a.Magic != magic {
		return nil, dropf(dropForeign, "no announcement: it begins with %#x", a.Magic)
	}
	if err := checkVersion(a.Version, a.MinVersion); err != nil {
		return nil, &dropError{dropVersion, err.Error()}
	}
	if a.Cluster != cluster {
		return nil, dropf(dropCluster, "of cluster %q", a.Cluster)
	}
	if a.NodeId == "" || a.BootId == "" || len(a.NodeId) > maxName || len(a.BootId) > maxName {
		return nil, dropf(dropBroken, "its node or boot id has no usable length")
	}
	if err := checkAddress(a.Address); err != nil {
		return nil, &dropError{dropBroken, err.Error()}
	}
	return a, nil
}

// checkVersion reports whether this build and another understand each other.
func checkVersion(theirs, theirMin uint32) error {
	if theirs < minVersion || theirMin > version {
		return fmt.Errorf("it speaks versions %d to %d of the mirror's protocol, this node %d to %d: bring both to releases that overlap",
			theirMin, theirs, minVersion, version)
	}
	return nil
}

// checkAddress wants host:port where somebody can be reached.
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	if host == "" || len(host) > maxName {
		return errors.New("the address has no host of a usable length")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("address %q: want a port of 1 to 65535", address)
	}
	return nil
}
