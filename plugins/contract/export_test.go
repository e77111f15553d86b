package contract

import (
	"github.com/understudy-ha/understudy/profiler"
	profilerv1 "github.com/understudy-ha/understudy/proto/gen/understudy/profiler/v1"
)

// There and back again, for the tests of the translations.
var (
	ToAndFromPremain        = func(v Premain) Premain { return fromPremain(toPremain(v)) }
	ToAndFromManifest       = func(v Manifest) Manifest { return fromManifest(toManifest(v)) }
	ToAndFromJoinpoint      = func(v profiler.Joinpoint) profiler.Joinpoint { return fromJoinpoint(toJoinpoint(v)) }
	ToAndFromHostReport     = func(v HostReport) HostReport { return fromHostReport(toHostReport(v)) }
	ToAndFromRoleReport     = func(v RoleReport) RoleReport { return fromRoleReport(toRoleReport(v)) }
	ToAndFromElectionStatus = func(v ElectionStatus) ElectionStatus { return fromElectionStatus(toElectionStatus(v)) }
	ToAndFromMirrorConfig   = func(v MirrorConfig) MirrorConfig { return fromMirrorConfig(toMirrorConfig(v)) }
	ToAndFromOp             = func(v Op) Op { return fromOp(toOp(v)) }
	ToAndFromEntry          = func(v Entry) Entry { return fromEntry(toEntry(v)) }
	ToAndFromMirrorState    = func(v MirrorState) MirrorState { return fromMirrorState(toMirrorState(v)) }
	ToAndFromMirrorStatus   = func(v MirrorStatus) MirrorStatus { return fromMirrorStatus(toMirrorStatus(v)) }
	FromStatus              = fromStatus
	ToStatus                = toStatus
	ToHclog                 = toHclog
	ByHand                  = byHand
)

// ToAndFromStep goes there over a message that was used before.
func ToAndFromStep(v profiler.StepEvent) profiler.StepEvent {
	used := &profilerv1.StepEvent{MessageId: "used", Order: 1, Failed: true}
	toStep(used, &v)
	return fromSteps([]*profilerv1.StepEvent{used})[0]
}
