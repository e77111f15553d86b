package contracttest

import (
	"context"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/plugins/contract"
)

func runFailover(t *testing.T, start func(t testing.TB) node) {
	t.Run("every report is answered", func(t *testing.T) {
		n := ready(t, start)
		s := openSession(t, n.Failover)
		for i := range 5 {
			clock := time.Duration(i+1) * time.Millisecond
			s.reports <- contract.HostReport{Clock: clock, AtRest: true, Reason: "the suite does not lead"}
			for s.next(t).EchoClock != clock {
			}
		}
		close(s.reports)
		s.mustEnd(t)
	})

	t.Run("who cannot lead does not", func(t *testing.T) {
		n := ready(t, start)
		s := openSession(t, n.Failover)
		s.reports <- contract.HostReport{Clock: 1, AtRest: true, Reason: "the suite does not lead"}
		if got := s.next(t); got.Role == contract.RoleMaster || got.Valid != 0 {
			t.Errorf("a node that cannot lead was told %+v", got)
		}
		s.cancel()
		s.mustEnd(t)
	})

	t.Run("a session can follow another", func(t *testing.T) {
		n := ready(t, start)
		for range 3 {
			s := openSession(t, n.Failover)
			s.reports <- contract.HostReport{Clock: 1, AtRest: true}
			s.next(t)
			s.cancel()
			s.mustEnd(t)
		}
	})

	t.Run("resigning what is not held is no error", func(t *testing.T) {
		n := ready(t, start)
		if err := n.Failover.Resign(within(t), contract.Term{Number: 99, Node: "other"}, ""); err != nil {
			t.Error(err)
		}
	})

	t.Run("status", func(t *testing.T) {
		n := ready(t, start)
		status, err := n.Failover.Status(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if status.NodeID != "fake" || status.Role == 0 {
			t.Errorf("status %+v, want this node's id and a role", status)
		}
	})
}

// ready is a started plugin that knows its node. It is shut down with the test, so that it says goodbye.
func ready(t testing.TB, start func(t testing.TB) node) node {
	t.Helper()
	n := start(t)
	if n.Agent == nil {
		return n
	}
	if _, err := n.Agent.Premain(within(t), n.premain(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Agent.Shutdown(context.Background()); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return n
}

type session struct {
	reports chan contract.HostReport
	roles   chan contract.RoleReport
	cancel  context.CancelFunc
	ended   chan error
}

func openSession(t testing.TB, failover contract.Failover) *session {
	ctx, cancel := context.WithCancel(within(t))
	s := &session{
		reports: make(chan contract.HostReport), roles: make(chan contract.RoleReport),
		cancel: cancel, ended: make(chan error, 1),
	}
	go func() {
		defer close(s.roles)
		s.ended <- failover.Session(ctx, s.reports, func(r contract.RoleReport) error {
			select {
			case s.roles <- r:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	t.Cleanup(cancel)
	return s
}

func (s *session) next(t testing.TB) contract.RoleReport {
	t.Helper()
	r, ok := <-s.roles
	if !ok {
		t.Fatalf("the session ended: %v", <-s.ended)
	}
	return r
}

// mustEnd waits for the end of a session that was closed or given up.
func (s *session) mustEnd(t testing.TB) {
	t.Helper()
	for range s.roles {
	}
	if err := <-s.ended; err != nil && !isContextError(err) {
		t.Errorf("the session ended with %v", err)
	}
}
