package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/failover"
	"github.com/understudy-ha/understudy/failover/memnet"
	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/plugins/contract/contracttest"
	"github.com/understudy-ha/understudy/profiler"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/hashicorp/go-plugin.(*gRPCBrokerServer).Recv"))
}

func overMemnet(network *memnet.Network) opener {
	return func(cfg failover.Config, _ *slog.Logger) (failover.Transport, string, error) {
		transport, err := network.Join(cfg.NodeID)
		return transport, "memory", err
	}
}

func quietly() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestContract(t *testing.T) {
	contracttest.Run(t, func(t testing.TB) contract.Plugin {
		p := newPlugin(quietly(), overMemnet(memnet.New(1)), nil)
		t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
		return contract.Plugin{Name: name, Version: "test", Agent: p, Failover: p}
	}, contracttest.Config{})
}

// TestContractOfBinary is the same with the real binary and the real network, on the loopback interface.
func TestContractOfBinary(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the plugin")
	}
	if runtime.GOOS != "linux" {
		t.Skip("the loopback interface is named lo only on Linux")
	}
	binary := filepath.Join(t.TempDir(), name)
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		t.Fatal(err)
	}
	contracttest.RunBinary(t, binary, contracttest.Config{Properties: map[string]string{
		"failover.interface": "lo", "failover.group": "239.255.77.1", "failover.port": "27100", "failover.ttl": "0",
	}})
}

var adapterStart = profiler.Joinpoint{Kind: profiler.KindAdapter, ID: "orders", Transition: profiler.TransitionStart}

// started is a plugin in a bubble, with a host that speaks.
type started struct {
	*plugin
	reports chan contract.HostReport
	roles   chan contract.RoleReport
	report  contract.HostReport
}

func start(t *testing.T, network *memnet.Network, id string) *started {
	t.Helper()
	origin := time.Now()
	s := &started{
		plugin:  newPlugin(quietly(), overMemnet(network), func() time.Duration { return time.Since(origin) }),
		reports: make(chan contract.HostReport), roles: make(chan contract.RoleReport, 1),
		report: contract.HostReport{CanLead: true, AtRest: true, MirrorInSync: true},
	}
	manifest, err := s.Premain(t.Context(), contract.Premain{
		NodeID: id, Cluster: "orders", DataDir: t.TempDir(),
		Properties: map[string]string{"failover.delay": "100", "failover.retries": "5"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if manifest.Name != "failover" || len(manifest.Interests) != 4 {
		t.Fatalf("manifest %+v", manifest)
	}
	go func() { _ = s.Session(t.Context(), s.reports, s.keep) }()
	return s
}

// keep holds the latest role.
func (s *started) keep(r contract.RoleReport) error {
	select {
	case <-s.roles:
	default:
	}
	s.roles <- r
	return nil
}

// live lets the hosts report, twice per delay, for a while.
func live(d time.Duration, nodes ...*started) {
	for passed := time.Duration(0); passed < d; passed += 50 * time.Millisecond {
		for _, s := range nodes {
			s.report.Clock += 50 * time.Millisecond
			s.reports <- s.report
		}
		time.Sleep(50 * time.Millisecond)
	}
	synctest.Wait()
}

// TestGate: the adapter's start waits until the node is promoted, and nothing else does.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		a, b := start(t, network, "a"), start(t, network, "b")
		passed := make(chan string, 2)
		ctx, cancel := context.WithCancel(t.Context())
		for id, s := range map[string]*started{"a": a, "b": b} {
			for _, at := range []profiler.Joinpoint{
				{Kind: profiler.KindAdapter, Transition: profiler.TransitionInit},
				{Kind: profiler.KindWorkflow, Transition: profiler.TransitionStart},
			} {
				if err := s.Before(t.Context(), at); err != nil {
					t.Errorf("%v %v: %v", at.Kind, at.Transition, err)
				}
			}
			go func() {
				if s.Before(ctx, adapterStart) == nil {
					passed <- id
				}
			}()
		}
		live(2*time.Second, a, b)
		if first := <-passed; first != "b" { // The greater id, all else being equal.
			t.Errorf("%s was promoted", first)
		}
		select {
		case id := <-passed:
			t.Errorf("%s passed the gate too", id)
		default:
		}
		role := <-b.roles
		if role.Role != contract.RoleMaster || role.EchoClock != b.report.Clock || role.Valid <= 400*time.Millisecond ||
			role.Valid > 500*time.Millisecond || role.MasterID != "b" {
			t.Errorf("the master was told %+v at %v", role, b.report.Clock)
		}
		if role := <-a.roles; role.Role != contract.RoleStandby || role.Valid != 0 || role.MasterTerm.Node != "b" {
			t.Errorf("the standby was told %+v", role)
		}

		if err := b.Resign(t.Context(), role.Term, ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if id := <-passed; id != "a" {
			t.Errorf("%s passed the gate", id)
		}
		if err := a.Steps(t.Context(), make([]profiler.StepEvent, 3), 2); err != nil {
			t.Fatal(err)
		}
		status, err := a.Status(t.Context())
		if err != nil || status.Role != contract.RoleMaster || len(status.Peers) != 1 || status.Steps != 3 || status.StepsDropped != 2 {
			t.Errorf("status %+v, %v", status, err)
		}
		cancel()
		for _, s := range []*started{a, b} {
			for range 2 {
				if err := s.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
		if err := a.Before(t.Context(), adapterStart); !errors.Is(err, failover.ErrStopped) {
			t.Errorf("after the shutdown the gate says %v", err)
		}
	})
}

func TestPremainRefuses(t *testing.T) {
	p := newPlugin(quietly(), overMemnet(memnet.New(1)), nil)
	if err := p.Before(t.Context(), adapterStart); err == nil {
		t.Error("the gate opened before premain")
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Errorf("shutdown before premain: %v", err)
	}
	_, err := p.Premain(t.Context(), contract.Premain{
		NodeID: "a", Cluster: "orders", DataDir: t.TempDir(),
		Properties: map[string]string{"failover.delay": "soon", "failover.retries": "1"},
	})
	if err == nil || !strings.Contains(err.Error(), "failover.delay") || !strings.Contains(err.Error(), "failover.retries") {
		t.Errorf("got %v, want both faults", err)
	}
}
