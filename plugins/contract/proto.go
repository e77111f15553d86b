package contract

import (
	cachesyncv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cachesync/v1"
	clusterv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

// Proto returns the term as messages carry it.
func (t Term) Proto() *clusterv1.Term { return toTerm(t) }

// Proto returns the role as messages carry it.
func (r Role) Proto() failoverv1.Role { return failoverv1.Role(r) }

// Proto returns the status as messages carry it, for the control endpoint.
func (s ElectionStatus) Proto() *failoverv1.StatusResponse { return toElectionStatus(s) }

// Proto returns the status as messages carry it, for the control endpoint.
func (s MirrorStatus) Proto() *cachesyncv1.StatusResponse { return toMirrorStatus(s) }
