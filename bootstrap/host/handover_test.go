package host_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/host"
	"github.com/understudy-ha/understudy/plugins/contract"
)

var (
	term8    = contract.Term{Number: 8, Node: "b"}
	fitPeer  = contract.ElectionPeer{NodeID: "b", Role: contract.RoleStandby, CanLead: true, InSync: true, Age: time.Second}
	leadsOfB = contract.RoleReport{Role: contract.RoleStandby, MasterID: "b", MasterTerm: term8, Reason: "b leads"}
)

// leading is a stage whose node leads in term 7 and knows b.
func leading(t *testing.T, peers ...contract.ElectionPeer) *stage {
	t.Helper()
	s := newStage(t, true)
	s.failover.know(peers...)
	s.failover.promote(term7)
	s.expect(t, "lead 7:a", "start term=7:a in-flight=1")
	return s
}

func TestHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leading(t, fitPeer, contract.ElectionPeer{NodeID: "c", CanLead: true, InSync: true})
		s.failover.resigned = leadsOfB
		s.workload.draining = func(ctx context.Context) {
			time.Sleep(2 * time.Second)
			if err := s.workload.run.Mirror.Done(ctx, "m1"); err != nil {
				t.Error(err)
			}
		}
		result, err := s.node.Handover(t.Context(), host.HandoverRequest{})
		if err != nil {
			t.Fatal(err)
		}
		s.expect(t, "stop gate-open=true", "follow", "resign 7:a to b")
		if result.Term != term7 || result.To != "b" || result.NewTerm != term8 || result.Drain != 2*time.Second || result.Missed ||
			len(result.Unfinished) > 0 {
			t.Errorf("result %+v", result)
		}
		changes := s.reported()
		if len(changes) != 2 || changes[0].What != host.Promotion || changes[1].What != host.HandedOver {
			t.Fatalf("reports %+v", changes)
		}
		if e := changes[1].Ended; changes[1].Term != "7:a" || e.To != "b" || e.Successor != "b" || e.SuccessorTerm != "8:b" ||
			time.Duration(e.Drain) != 2*time.Second {
			t.Errorf("report %+v of %+v", e, changes[1])
		}
		if _, report, _ := s.failover.now(); !report.CanLead || !report.AtRest {
			t.Errorf("it does not stand for election again: %+v", report)
		}
		s.end(t)
	})
}

func TestHandoverToANamedNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leading(t, fitPeer, contract.ElectionPeer{NodeID: "c", CanLead: true, InSync: true})
		s.failover.resigned = contract.RoleReport{Role: contract.RoleStandby, MasterID: "c", MasterTerm: contract.Term{Number: 8, Node: "c"}}
		s.workload.draining = func(ctx context.Context) { _ = s.workload.run.Mirror.Done(ctx, "m1") }
		result, err := s.node.Handover(t.Context(), host.HandoverRequest{To: "c"})
		if err != nil || result.To != "c" {
			t.Errorf("result %+v, %v", result, err)
		}
		s.expect(t, "stop gate-open=true", "follow", "resign 7:a to c")
		s.end(t)
	})
}

func TestHandoverRefused(t *testing.T) {
	with := func(change func(*contract.ElectionPeer)) contract.ElectionPeer {
		p := fitPeer
		change(&p)
		return p
	}
	tests := []struct {
		name  string
		peers []contract.ElectionPeer
		to    string
		set   func(*stage)
		want  string
	}{
		{"nobody there", nil, "", nil, "no other node is known"},
		{"an unknown node", []contract.ElectionPeer{fitPeer}, "x", nil, "no node x is known here; known are: b"},
		{"itself", []contract.ElectionPeer{fitPeer}, "a", nil, "a leads already"},
		{"a witness", []contract.ElectionPeer{with(func(p *contract.ElectionPeer) { p.Witness = true })}, "", nil, "b: it is a witness"},
		{"an observer", []contract.ElectionPeer{with(func(p *contract.ElectionPeer) { p.Observer = true })}, "b", nil, "b: it only observes"},
		{"it cannot lead", []contract.ElectionPeer{with(func(p *contract.ElectionPeer) { p.CanLead = false })}, "", nil, "b: it cannot lead"},
		{"it is silent", []contract.ElectionPeer{with(func(p *contract.ElectionPeer) { p.Age = 3 * time.Second })}, "", nil, "b: it has not been heard for 3s"},
		{"it is not in sync", []contract.ElectionPeer{with(func(p *contract.ElectionPeer) { p.InSync = false })}, "", nil, "b: its mirror is not in sync"},
		{"the mirror knows better", []contract.ElectionPeer{fitPeer}, "", func(s *stage) {
			s.mirror.peers = []contract.MirrorPeer{{NodeID: "b", LagEntries: 7}}
		}, "b: its mirror is not in sync, 7 entries behind"},
		{"each has its reason", []contract.ElectionPeer{
			with(func(p *contract.ElectionPeer) { p.InSync = false }), {NodeID: "c", Witness: true},
		}, "", nil, "nobody could take over now\nb: its mirror is not in sync\nc: it is a witness"},
		{"paused", []contract.ElectionPeer{fitPeer}, "", func(s *stage) {
			s.failover.status.Paused, s.failover.status.PausedBy = true, "c"
		}, "the cluster is paused (by c)"},
		{"the lease has lapsed", []contract.ElectionPeer{fitPeer}, "", func(s *stage) {
			s.failover.become(contract.RoleReport{Role: contract.RoleMaster, Term: term7})
			time.Sleep(6 * time.Second)
		}, "the lease of this node has lapsed"},
		{"the plugin is down", []contract.ElectionPeer{fitPeer}, "", func(s *stage) {
			s.node.FailoverDown(errors.New("killed"))
			synctest.Wait()
		}, "its failover plugin is down"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := leading(t, test.peers...)
				if test.set != nil {
					test.set(s)
				}
				_, err := s.node.Handover(t.Context(), host.HandoverRequest{To: test.to})
				if !errors.Is(err, host.ErrRefused) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v, want %q", err, test.want)
				}
				s.end(t)
			})
		})
	}
}

