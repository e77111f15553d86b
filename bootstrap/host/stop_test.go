package host_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/host"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// staleMaster is the report of an election that has promoted this node, but does not vouch for it.
var staleMaster = contract.RoleReport{Role: contract.RoleMaster, Term: term7}

func TestStopBetweenPromotionAndOpeningResigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true)
		synctest.Wait()
		s.failover.become(staleMaster)
		synctest.Wait()
		s.end(t)
		s.expect(t, "resign 7:a")
	})
}

type slowStart struct{ *fakeWorkload }

func (slowStart) Start(ctx context.Context, _ adapter.Run) error {
	<-ctx.Done()
	return ctx.Err()
}

func (slowStart) Stop(context.Context) error { return nil }

func TestStopDuringAStartThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStageWith(t, true, func(w *fakeWorkload) (host.Workload, error) { return slowStart{w}, nil })
		s.failover.promote(term7)
		s.expect(t, "lead 7:a")
		s.end(t)
		s.expect(t, "follow", "resign 7:a")
	})
}

type badClose struct{ *fakeWorkload }

func (badClose) Close(context.Context) error { return errors.New("close failed") }

func TestUnableDoesNotStand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStageWith(t, true, func(w *fakeWorkload) (host.Workload, error) { return badClose{w}, nil })
		synctest.Wait()
		s.failover.become(staleMaster)
		time.Sleep(time.Minute) // a lease may come as long as the election keeps the role
		s.failover.become(contract.RoleReport{Role: contract.RoleStandby})
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if phase := s.node.Status().Phase; phase != host.PhaseUnable {
			t.Errorf("phase %q", phase)
		}
		if _, report, _ := s.failover.now(); report.CanLead {
			t.Error("unable, and stands for election")
		}
		s.stop()
		if err := <-s.ended; err != nil {
			t.Errorf("stopped with %v", err)
		}
	})
}
