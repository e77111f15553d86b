package main

import (
	"fmt"
	"sync"

	"github.com/understudy-ha/understudy/cachesync/peer"
	"github.com/understudy-ha/understudy/failover/multicast"
)

// datagrams is a multicast group as the peers' discovery wants it: the bytes alone.
type datagrams struct {
	*multicast.Transport
	packets chan []byte
	closing chan struct{}
	passing sync.WaitGroup
	close   func() error
}

var _ peer.Datagrams = (*datagrams)(nil)

func openMulticast(c Config) (*datagrams, error) {
	transport, err := multicast.Open(multicast.Config{Group: c.Group, Port: c.Port, Interface: c.Interface, TTL: c.TTL})
	if err != nil {
		return nil, fmt.Errorf("find the mirror's peers (cachesync.group, cachesync.port, cachesync.interface): %w", err)
	}
	d := &datagrams{Transport: transport, packets: make(chan []byte), closing: make(chan struct{})}
	d.close = sync.OnceValue(func() error {
		close(d.closing)
		err := transport.Close()
		d.passing.Wait()
		return err
	})
	d.passing.Go(d.pass)
	return d, nil
}

// pass hands packets over until there are no more or nobody wants them.
func (d *datagrams) pass() {
	defer close(d.packets)
	for packet := range d.Transport.Packets() {
		select {
		case d.packets <- packet.Data:
		case <-d.closing:
			return
		}
	}
}

// Packets implements peer.Datagrams.
func (d *datagrams) Packets() <-chan []byte { return d.packets }

// Close implements peer.Datagrams. It is safe to call twice.
func (d *datagrams) Close() error { return d.close() }
