package main

import (
	"testing"

	"github.com/understudy-ha/understudy/failover/wire"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// TestHello: what a host says at its liveness socket is what the election understands.
func TestHello(t *testing.T) {
	said := contract.Liveness{Address: "10.0.0.1:4711", Process: 1<<63 + 5}.Hello("orders 1", "Orders (test)")
	heard, err := wire.ParseHello(said)
	if want := (wire.Hello{Process: 1<<63 + 5, NodeID: "orders 1", Cluster: "Orders (test)"}); err != nil || heard != want {
		t.Errorf("%q was heard as %+v, %v", said, heard, err)
	}
}
