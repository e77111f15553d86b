package host

import (
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// Status is what a node knows of itself without asking anybody.
type Status struct {
	NodeID, Cluster string
	Phase           Phase
	// Fault is why the workload cannot run.
	Fault string
	// Role is the last report of the election; its Role is 0 while there is none.
	Role      contract.RoleReport
	RoleSince time.Duration
	GateOpen  bool
	// GateLapsed: the gate is shut, and opens again if the lease comes back in the term that is held.
	GateLapsed bool
	GateValid  time.Duration
	// Stalls counts how often this process was found to have stood still.
	Stalls uint64
	// CanLead: this node stands for election; CannotLead says why not.
	CanLead    bool
	CannotLead string
	AdapterID  string
	// Adapter is nil between two workloads.
	Adapter *adapter.Status
}

// Status may be called at any time.
func (n *Node) Status() Status {
	n.mu.Lock()
	s := Status{
		NodeID: n.opt.NodeID, Cluster: n.opt.Cluster, AdapterID: n.opt.AdapterID, Phase: n.phase, Fault: n.fault,
	}
	workload := n.workload
	n.mu.Unlock()
	if n.opt.Failover {
		s.Role, s.RoleSince = n.election.roleSince()
		g := n.gate.State()
		s.GateOpen, s.GateLapsed, s.GateValid, s.Stalls = g.Open, g.Held && !g.Open, g.Valid, g.Stalls
		s.CanLead, s.CannotLead = n.election.stand()
	} else {
		s.GateOpen = s.Phase == PhaseRunning
	}
	if workload != nil {
		a := workload.Status()
		s.Adapter = &a
	}
	return s
}

// Failover returns the failover plugin if it is up, for its status.
func (n *Node) Failover() (contract.Failover, bool) {
	plugin, up, _ := n.election.link.get()
	return plugin, up
}

// MirrorPlugin returns the cachesync plugin if it is up, for its status.
func (n *Node) MirrorPlugin() (contract.CacheSync, bool) {
	plugin, up, _ := n.mirror.get()
	return plugin, up
}

// Role returns the last report of the election.
func (n *Node) Role() contract.RoleReport {
	role, _ := n.election.role()
	return role
}
