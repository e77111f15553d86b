package host_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/host"
	"github.com/understudy-ha/understudy/plugins/contract"
)

// hooked is a stage whose hooks write into the diary.
func hooked(t *testing.T, failover bool, run func(s *stage, ctx context.Context, e host.HookEvent) error) *stage {
	t.Helper()
	return setStage(t, failover, nil, func(s *stage, opt *host.Options) {
		opt.Hook = &host.HookConfig{Timeout: 10 * time.Second, Run: func(ctx context.Context, e host.HookEvent) error {
			if run != nil {
				if err := run(s, ctx, e); err != nil {
					return err
				}
			}
			s.note("hook %d %s %s master=%s", e.Number, e.Role, e.Term, e.Master)
			return nil
		}}
	})
}

// onlyHooks are the lines of the diary that hooks have written.
func (s *stage) onlyHooks() string {
	synctest.Wait()
	var lines []string
	for _, line := range s.take() {
		if strings.HasPrefix(line, "hook ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func TestHooksFollowTheRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hooked(t, true, nil)
		check := func(what, want string) {
			t.Helper()
			if got := s.onlyHooks(); got != want {
				t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
			}
		}
		check("at the start", "hook 1 standby none master=")
		s.failover.become(leadsOfB)
		check("somebody leads", "hook 2 standby none master=b")
		s.failover.become(contract.RoleReport{Role: contract.RoleStandby, Reason: "b is silent"})
		check("nobody leads", "")
		s.failover.promote(term7)
		check("promoted", "hook 3 master 7:a master=a")
		s.failover.become(lapsedMaster)
		time.Sleep(6 * time.Second)
		s.failover.promote(term7)
		check("a lapse", "")
		s.failover.resigned = leadsOfB
		s.failover.become(leadsOfB)
		check("demoted", "hook 4 standby none master=b")
		s.end(t)
		check("stopped", "hook 5 stopped none master=")
	})
}

func TestHooksOfANodeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hooked(t, false, nil)
		if got, want := s.onlyHooks(), "hook 1 standby none master=\nhook 2 master none master=a"; got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
		s.end(t)
		if got, want := s.onlyHooks(), "hook 3 stopped none master="; got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	})
}

// A hook that hangs holds up no promotion, no demotion and no other hook for longer than its timeout.
func TestHookThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hooked(t, true, func(_ *stage, ctx context.Context, e host.HookEvent) error {
			if e.Number == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		s.failover.promote(term7)
		s.expect(t, "lead 7:a", "start term=7:a in-flight=1")
		s.failover.become(leadsOfB)
		s.expect(t, "stop gate-open=false", "follow", "resign 7:a")
		time.Sleep(10 * time.Second)
		if got := s.onlyHooks(); !strings.HasPrefix(got, "hook 2 master 7:a master=a\nhook 3 standby none master=b") {
			t.Errorf("in order, after the timeout:\n%s", got)
		}
		s.end(t)
	})
}

// Failures and panics are warnings.
func TestHookThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hooked(t, true, func(_ *stage, _ context.Context, e host.HookEvent) error {
			if e.Number == 1 {
				return errors.New("exit status 1")
			}
			if e.Role == host.HookMaster {
				panic("oh")
			}
			return nil
		})
		s.failover.promote(term7)
		synctest.Wait()
		if phase := s.node.Status().Phase; phase != host.PhaseRunning {
			t.Errorf("phase %q", phase)
		}
		s.onlyHooks()
		s.end(t)
		if got := s.onlyHooks(); !strings.HasSuffix(got, "stopped none master=") {
			t.Errorf("the last hook was not run: %q", got)
		}
	})
}

// What waits for a slow hook is bounded, and the newest state is what is left.
func TestHookQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := hooked(t, true, func(_ *stage, _ context.Context, e host.HookEvent) error {
			if e.Number == 1 {
				<-release
			}
			return nil
		})
		for i := range 100 {
			r := leadsOfB
			r.MasterID = fmt.Sprint("n", i)
			s.failover.become(r)
			synctest.Wait()
		}
		close(release)
		lines := strings.Split(s.onlyHooks(), "\n")
		if len(lines) > 66 || lines[len(lines)-1] != "hook 101 standby none master=n99" {
			t.Errorf("%d hooks, the last: %s", len(lines), lines[len(lines)-1])
		}
		s.end(t)
	})
}
