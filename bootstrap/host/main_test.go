package host_test

import (
	"testing"

	"go.uber.org/goleak"
)

// The liveness socket of a node whose work does not stop stays open until the process ends, and one test shows that.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/understudy-ha/understudy/bootstrap/host.(*liveness).serve"),
		goleak.IgnoreAnyFunction("github.com/understudy-ha/understudy/bootstrap/host.(*liveness).talk"))
}
