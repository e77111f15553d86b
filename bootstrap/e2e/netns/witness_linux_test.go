package netns_test

import (
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/e2e/cluster"
)

// TestWitness: two nodes and a witness, which has no adapter and no mirror and never leads, are a quorum. The loss of
// either node, or of the network between the two, leaves one gate open at most, and the work goes on.
func TestWitness(t *testing.T) {
	properties := timing(3)
	properties["failover.witness"] = "node-3"
	s := layOut(t, 3, properties)
	witness := s.Nodes[2]
	for _, node := range s.Nodes[:2] {
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
	}
	if err := witness.StartArgs("-witness", "-Dnode.id="+witness.ID, "bootstrap.properties"); err != nil {
		t.Fatal(err)
	}
	f := observe(t, s)
	f.witnesses = 1
	for _, c := range []fault{
		{name: "SIGKILL host", strike: killHost, killed: true},
		{name: "partition M / S and witness", strike: partition(true, 0)},
		{name: "partition S / M and witness", strike: cutStandby, holdQuorum: long},
		{name: "partition witness / MS", strike: func(f *field, _ *cluster.Node) func() {
			f.net.split(witness.ID)
			return func() { f.net.mend(witness.ID) }
		}, holdQuorum: long},
		{name: "witness killed", killed: true, victim: witness.ID, strike: func(f *field, _ *cluster.Node) func() {
			witness.Kill()
			return func() {
				if err := witness.StartArgs("-witness", "-Dnode.id="+witness.ID, "bootstrap.properties"); err != nil {
					f.t.Fatal(err)
				}
			}
		}, holdQuorum: long},
	} {
		r, ok := f.suffer(t, c, 3)
		if !ok {
			t.Fatal("the cluster has not come to rest")
		}
		for _, s := range spans(f.gates.since(time.Time{})) {
			if s.node == witness.ID {
				t.Errorf("%s: the witness has led", c.name)
			}
		}
		if c.holdQuorum > 0 && r.promotions > 0 {
			t.Errorf("%s: %d promotions, and a majority stood behind the master all the time", c.name, r.promotions)
		}
	}
	f.finish()
}

// cutStandby cuts the standby of two off, not the witness.
func cutStandby(f *field, master *cluster.Node) func() {
	for _, node := range f.Nodes[:2] {
		if node != master {
			f.net.split(node.ID)
			return func() { f.net.mend(node.ID) }
		}
	}
	return nil
}
