package failover_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/memnet"
)

// counting counts what a node sends.
type counting struct {
	*memnet.Transport
	messages, bytes *atomic.Int64
}

func (c counting) Send(datagram []byte) error {
	c.messages.Add(1)
	c.bytes.Add(int64(len(datagram)))
	return c.Transport.Send(datagram)
}

func (c counting) SendTo(address string, datagram []byte) error {
	c.messages.Add(1)
	c.bytes.Add(int64(len(datagram)))
	return c.Transport.SendTo(address, datagram)
}

var _ failover.Transport = counting{}

// TestTraffic counts what a healthy cluster of 50 nodes says, with and without a quorum: one message per node and delay,
// and one acknowledgement more of each voter.
func TestTraffic(t *testing.T) {
	for _, members := range []int{0, 5} {
		synctest.Test(t, func(t *testing.T) {
			var messages, bytes atomic.Int64
			network := memnet.New(1)
			for i := range 50 {
				id := fmt.Sprintf("node-%02d", i)
				joinOver(t, network, id, &memoryStore{}, &lines{}, nil, quorumOf(members),
					func(transport *memnet.Transport) failover.Transport {
						return counting{transport, &messages, &bytes}
					})
			}
			pass(20 * delay)
			messages.Store(0)
			bytes.Store(0)
			const delays = 50
			pass(delays * delay)
			perNode := float64(messages.Load()) / 50 / delays
			t.Logf("members %d, 50 nodes: %.2f messages and %.0f bytes sent per node and delay; at the default delay of 1s each node receives %.0f kB/s",
				members, perNode, float64(bytes.Load())/50/delays, float64(bytes.Load())/delays/1000)
			if limit := 1.05 + float64(members)/50; perNode > limit {
				t.Errorf("%.2f messages per node and delay, at most %.2f make sense", perNode, limit)
			}
		})
	}
}