// TestHandoverInASlowerCluster: who is heard less often than this host reports is no silent node, and where the election
// has other ids than the mirror its own word about the latter is not asked for.
func TestHandoverInASlowerCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setStage(t, true, nil, func(_ *stage, opt *host.Options) { opt.Beat, opt.Unnamed = 3*time.Second, true })
		peer := contract.ElectionPeer{NodeID: "b", Role: contract.RoleStandby, CanLead: true, Age: 6001 * time.Millisecond}
		s.failover.know(peer)
		s.failover.promote(term7)
		s.expect(t, "lead 7:a", "start term=7:a in-flight=1")
		if _, err := s.node.Handover(t.Context(), host.HandoverRequest{}); !errors.Is(err, host.ErrRefused) ||
			!strings.Contains(err.Error(), "b: it has not been heard for 6.001s") {
			t.Errorf("a silent node: %v", err)
		}
		peer.Age = 6 * time.Second
		s.failover.know(peer)
		s.failover.resigned = leadsOfB
		s.workload.draining = func(ctx context.Context) { _ = s.workload.run.Mirror.Done(ctx, "m1") }
		if result, err := s.node.Handover(t.Context(), host.HandoverRequest{}); err != nil || result.To != "b" {
			t.Errorf("result %+v, %v", result, err)
		}
		s.expect(t, "stop gate-open=true", "follow", "resign 7:a to b")
		s.end(t)
	})
}

func TestHandoverAskedOfAStandby(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true)
		s.failover.become(leadsOfB)
		synctest.Wait()
		_, err := s.node.Handover(t.Context(), host.HandoverRequest{})
		if !errors.Is(err, host.ErrRefused) || !strings.Contains(err.Error(), "this node is a standby node; b leads. Ask there") {
			t.Error(err)
		}
		s.end(t)
	})
}

func TestHandoverOfANodeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, false)
		synctest.Wait()
		if _, err := s.node.Handover(t.Context(), host.HandoverRequest{}); !errors.Is(err, host.ErrRefused) {
			t.Error(err)
		}
		s.end(t)
	})
}

// The deadline of the drain is the request's; what was left is named.
func TestHandoverMissesItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leading(t, fitPeer)
		s.failover.resigned = leadsOfB
		for _, id := range []string{"m3", "m2", "held", "done", "m4"} {
			if _, err := s.workload.run.Mirror.Receive(t.Context(), adapter.Entry{MessageID: id}); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(
			s.workload.run.Mirror.Hold(t.Context(), "held", "why not"), s.workload.run.Mirror.Done(t.Context(), "done"),
			s.workload.run.Mirror.Release(t.Context(), "m1"),
			s.workload.run.Mirror.Hold(t.Context(), "m4", "later"), s.workload.run.Mirror.Producing(t.Context(), "m4"),
		); err != nil {
			t.Fatal(err)
		}
		s.workload.draining = func(ctx context.Context) { <-ctx.Done() }
		result, err := s.node.Handover(t.Context(), host.HandoverRequest{Timeout: 3 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if result.Drain != 3*time.Second || !result.Missed || !slices.Equal(result.Unfinished, []string{"m2", "m3", "m4"}) ||
			!strings.Contains(result.Fate, "in the mirror") {
			t.Errorf("result %+v", result)
		}
		s.end(t)
	})
}

func TestHandoverThatNobodyTakes(t *testing.T) {
	for _, again := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := leading(t, fitPeer)
			want := "nobody has taken over within 11s"
			if again {
				s.failover.resigned = contract.RoleReport{Role: contract.RoleMaster, Term: contract.Term{Number: 9, Node: "a"}, Valid: time.Minute}
				want = "this node leads again, in term 9:a"
			}
			_, err := s.node.Handover(t.Context(), host.HandoverRequest{})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
			synctest.Wait()
			if _, report, _ := s.failover.now(); !report.CanLead {
				t.Errorf("it does not stand for election: %q", report.Reason)
			}
			s.end(t)
		})
	}
}

