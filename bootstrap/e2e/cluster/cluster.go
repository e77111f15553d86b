// Package cluster runs real nodes on one machine for tests and the demo: it lays a folder out for each,
// starts, kills, stops and restarts the binary that users start, follows the logs, asks for the status the way
// people do, and counts what came out. It knows the project only from outside: nothing of its Go code is
// imported but the generated protocol of the status.
//
// A cluster keeps to its folder and to the loopback interface (or to what Options.Prefix puts its nodes into),
// and has a name and ports of its own, so that any number of them can run side by side.
package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"
)

// Options say what cluster to make.
type Options struct {
	// Dir is the folder that the cluster lives in. It is made if need be, and belongs to the cluster.
	Dir string
	// Binaries is what the nodes run.
	Binaries Binaries
	// Nodes is how many nodes there are: node-1, node-2, ...
	Nodes int
	// Properties are added to every node's bootstrap.properties and win over the harness's own. An empty value
	// removes the key.
	Properties map[string]string
	// Adapter is the adapter file; empty means Adapter(dir, AdapterOptions{}).
	Adapter string
	// Prefix, if set, gives what stands before the command of a node, say ip netns exec NAME.
	Prefix func(node string) []string
	// Interface is where the nodes hear each other; empty means lo.
	Interface string
}

// Cluster is a set of nodes that share an in and an out folder.
type Cluster struct {
	// Name is the cluster's name, unique to it.
	Name string
	// Dir is the cluster's folder; In, Out and Bad are the shared folders in it.
	Dir, In, Out, Bad string
	// Nodes are node-1, node-2, ... in this order.
	Nodes []*Node

	binaries Binaries
	stage    string
	fed      atomic.Int64
}

// New lays out the folders and the configuration. Nothing is started.
func New(options Options) (*Cluster, error) {
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, fmt.Errorf("cluster folder: %w", err)
	}
	suffix := make([]byte, 6)
	// crypto/rand.Read never fails.
	_, _ = rand.Read(suffix)
	c := &Cluster{
		Name: "e2e-" + hex.EncodeToString(suffix),
		Dir:  dir,
		In:   filepath.Join(dir, "in"),
		Out:  filepath.Join(dir, "out"),
		Bad:  filepath.Join(dir, "bad"),

		binaries: options.Binaries,
		stage:    filepath.Join(dir, "stage"),
	}
	for _, folder := range []string{c.In, c.Out, c.Bad, c.stage} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return nil, fmt.Errorf("cluster folder: %w", err)
		}
	}
	ports, err := freeUDPPorts(2)
	if err != nil {
		return nil, err
	}
	iface := options.Interface
	if iface == "" {
		iface = "lo"
	}
	// The election's times are the product's own: a crash costs milliseconds with them, and a machine that has too
	// much to do is no reason for a takeover.
	properties := map[string]string{
		"cluster.name":       c.Name,
		"lib.dir":            options.Binaries.Lib,
		"log.format":         "json",
		"failover.interface": iface,
		"failover.port":      strconv.Itoa(ports[0]),
		"cachesync.port":     strconv.Itoa(ports[1]),
	}
	maps.Copy(properties, options.Properties)
	adapter := options.Adapter
	if adapter == "" {
		adapter = Adapter(dir, AdapterOptions{})
	}
	for i := range options.Nodes {
		id := "node-" + strconv.Itoa(i+1)
		node := &Node{
			ID:      id,
			Dir:     filepath.Join(dir, id),
			Log:     newLog(),
			binary:  options.Binaries.Bootstrap,
			cluster: c,
		}
		if options.Prefix != nil {
			node.prefix = options.Prefix(id)
		}
		if err := writeConfig(node.Dir, properties, adapter); err != nil {
			return nil, err
		}
		c.Nodes = append(c.Nodes, node)
	}
	return c, nil
}

// Node returns the node with that id, or nil.
func (c *Cluster) Node(id string) *Node {
	for _, node := range c.Nodes {
		if node.ID == id {
			return node
		}
	}
	return nil
}

// Start starts every node that does not run.
func (c *Cluster) Start() error {
	for _, node := range c.Nodes {
		if node.Running() {
			continue
		}
		if err := node.Start(); err != nil {
			return err
		}
	}
	return nil
}

