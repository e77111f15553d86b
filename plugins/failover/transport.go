package main

import (
	"fmt"
	"log/slog"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/multicast"
	"github.com/understudy-ha/understudy/failover/tcp"
)

// opener opens the transport that a configuration asks for, and says in words what it is.
type opener func(cfg failover.Config, log *slog.Logger) (failover.Transport, string, error)

func openTransport(cfg failover.Config, log *slog.Logger) (failover.Transport, string, error) {
	if cfg.SocketMode == failover.TCP {
		return openTCP(cfg, log)
	}
	return openMulticast(cfg, log)
}

func openTCP(cfg failover.Config, log *slog.Logger) (failover.Transport, string, error) {
	options := tcp.Options{
		Host: cfg.TCPHost, Port: cfg.TCPPort, Peers: tcp.SplitPeers(cfg.TCPPeers), Interface: cfg.Interface, Log: log,
	}
	if err := options.Validate(); err != nil {
		return nil, "", err
	}
	transport, err := tcp.Open(options)
	if err != nil {
		return nil, "", err
	}
	return transport, transport.Description(), nil
}

func openMulticast(cfg failover.Config, log *slog.Logger) (failover.Transport, string, error) {
	transport, err := multicast.Open(multicast.Config{
		Group: cfg.Group, Port: cfg.Port, Interface: cfg.Interface, TTL: cfg.TTL, Log: log,
	})
	if err != nil {
		return nil, "", fmt.Errorf("failover.group, failover.port, failover.interface: %w", err)
	}
	return transport, transport.Description(), nil
}
