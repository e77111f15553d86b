package cachesync

import (
	"context"
	"errors"
	"slices"
	"time"
)

// The in-sync set, as its master keeps it.
//
// A reign has an effective record, which all its members know, and perhaps a proposed one, which they are being told.
// Commits wait for everybody in the effective record, and for standbys that are about to join. A record without a
// standby becomes effective when all that stay know it, and when that standby cannot believe to be in any more: it
// was told, or its process has ended, or it has been silent for so long that it counts itself out.

// countsLocked reports whether commits wait for a standby.
func (g *reign) countsLocked(k *link) bool { return k.holding || k.believesLocked() }

// believesLocked reports whether a standby may believe that it is in the set.
func (k *link) believesLocked() bool { return k.member || k.believes }

// lostLocked reports whether the set should go on without a standby that is in it, and why.
func (k *link) lostLocked(now time.Time) error {
	switch {
	case k.gone:
		return ErrGone
	case k.behind:
		return errBehind
	case k.silenceLocked(now) >= k.limitLocked():
		return errSilent
	}
	return nil
}

// silenceLocked is how long the standby has let the master wait for a sign of life.
func (k *link) silenceLocked(now time.Time) time.Duration {
	if k.quietFrom.IsZero() {
		return 0
	}
	return now.Sub(k.quietFrom)
}

// limitLocked is how long the standby may be silent.
func (k *link) limitLocked() time.Duration {
	return k.r.config.LagTimeout + time.Duration(k.underwayBytes>>20)*patiencePerMiB
}

// releasedLocked reports whether a standby cannot believe any more that it is in a set that a record leaves it out of.
func (k *link) releasedLocked(record Record, now time.Time) bool {
	if k.gone || k.recorded >= record.Version {
		return true
	}
	silence := k.silenceLocked(now)
	return silence >= k.limitLocked() && (silence >= k.r.config.aloneAfter() ||
		k.companyLocked(record.Members, func(other *link) bool { return other.knowsLocked(record, now) }))
}

// wantedLocked says who should be in the set. It returns nil if that cannot be said yet: a standby that would be left out
// may be right to believe for longer that it is in, or there are too few to go on with.
func (g *reign) wantedLocked(r *Replicator, now time.Time) []string {
	members := []string{r.config.NodeID}
	var silent []*link
	for id, k := range g.links {
		if !g.countsLocked(k) {
			continue
		}
		switch lost := k.lostLocked(now); {
		case errors.Is(lost, errSilent):
			silent = append(silent, k)
		case lost == nil && (k.believesLocked() || k.caughtUpLocked()):
			members = append(members, id)
		}
	}
	slices.Sort(members)
	for _, k := range silent {
		if k.believesLocked() && !k.companyLocked(members, nil) && k.silenceLocked(now) < r.config.aloneAfter() {
			return nil
		}
	}
	if len(members) < r.config.minSize() {
		return nil
	}
	return members
}

// companyLocked reports whether somebody stays in the set whom the standby knows as a member beside the master, and of
// whom informs is true, if it is given. The standby can tell from that one's word, or from its silence, that it may have
// been left out.
func (k *link) companyLocked(members []string, informs func(*link) bool) bool {
	witness := func(id string, record Record) bool {
		_, stays := slices.BinarySearch(members, id)
		if !stays || id == k.peer || id == record.Term.Node {
			return false
		}
		other := k.reign.links[id] // nil for this node itself, which is a master and says so
		return other == nil || informs == nil || informs(other)
	}
	for _, record := range k.knows {
		if !slices.ContainsFunc(record.Members, func(id string) bool { return witness(id, record) }) {
			return false
		}
	}
	return true
}

// caughtUpLocked: it has all that is committed, and commits wait for it.
func (k *link) caughtUpLocked() bool {
	return k.holding && (k.has >= k.reign.committed || k.r.config.Mode == Async)
}

// reviewLocked proposes another set if another one is wanted, and takes what may have become effective.
func (r *Replicator) reviewLocked(g *reign) {
	if r.reign != g || g == nil || !g.leading {
		return
	}
	now := time.Now()
	if wanted := g.wantedLocked(r, now); wanted != nil && !slices.Equal(wanted, g.proposed.Members) {
		r.proposeLocked(g, wanted)
	}
	r.takeEffectLocked(g, now)
}