// Feed puts a file into the in folder, whole at once: it is written elsewhere and renamed. Names must not repeat.
// It may be called from one goroutine at a time.
func (c *Cluster) Feed(name string, content []byte) error {
	staged := filepath.Join(c.stage, name)
	if err := os.WriteFile(staged, content, 0o644); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	if err := os.Rename(staged, filepath.Join(c.In, name)); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	c.fed.Add(1)
	return nil
}

// Fed is the number of files that Feed has put into the in folder.
func (c *Cluster) Fed() int { return int(c.fed.Load()) }

// Master waits until exactly one running node says that it leads and has an open gate, and every other running
// node stands by that one. It returns the master.
func (c *Cluster) Master(ctx context.Context) (*Node, error) {
	var last error
	for {
		master, err := c.master(ctx)
		if err == nil {
			return master, nil
		}
		// An error because ctx ended says less than the one before.
		if ctx.Err() == nil {
			last = err
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return nil, fmt.Errorf("no settled cluster: %w; last: %w", ctx.Err(), last)
		}
	}
}

func (c *Cluster) master(ctx context.Context) (*Node, error) {
	var master *Node
	follows := map[string]string{}
	for _, node := range c.Nodes {
		if !node.Running() {
			continue
		}
		status, err := node.Status(ctx)
		if err != nil {
			return nil, err
		}
		if Leads(status) {
			if master != nil {
				return nil, fmt.Errorf("%s and %s both lead", master.ID, node.ID)
			}
			master = node
			continue
		}
		follows[node.ID] = status.GetMasterId()
	}
	if master == nil {
		return nil, errors.New("nobody leads")
	}
	for id, follow := range follows {
		if follow != master.ID {
			return nil, fmt.Errorf("%s leads, and %s follows %q", master.ID, id, follow)
		}
	}
	return master, nil
}

// InSync waits until the node leads with that many standbys whose mirrors keep up.
func (c *Cluster) InSync(ctx context.Context, node *Node, standbys int) error {
	var have int32
	for {
		status, err := node.Status(ctx)
		if err == nil {
			have = status.GetMirror().GetState().GetInSyncStandbys()
			if Leads(status) && int(have) == standbys {
				return nil
			}
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return fmt.Errorf("%s: %d standbys in sync, want %d: %w", node.ID, have, standbys, ctx.Err())
		}
	}
}

// Stop ends every running node with SIGTERM, the standbys first, and waits for them. It returns an error for
// each node that did not end with exit code 0.
func (c *Cluster) Stop(ctx context.Context) error {
	var running []*Node
	for _, node := range c.Nodes {
		if !node.Running() {
			continue
		}
		status, err := node.Status(ctx)
		if err == nil && Leads(status) {
			running = append(running, node)
		} else {
			running = append([]*Node{node}, running...)
		}
	}
	var faults []error
	for _, node := range running {
		if err := node.Terminate(); err != nil {
			faults = append(faults, err)
			continue
		}
		code, err := node.Wait(ctx)
		switch {
		case err != nil:
			faults = append(faults, err)
		case code != 0:
			faults = append(faults, fmt.Errorf("%s: exit code %d after SIGTERM, want 0; log: %s", node.ID, code, node.logFile()))
		}
	}
	return errors.Join(faults...)
}

// Close kills what still runs and waits for it. Processes of the cluster that have outlived their host, which
// should never happen, are killed as well and returned as an error. Safe to call twice.
func (c *Cluster) Close() error {
	for _, node := range c.Nodes {
		node.Kill()
	}
	left := c.leftovers()
	// Plugins end a moment after their host.
	for patience := 60; len(left) > 0 && patience > 0; patience-- {
		time.Sleep(50 * time.Millisecond)
		left = c.leftovers()
	}
	var faults []error
	for _, process := range left {
		faults = append(faults, fmt.Errorf("process %d has outlived its node: %s", process.pid, process.command))
		killProcess(process.pid)
	}
	return errors.Join(faults...)
}

// freeUDPPorts finds ports that nobody uses. Somebody else may take one before the nodes do; then two clusters
// share it, and their names keep them apart.
func freeUDPPorts(n int) ([]int, error) {
	var ports []int
	var sockets []net.PacketConn
	defer func() {
		for _, socket := range sockets {
			_ = socket.Close()
		}
	}()
	for range n {
		socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		sockets = append(sockets, socket)
		ports = append(ports, socket.LocalAddr().(*net.UDPAddr).Port)
	}
	return ports, nil
}

// pause waits, or returns why ctx has ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
