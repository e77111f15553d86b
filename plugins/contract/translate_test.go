package contract_test

import (
	"fmt"
	"math"
	"math/rand"
	"reflect"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/profiler"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
	profilerv1 "github.com/understudy-ha/understudy/proto/gen/understudy/profiler/v1"

	cachesyncv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cachesync/v1"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

// Whatever a plugin or the host can say arrives as it was said.
func TestTranslationsLoseNothing(t *testing.T) {
	roundTrip(t, contract.ToAndFromPremain)
	roundTrip(t, contract.ToAndFromManifest)
	roundTrip(t, contract.ToAndFromJoinpoint)
	roundTrip(t, contract.ToAndFromStep)
	roundTrip(t, contract.ToAndFromHostReport)
	roundTrip(t, contract.ToAndFromRoleReport)
	roundTrip(t, contract.ToAndFromElectionStatus)
	roundTrip(t, contract.ToAndFromMirrorConfig)
	roundTrip(t, contract.ToAndFromOp)
	roundTrip(t, contract.ToAndFromEntry)
	roundTrip(t, contract.ToAndFromMirrorState)
	roundTrip(t, contract.ToAndFromMirrorStatus)
}

// roundTrip tries the zero value, and then random ones.
func roundTrip[T any](t *testing.T, thereAndBack func(T) T) {
	t.Helper()
	var value T
	t.Run(fmt.Sprintf("%T", value), func(t *testing.T) {
		for seed := range int64(300) {
			if seed > 0 {
				fill(reflect.ValueOf(&value).Elem(), rand.New(rand.NewSource(seed)))
			}
			if got := thereAndBack(value); !reflect.DeepEqual(got, value) {
				t.Fatalf("seed %d:\n got %+v\nwant %+v", seed, got, value)
			}
		}
	})
}

// fill sets every field to something that the wire can carry: times in milliseconds, int as int32.
func fill(v reflect.Value, rng *rand.Rand) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		if ms := rng.Int63n(1 << 42); ms%4 != 0 {
			v.Set(reflect.ValueOf(time.UnixMilli(ms).UTC()))
		} else {
			v.Set(reflect.ValueOf(time.Time{}))
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.SetZero()
		if rng.Intn(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), rng)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), rng)
		}
	case reflect.String:
		v.SetString([]string{"", "a", "orders-1", "päth/ü", "7:x"}[rng.Intn(5)])
	case reflect.Bool:
		v.SetBool(rng.Intn(2) == 0)
	case reflect.Uint8:
		v.SetUint(uint64(rng.Intn(8)))
	case reflect.Uint64:
		v.SetUint(rng.Uint64() >> rng.Intn(64))
	case reflect.Int:
		v.SetInt(int64(int32(rng.Uint32())))
	case reflect.Int64:
		v.SetInt(int64(rng.Uint64()) >> rng.Intn(64))
	case reflect.Slice:
		// Nothing is nil, as nobody can tell the difference but for Op.Payload, which has its own test.
		v.SetZero()
		if n := rng.Intn(3); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
		}
		for i := range v.Len() {
			fill(v.Index(i), rng)
		}
	case reflect.Map:
		v.SetZero()
		if rng.Intn(2) > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, rng)
			fill(value, rng)
			v.SetMapIndex(key, value)
		}
	default:
		panic("no way to fill a " + v.Type().String())
	}
}

// "Unchanged" and "empty" are two things.
func TestOpKeepsEmptyPayload(t *testing.T) {
	if got := contract.ToAndFromOp(contract.Op{}); got.Payload != nil {
		t.Errorf("no payload came back as %#v", got.Payload)
	}
	if got := contract.ToAndFromOp(contract.Op{Payload: []byte{}}); got.Payload == nil {
		t.Error("an empty payload came back as none")
	}
}

func TestWhatDoesNotFitIsClamped(t *testing.T) {
	for in, want := range map[int]int{math.MaxInt: math.MaxInt32, math.MinInt: math.MinInt32, 7: 7} {
		if got := contract.ToAndFromStep(profiler.StepEvent{Order: in}).Order; got != want {
			t.Errorf("order %d came back as %d, want %d", in, got, want)
		}
	}
}

// Enumerations are cast, so the numbers must agree.
func TestEnumerationsAgree(t *testing.T) {
	pairs := map[string][2]int32{
		"adapter":    {int32(profiler.KindAdapter), int32(profilerv1.Kind_KIND_ADAPTER)},
		"producer":   {int32(profiler.KindProducer), int32(profilerv1.Kind_KIND_PRODUCER)},
		"init":       {int32(profiler.TransitionInit), int32(profilerv1.Transition_TRANSITION_INIT)},
		"close":      {int32(profiler.TransitionClose), int32(profilerv1.Transition_TRANSITION_CLOSE)},
		"starting":   {int32(contract.RoleStarting), int32(failoverv1.Role_ROLE_STARTING)},
		"standby":    {int32(contract.RoleStandby), int32(failoverv1.Role_ROLE_STANDBY)},
		"master":     {int32(contract.RoleMaster), int32(failoverv1.Role_ROLE_MASTER)},
		"op first":   {int32(contract.OpReceived), int32(mirrorv1.OpKind_OP_KIND_RECEIVED)},
		"stepped":    {int32(contract.OpStepped), int32(mirrorv1.OpKind_OP_KIND_STEPPED)},
		"producing":  {int32(contract.OpProducing), int32(mirrorv1.OpKind_OP_KIND_PRODUCING)},
		"done":       {int32(contract.OpDone), int32(mirrorv1.OpKind_OP_KIND_DONE)},
		"released":   {int32(contract.OpReleased), int32(mirrorv1.OpKind_OP_KIND_RELEASED)},
		"held":       {int32(contract.OpHeld), int32(mirrorv1.OpKind_OP_KIND_HELD)},
		"received":   {int32(contract.EntryReceived), int32(mirrorv1.EntryState_ENTRY_STATE_RECEIVED)},
		"in produce": {int32(contract.EntryProducing), int32(mirrorv1.EntryState_ENTRY_STATE_PRODUCING)},
		"on hold":    {int32(contract.EntryHeld), int32(mirrorv1.EntryState_ENTRY_STATE_HELD)},
		"committed":  {int32(contract.Committed), int32(cachesyncv1.CommitResult_COMMIT_RESULT_COMMITTED)},
		"before":     {int32(contract.DoneBefore), int32(cachesyncv1.CommitResult_COMMIT_RESULT_DONE_BEFORE)},
		"no leader":  {int32(contract.NotLeading), int32(cachesyncv1.CommitResult_COMMIT_RESULT_NOT_LEADING)},
		"invalid":    {int32(contract.Invalid), int32(cachesyncv1.CommitResult_COMMIT_RESULT_INVALID)},
	}
	for name, pair := range pairs {
		if pair[0] != pair[1] {
			t.Errorf("%s is %d here and %d on the wire", name, pair[0], pair[1])
		}
	}
}
