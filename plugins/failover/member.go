package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/election"
	"github.com/understudy-ha/understudy/failover/interlok"
	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/plugins/contract/keyring"
)

// electionNode is what the plugin needs of a node, whichever wire it speaks.
type electionNode interface {
	Run(ctx context.Context) error
	State() (failover.State, <-chan struct{})
	AwaitMaster(ctx context.Context) error
	Report(ctx context.Context, host election.Host) (failover.State, error)
	HostLost(ctx context.Context) error
	Resign(ctx context.Context, term election.Term, successor string) error
	Pause(ctx context.Context, on bool) error
	ChangeMembers(ctx context.Context, remove, add string) ([]string, error)
	Status(ctx context.Context) (failover.Status, error)
}

var (
	_ electionNode = (*failover.Node)(nil)
	_ electionNode = (*interlok.Node)(nil)
)

// member is this node's part in a cluster, prepared and not running.
type member struct {
	node      electionNode
	transport failover.Transport
	words     string          // how its datagrams go
	cfg       failover.Config // what the status shows of it
}

// prepare makes a member of the cluster that failover.wire names. The caller closes its transport.
func (p *plugin) prepare(properties map[string]string, premain contract.Premain, store failover.Store) (member, error) {
	switch wire := strings.TrimSpace(properties["failover.wire"]); wire {
	case "", "understudy":
		return p.prepareOwn(properties, premain, store)
	case "interlok":
		return p.prepareInterlok(properties, store)
	default:
		return member{}, fmt.Errorf("failover.wire: %q is not known, it must be understudy or interlok", wire)
	}
}

// prepareOwn makes a member of a cluster of ours.
func (p *plugin) prepareOwn(properties map[string]string, premain contract.Premain, store failover.Store) (member, error) {
	cfg, err := failover.ConfigFromProperties(properties)
	if err != nil {
		return member{}, err
	}
	cfg.AdapterDigest = premain.AdapterDigest
	if path := strings.TrimSpace(properties["failover.key.file"]); path != "" {
		ring, err := keyring.Load(path)
		if err != nil {
			return member{}, fmt.Errorf("failover.key.file: %w", err)
		}
		cfg.Keys = ring.Derive("datagram")
	}
	transport, words, err := p.open(cfg, p.log)
	if err != nil {
		return member{}, err
	}
	node, err := failover.NewNode(cfg, transport, store, p.log, p.clock, nil)
	if err != nil {
		return member{}, errors.Join(err, transport.Close())
	}
	return member{node: node, transport: transport, words: words, cfg: cfg}, nil
}

// prepareInterlok makes a member of an Interlok cluster.
func (p *plugin) prepareInterlok(properties map[string]string, store failover.Store) (member, error) {
	cfg, warnings, err := interlok.ConfigFromProperties(properties)
	if err != nil {
		return member{}, err
	}
	for _, warning := range warnings {
		p.log.Warn(warning)
	}
	link, err := interlok.Open(cfg, p.log)
	if err != nil {
		return member{}, err
	}
	node, err := interlok.NewNode(cfg, link, store, p.log, p.clock)
	if err != nil {
		return member{}, errors.Join(err, link.Close())
	}
	// The position that is given, as everywhere: position k is the priority -k.
	shown := failover.Config{Observer: cfg.Observer, Priority: -cfg.Position}
	return member{node: node, transport: link, words: link.Description, cfg: shown}, nil
}
