package failover_test

import (
	"testing"
	"testing/synctest"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/memnet"
)

func withKeys(keys ...byte) func(*failover.Config) {
	return func(cfg *failover.Config) {
		for _, b := range keys {
			cfg.Keys = append(cfg.Keys, [32]byte{0: b})
		}
	}
}

// TestKeys: nodes that share a key are one cluster, whichever of two seals; who has none of them is nobody, and is
// counted.
func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		a := joinSet(t, network, "a", &memoryStore{}, &lines{}, nil, withKeys(1))
		b := joinSet(t, network, "b", &memoryStore{}, &lines{}, nil, withKeys(1, 2))
		c := joinSet(t, network, "c", &memoryStore{}, &lines{}, nil, withKeys(2, 1))
		pass(2 * delay)
		if c.role() != election.Standby && c.role() != election.Master {
			t.Errorf("c is %v", c.role())
		}
		join(t, network, "plain", &memoryStore{}, &lines{})
		joinSet(t, network, "stranger", &memoryStore{}, &lines{}, nil, withKeys(9))
		pass(10 * delay)
		status, err := b.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(status.Peers) != 2 || status.Dropped["unsealed"] == 0 || status.Dropped["unknown-key"] == 0 {
			t.Errorf("b hears %v, and has dropped %v", status.Peers, status.Dropped)
		}
		if status, err := a.Status(t.Context()); err != nil || status.Dropped["unknown-key"] == 0 {
			t.Errorf("a has not got the second key yet, and has dropped %v, %v", status.Dropped, err)
		}
	})
}

// TestReplayedDatagram: what was recorded and sent again is dropped and counted.
func TestReplayedDatagram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		network.SetFaults(memnet.Faults{Duplicate: 1})
		a := joinSet(t, network, "a", &memoryStore{}, &lines{}, nil, withKeys(1))
		joinSet(t, network, "b", &memoryStore{}, &lines{}, nil, withKeys(1))
		pass(10 * delay)
		if status, err := a.Status(t.Context()); err != nil || status.Dropped["replayed"] == 0 || len(status.Peers) != 1 {
			t.Errorf("%+v, %v", status, err)
		}
	})
}

// TestRecordingOfAnEarlierLife: it is known for what it is even by a node that was started after it, and has not heard
// its sender since.
func TestRecordingOfAnEarlierLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		attacker, err := network.Join("attacker")
		if err != nil {
			t.Fatal(err)
		}
		defer attacker.Close()
		storeA, storeB := &memoryStore{}, &memoryStore{}
		a := joinSet(t, network, "a", storeA, &lines{}, nil, withKeys(1))
		pass(2 * delay)
		recording := (<-attacker.Packets()).Data // Of a, which is alone.
		stop := func(m *member) {
			if err := m.stop(); err != nil {
				t.Fatal(err)
			}
		}
		stop(a)
		b := joinSet(t, network, "b", storeB, &lines{}, nil, withKeys(1))
		a = joinSet(t, network, "a", storeA, &lines{}, nil, withKeys(1))
		pass(2 * delay)
		stop(a)
		stop(b)
		b = joinSet(t, network, "b", storeB, &lines{}, nil, withKeys(1))
		pass(delay)
		if err := attacker.Send(recording); err != nil {
			t.Fatal(err)
		}
		pass(delay)
		status, err := b.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if status.Dropped["old-boot"] != 1 || status.Received != 0 {
			t.Errorf("dropped %v, received %d", status.Dropped, status.Received)
		}
	})
}