// A handover goes on without anybody who waits, and one that has not begun does not begin.
func TestHandoverWithoutPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leading(t, fitPeer)
		s.failover.resigned = leadsOfB
		s.workload.draining = func(context.Context) { time.Sleep(time.Minute) }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.node.Handover(ctx, host.HandoverRequest{}); err == nil || !strings.Contains(err.Error(), "goes on") {
			t.Error(err)
		}
		if _, err := s.node.Handover(t.Context(), host.HandoverRequest{}); !errors.Is(err, host.ErrRefused) {
			t.Errorf("a second one: %v", err)
		}
		time.Sleep(time.Minute)
		s.expect(t, "stop gate-open=true", "follow", "resign 7:a to b")
		s.end(t)
	})
}

// What the election wishes is done the same way.
func TestElectionWishesAHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leading(t)
		s.failover.resigned = leadsOfB
		s.failover.become(contract.RoleReport{
			Role: contract.RoleMaster, Term: term7, Valid: 5 * time.Second,
			Handover: contract.Handover{To: "b", Reason: "b is better, and failover.preempt is on"},
		})
		s.expect(t, "stop gate-open=true", "follow", "resign 7:a to b")
		changes := s.reported()
		if len(changes) != 2 || changes[1].What != host.HandedOver || changes[1].Reason != "b is better, and failover.preempt is on" {
			t.Errorf("reports %+v", changes)
		}
		s.end(t)
	})
}

func TestReportOfAPromotion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, true)
		s.workload.starting = func(ctx context.Context) {
			// What the adapter does when on-takeover says drop; later changes are the work's own.
			if err := s.workload.run.Mirror.Done(ctx, "m1"); err != nil {
				t.Error(err)
			}
			time.Sleep(3 * time.Millisecond)
		}
		s.failover.become(contract.RoleReport{
			Role: contract.RoleMaster, Term: term7, Valid: 5 * time.Second, Reason: "promoted", Takeover: &contract.Takeover{
				Cause: "the master's process is gone", After: contract.Term{Number: 6, Node: "b"},
				Detection: 5 * time.Millisecond, Wait: time.Millisecond, Claim: 3 * time.Millisecond,
				Heard: []contract.HeardAge{{NodeID: "b", Age: 200 * time.Millisecond}},
			},
		})
		time.Sleep(time.Second)
		changes := s.reported()
		if len(changes) != 1 {
			t.Fatalf("reports %+v", changes)
		}
		want := &host.PromotionReport{
			After: "6:b", Heard: []host.HeardReport{{Node: "b", Age: host.Millis(200 * time.Millisecond)}},
			Detection: host.Millis(5 * time.Millisecond), Wait: host.Millis(time.Millisecond), Claim: host.Millis(3 * time.Millisecond),
			Start: host.Millis(3 * time.Millisecond), InFlight: 1, Dropped: 1,
		}
		if c := changes[0]; c.Term != "7:a" || c.Reason != "the master's process is gone" || !reflect.DeepEqual(c.Promoted, want) {
			t.Errorf("report %+v\n%+v\nwant\n%+v", c, c.Promoted, want)
		}
		s.end(t)
		if changes := s.reported(); len(changes) != 1 || changes[0].What != host.Demotion || changes[0].Reason != "this node is stopping" {
			t.Errorf("reports at the end %+v", changes)
		}
	})
}

func TestReportOfADemotion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leading(t)
		s.reported()
		s.failover.become(contract.RoleReport{Role: contract.RoleStandby, MasterID: "b", Reason: "8:b leads"})
		changes := s.reported()
		if len(changes) != 1 || changes[0].What != host.Demotion || !strings.Contains(changes[0].Reason, "8:b leads") ||
			!slices.Equal(changes[0].Ended.Unfinished, []string{"m1"}) || changes[0].Ended.Missed {
			t.Errorf("reports %+v", changes)
		}
		s.end(t)
	})
}

func TestWitness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setStage(t, true, func(*fakeWorkload) (host.Workload, error) {
			t.Error("a witness built a workload")
			return nil, errors.New("no")
		}, func(_ *stage, opt *host.Options) { opt.Witness, opt.Mirror, opt.Lifecycle = true, false, nil })
		synctest.Wait()
		_, report, _ := s.failover.now()
		if report.CanLead || !strings.Contains(report.Reason, "witness") || !report.AtRest || report.GateOpen {
			t.Errorf("the election heard %+v", report)
		}
		s.failover.promote(term7) // which an election would not do
		time.Sleep(time.Hour)
		if st := s.node.Status(); st.GateOpen || st.Phase != host.PhaseWitness {
			t.Errorf("status %+v", st)
		}
		s.end(t)
		s.expect(t)
	})
}
