package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	"github.com/understudy-ha/understudy/cachesync/peer"
	"github.com/understudy-ha/understudy/cachesync/store"
	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/plugins/contract"
)

var (
	errNotConfigured = errors.New("the mirror has not been configured: Configure comes first")
	errConfigured    = errors.New("the mirror has been configured before: Configure comes once")
)

// mirror is the contract's CacheSync over a Replicator and its line to the peers.
type mirror struct {
	log *slog.Logger

	mu      sync.RWMutex // guards running
	running *running     // nil before Configure
}

// running is what Configure has started.
type running struct {
	nodeID string
	// group is the multicast address and port by which the peers are found, ehcache the file that was read.
	group, ehcache string

	hub        *peer.Hub
	replicator *cachesync.Replicator
	store      *store.Store // nil in memory

	endReplicator, endHub context.CancelFunc
	replicatorEnded       chan error
	hubEnded              chan error
	shutdown              sync.Once
	failure               error // of the shutdown
}

var (
	_ contract.CacheSync = (*mirror)(nil)
	_ contract.Adopter   = (*mirror)(nil)
)

func newMirror(log *slog.Logger) *mirror { return &mirror{log: log} }

// current returns what runs.
func (m *mirror) current() (*running, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.running == nil {
		return nil, errNotConfigured
	}
	return m.running, nil
}

