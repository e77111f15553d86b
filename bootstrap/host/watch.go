package host

import (
	"context"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/plugins/contract"
)

// MirrorUp is called when the cachesync plugin is there and configured.
func (n *Node) MirrorUp(plugin contract.CacheSync) {
	n.mirror.set(plugin)
	n.election.set(func(h *health) { h.mirrorFault = "" })
}

// MirrorDown is called when the cachesync plugin has died. What it holds of this term is with the standbys, so
// one of them goes on.
func (n *Node) MirrorDown(err error) {
	n.mirror.clear(err)
	n.mirrorFailed("the cachesync plugin has died")
}

func (n *Node) mirrorFailed(fault string) {
	n.gate.Shut(fault)
	n.election.set(func(h *health) { h.mirror, h.mirrorFault = contract.MirrorState{}, fault })
}

// watchMirror keeps the election informed of how far the mirror is, and stands down for a higher term.
func (n *Node) watchMirror(ctx context.Context) {
	for {
		plugin, replaced, err := n.mirror.wait(ctx)
		if err != nil {
			return
		}
		watching, cancel := context.WithCancel(ctx)
		var pinging sync.WaitGroup
		pinging.Go(func() { n.pingMirror(watching, plugin) })
		err = plugin.Watch(watching, func(s contract.MirrorState) {
			if g := n.gate.State(); g.Held && g.Term.Less(s.RefusedBy) {
				n.gate.shutTerm(g.Term, "a standby knows the higher term "+s.RefusedBy.String())
			}
			n.election.set(func(h *health) { h.mirror = s })
		})
		cancel()
		pinging.Wait()
		n.log.Debug("the watch of the mirror ended", "error", err)
		select {
		case <-replaced:
		case <-time.After(n.opt.Delay):
		case <-ctx.Done():
			return
		}
	}
}

// pingMirror asks the plugin for a sign of life. One that hangs is worse than one that has died: the work would
// stand still while the heartbeats go on.
func (n *Node) pingMirror(ctx context.Context, plugin contract.CacheSync) {
	ticker := time.NewTicker(max(n.opt.Delay, minPingEvery))
	defer ticker.Stop()
	hung := false
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		asking, cancel := context.WithTimeout(ctx, max(n.opt.Patience, minPingEvery))
		_, err := plugin.Status(asking)
		late := asking.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case err != nil && late:
			if !hung {
				n.log.Error("the cachesync plugin does not answer; this node cannot lead until it does", "error", err)
			}
			hung = true
			n.mirrorFailed("the cachesync plugin does not answer")
		case err == nil && hung:
			hung = false
			n.log.Info("the cachesync plugin answers again")
			n.election.set(func(h *health) { h.mirrorFault = "" })
		}
	}
}
