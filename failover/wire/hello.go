package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxHello is the greatest length of a Hello in bytes, its line feed included.
const MaxHello = 1024

const (
	helloMagic   = "UNDERSTUDY-LIVENESS"
	helloVersion = "1"
)

// Hello is what the liveness listener of a host says to whoever connects, in one line; see Liveness in
// proto/understudy/failover/v1/failover.proto.
type Hello struct {
	Process         uint64
	NodeID, Cluster string
}

// ParseHello reads the line of a Hello, with or without its line feed.
func ParseHello(line string) (Hello, error) {
	if len(line) > MaxHello {
		return Hello{}, fmt.Errorf("hello: it has %d bytes, at most %d", len(line), MaxHello)
	}
	fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
	if len(fields) < 5 || fields[0] != helloMagic {
		return Hello{}, errors.New("hello: not that of a host")
	}
	if fields[1] != helloVersion {
		return Hello{}, fmt.Errorf("hello: it has version %q, this node reads %s", clip(fields[1]), helloVersion)
	}
	process, err := strconv.ParseUint(fields[2], 16, 64)
	if err != nil || process == 0 {
		return Hello{}, fmt.Errorf("hello: %q is no process", clip(fields[2]))
	}
	if err := errors.Join(checkID("hello: node id", fields[3]), checkID("hello: cluster", fields[4])); err != nil {
		return Hello{}, err
	}
	return Hello{Process: process, NodeID: fields[3], Cluster: fields[4]}, nil
}