// Configure implements contract.CacheSync.
func (m *mirror) Configure(_ context.Context, from contract.MirrorConfig) (contract.MirrorInfo, error) {
	config, err := ConfigFromProperties(from)
	if err := errors.Join(err, config.Validate()); err != nil {
		return contract.MirrorInfo{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running != nil {
		return contract.MirrorInfo{}, errConfigured
	}
	m.running, err = start(config, m.log) //nolint:contextcheck // what is started outlives this call
	if err != nil {
		return contract.MirrorInfo{}, err
	}
	return contract.MirrorInfo{Name: name, Version: version, Address: m.running.hub.Address()}, nil
}

// storeFolder is where the table is kept in the node's data folder.
const storeFolder = "mirror"

// openStore opens the store, or returns nil if the table is kept in memory.
func openStore(config Config, log *slog.Logger) (*store.Store, error) {
	dir := filepath.Join(config.DataDir, storeFolder)
	if config.Store == OnDisk {
		return store.Open(store.Options{Dir: dir, DedupeCount: config.Mirror.Limits.DedupeCount, Log: log})
	}
	if config.DataDir != "" && store.Exists(dir) {
		log.Warn("mirror: an earlier run has kept messages on disk, they are not looked at", "path", dir, "cachesync.store", string(config.Store))
	}
	return nil, nil
}

// wallOfBoot is a clock that goes on while the machine is suspended, so that a standby knows how long it has not heard.
func wallOfBoot() func() time.Time {
	clock := failover.SystemClock()
	return func() time.Time { return time.Unix(0, 0).Add(clock()) }
}

// start opens everything first, and then sets it going.
func start(config Config, log *slog.Logger) (_ *running, err error) {
	if config.Ehcache != "" {
		log.Info("mirror: the defaults are those of ehcache.xml", "path", config.Ehcache, "group", config.group().String(),
			"mode", string(config.Mirror.Mode))
	}
	for _, notice := range config.Notices {
		log.Warn("mirror: " + notice)
	}
	peerConfig, err := config.peerConfig(rand.Text())
	if err != nil {
		return nil, err
	}
	now := wallOfBoot()
	peerConfig.Now = now
	r := &running{
		nodeID: config.Mirror.NodeID, group: config.group().String(), ehcache: config.Ehcache,
		replicatorEnded: make(chan error, 1), hubEnded: make(chan error, 1),
	}
	parts := cachesync.Parts{Log: log, Now: now}
	if r.store, err = openStore(config, log); err != nil {
		return nil, err
	}
	if r.store != nil {
		parts.Store = r.store
		defer func() {
			if err != nil {
				err = errors.Join(err, r.store.Close())
			}
		}()
	}
	datagrams, err := openMulticast(config)
	if err != nil {
		return nil, err
	}
	if r.hub, err = peer.Listen(peerConfig, datagrams, log); err != nil {
		return nil, err
	}
	parts.Peers = r.hub
	if r.replicator, err = cachesync.New(config.Mirror, parts); err != nil {
		return nil, errors.Join(err, r.hub.Close())
	}
	r.run(log)
	return r, nil
}

// run sets everything going. What cannot go on ends the process: a new one is better than one that is cut off from
// the others or from its disk.
func (r *running) run(log *slog.Logger) {
	var replicating, serving context.Context
	replicating, r.endReplicator = context.WithCancel(context.Background())
	serving, r.endHub = context.WithCancel(context.Background())
	go func() {
		err := r.replicator.Run(replicating)
		if replicating.Err() == nil {
			log.Error("the mirror cannot write its store and ends", "error", err)
			os.Exit(1)
		}
		r.replicatorEnded <- err
	}()
	go func() {
		err := r.hub.Run(serving, r.replicator)
		if serving.Err() == nil {
			log.Error("the mirror has lost its line to the peers and ends", "error", err)
			os.Exit(1)
		}
		r.hubEnded <- err
	}()
}

// Lead implements contract.CacheSync.
func (m *mirror) Lead(ctx context.Context, term contract.Term) (contract.Lead, error) {
	r, err := m.current()
	if err != nil {
		return contract.Lead{}, err
	}
	taken, err := r.replicator.Lead(ctx, termFrom(term))
	if err != nil {
		return contract.Lead{}, err
	}
	lead := contract.Lead{Sealed: positionTo(taken.Sealed), TakenFrom: taken.TakenFrom}
	for i := range taken.Entries {
		lead.Entries = append(lead.Entries, entryTo(&taken.Entries[i]))
	}
	return lead, nil
}

// Follow implements contract.CacheSync.
func (m *mirror) Follow(context.Context) error {
	r, err := m.current()
	if err != nil {
		return err
	}
	r.replicator.Follow()
	return nil
}

// Commit implements contract.CacheSync.
func (m *mirror) Commit(term contract.Term, op contract.Op, quiet bool, settle func(contract.CommitResult, error)) {
	r, err := m.current()
	if err != nil {
		if settle != nil {
			settle(contract.NotLeading, err)
		}
		return
	}
	var told cachesync.Settle
	if settle != nil {
		told = func(result cachesync.Result, err error) { settle(resultTo(result), err) }
	}
	r.replicator.Commit(termFrom(term), opFrom(op), quiet, told)
}

// Watch implements contract.CacheSync.
func (m *mirror) Watch(ctx context.Context, changed func(contract.MirrorState)) error {
	r, err := m.current()
	if err != nil {
		return err
	}
	return r.replicator.Watch(ctx, func(s cachesync.State) { changed(mirrorStateTo(s)) })
}

// Adopted implements contract.Adopter.
func (m *mirror) Adopted(ctx context.Context, taken func([]contract.Entry)) error {
	r, err := m.current()
	if err != nil {
		return err
	}
	return r.replicator.Adopted(ctx, func(entries []ledger.Entry) {
		out := make([]contract.Entry, 0, len(entries))
		for i := range entries {
			out = append(out, entryTo(&entries[i]))
		}
		taken(out)
	})
}

// Status implements contract.CacheSync.
func (m *mirror) Status(context.Context) (contract.MirrorStatus, error) {
	r, err := m.current()
	if err != nil {
		return contract.MirrorStatus{}, err
	}
	s := r.replicator.Status()
	status := contract.MirrorStatus{
		NodeID: r.nodeID, Address: r.hub.Address(), State: mirrorStateTo(s.State), MasterID: s.Master,
		Entries: uint64(s.Entries), Bytes: uint64(s.Bytes), DedupeIDs: uint64(s.DedupeIDs), Dropped: r.hub.Dropped(),
		InSyncSet: s.Record.Members, Store: s.Store, Fault: s.Fault,
		Group: r.group, Ehcache: r.ehcache,
	}
	standbys := make(map[string]cachesync.PeerStatus, len(s.Peers))
	for _, p := range s.Peers {
		standbys[p.ID] = p
	}
	for _, known := range r.hub.Known() {
		p := standbys[known.ID]
		status.Peers = append(status.Peers, contract.MirrorPeer{
			NodeID: known.ID, Address: known.Address, Connected: p.Connected || known.Connected, InSync: p.InSync,
			Acknowledged: positionTo(p.Acknowledged), LagEntries: p.LagEntries, Lag: p.Lag,
		})
	}
	return status, nil
}

// Shutdown implements contract.CacheSync. The writing ends before the line to the peers does, so that nothing
// is committed that a standby was no longer asked for.
func (m *mirror) Shutdown(context.Context) error {
	m.mu.RLock()
	r := m.running
	m.mu.RUnlock()
	if r == nil {
		return nil // nothing was started
	}
	r.shutdown.Do(func() {
		r.endReplicator()
		err := <-r.replicatorEnded
		r.endHub()
		err = errors.Join(err, <-r.hubEnded)
		if r.store != nil {
			err = errors.Join(err, r.store.Close())
		}
		if err != nil {
			r.failure = fmt.Errorf("shut the mirror down: %w", err)
		}
	})
	return r.failure
}