// proposeLocked makes a new record and has it told to everybody.
func (r *Replicator) proposeLocked(g *reign, members []string) {
	g.proposed = Record{
		Term: g.term, Version: g.proposed.Version + 1, Members: members, AloneAfter: r.config.aloneAfter(),
	}
	r.promise.Record = g.proposed
	r.journal.promisedLocked(r.promise)
	g.ticket = r.journal.queued
	for _, k := range g.links {
		k.wakeUp()
	}
	if g.quorumRecorder != nil {
		g.quorumRecorder.next(g.proposed)
	}
	r.publishLocked()
}

// sleep waits, and reports whether ctx lasted.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// takeEffectLocked makes the proposed record the effective one, if it may.
func (r *Replicator) takeEffectLocked(g *reign, now time.Time) {
	if g.effective.Version == g.proposed.Version || !r.recordedLocked(g, now) {
		return
	}
	old := g.effective
	g.effective = g.proposed
	for id, k := range g.links {
		was, is := k.member, g.effective.Has(id)
		k.member = is
		k.believes = k.believes && is // who is left out is released, or else this would not take effect
		if is && (!was || old.Version == 0) {
			k.tell, g.alone = true, false
			r.log.Info("mirror: a standby is in sync", "peer", id, "position", k.acknowledged.String())
			k.inSyncLocked()
			k.wakeUp()
		}
		why := k.lostLocked(now)
		if why != nil && !is {
			k.holding = false
		}
		if was && !is {
			r.log.Warn("mirror: a standby is out of sync, going on without it", "peer", id, "reason", why)
		}
	}
	r.journal.goLocked()
	r.warnIfAloneLocked(g)
	g.advanceLocked(r)
	r.publishLocked()
}

// inSyncLocked lets Lead go on when a standby is in the set and holds the beginning of the term.
func (k *link) inSyncLocked() {
	if k.member && k.reign.effective.Version > 0 && k.has > k.reign.base.Index {
		k.settleTried()
	}
}

// membersKnowLocked reports whether those of the effective set that stay in the proposed one know that, and nobody goes by
// anything that they have said before.
func (g *reign) membersKnowLocked(now time.Time) bool {
	for id, k := range g.links {
		if k.member && g.proposed.Has(id) && !k.knowsLocked(g.proposed, now) {
			return false
		}
	}
	return true
}

// knowsLocked reports whether the standby knows a set, and what it has said before it did is void.
func (k *link) knowsLocked(record Record, now time.Time) bool {
	return k.recorded >= record.Version && !now.Before(k.informs)
}

// recordedLocked reports whether everybody who must know the proposed record does, and nobody who is left out can
// believe to be in.
func (r *Replicator) recordedLocked(g *reign, now time.Time) bool {
	if r.journal.store != nil && r.journal.written < g.ticket || g.quorumRecorder != nil && g.quorum < g.proposed.Version {
		return false
	}
	for id, k := range g.links {
		switch {
		case g.proposed.Has(id):
			if k.recorded < g.proposed.Version {
				return false
			}
		case k.believesLocked() && !k.releasedLocked(g.proposed, now):
			return false
		}
	}
	return true
}

// firstSetLocked is the set that a new term begins with: the last recorded one that this node or anybody who has
// answered knows, without its master unless that has answered. Nobody in it is left out without being told.
func (r *Replicator) firstSetLocked(offers []offer) (members []string, last Record) {
	last = r.promise.Record
	answered := make(map[string]bool)
	for _, o := range offers {
		answered[o.link.peer] = true
		if last.Less(o.answer.Record) {
			last = o.answer.Record
		}
	}
	members = []string{r.config.NodeID}
	for _, id := range last.Members {
		if id != r.config.NodeID && (id != last.Term.Node || answered[id]) {
			members = append(members, id)
		}
	}
	slices.Sort(members)
	return members, last
}

// shortLocked reports whether the set is too small to commit anything.
func (g *reign) shortLocked(r *Replicator) bool { return len(g.effective.Members) < r.config.minSize() }

// durableLocked is the index of this reign up to which everything is in this node's store.
func (g *reign) durableLocked(r *Replicator) uint64 {
	if r.journal.store == nil {
		return g.log.last()
	}
	if durable := r.journal.durable; durable.Term == g.term {
		return durable.Index
	}
	return g.base.Index
}
