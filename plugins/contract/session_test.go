package contract_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/plugins/contract/contracttest"
)

// scriptedFailover runs a session of the test's own.
type scriptedFailover struct {
	contracttest.Failover
	session func(ctx context.Context, reports <-chan contract.HostReport, send func(contract.RoleReport) error) error
}

func (f *scriptedFailover) Session(ctx context.Context, reports <-chan contract.HostReport, send func(contract.RoleReport) error) error {
	return f.session(ctx, reports, send)
}

func failover(t testing.TB, f contract.Failover) contract.Failover {
	return contracttest.Pair(t, contract.Plugin{Name: "fake", Failover: f}).Failover
}

func TestSessionEndings(t *testing.T) {
	broken := errors.New("the socket is broken")
	until := map[string]func(context.Context, <-chan contract.HostReport) error{
		"the plugin fails": func(context.Context, <-chan contract.HostReport) error { return broken },
		"the plugin ends":  func(context.Context, <-chan contract.HostReport) error { return nil },
		"the host ends": func(_ context.Context, reports <-chan contract.HostReport) error {
			for range reports {
			}
			return nil
		},
		"the context ends": func(ctx context.Context, _ <-chan contract.HostReport) error {
			<-ctx.Done()
			return ctx.Err()
		},
		"send fails": func(ctx context.Context, _ <-chan contract.HostReport) error {
			<-ctx.Done()
			return ctx.Err()
		},
	}
	for ending, wait := range until {
		t.Run(ending, func(t *testing.T) {
			left := make(chan struct{})
			f := failover(t, &scriptedFailover{session: func(ctx context.Context, reports <-chan contract.HostReport, send func(contract.RoleReport) error) error {
				defer close(left)
				if err := send(contract.RoleReport{Role: contract.RoleStandby}); err != nil {
					return err
				}
				return wait(ctx, reports)
			}})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			reports := make(chan contract.HostReport, 1)
			reports <- contract.HostReport{Clock: 1}
			err := f.Session(ctx, reports, func(contract.RoleReport) error {
				switch ending {
				case "the host ends":
					close(reports)
				case "the context ends":
					cancel()
				case "send fails":
					return broken
				}
				return nil
			})
			<-left
			var want string
			switch ending {
			case "the plugin fails":
				want = "plugin fake: session: the socket is broken"
			case "the context ends":
				want = "plugin fake: session: context canceled"
			case "send fails":
				want = broken.Error()
			}
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("it ended with %v, want %q", err, want)
			}
		})
	}
}

// The last state always arrives, whoever is slow.
func TestWatchIsALevel(t *testing.T) {
	const last = 5000
	told := make(chan struct{})
	m := mirror(t, &scriptedMirror{onWatch: func(ctx context.Context, changed func(contract.MirrorState)) error {
		for i := range uint64(last + 1) {
			changed(contract.MirrorState{Position: contract.Position{Index: i}})
		}
		close(told)
		<-ctx.Done()
		return ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	steps, previous := 0, uint64(0)
	err := m.Watch(ctx, func(state contract.MirrorState) {
		<-told
		steps++
		if state.Position.Index < previous {
			t.Errorf("state %d came after %d", state.Position.Index, previous)
		}
		if previous = state.Position.Index; previous == last {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	t.Logf("%d of %d states were seen", steps, last+1)
}

func TestLeadCarriesMuch(t *testing.T) {
	want := contract.Lead{Sealed: contract.Position{Term: term, Index: 9}, TakenFrom: "other"}
	payload := make([]byte, 700<<10)
	for i := range 20 {
		want.Entries = append(want.Entries, contract.Entry{MessageID: name(i), State: contract.EntryReceived, Payload: payload})
	}
	m := mirror(t, &scriptedMirror{onLead: func() (contract.Lead, error) { return want, nil }})
	got, err := m.Lead(t.Context(), term)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Entries) != 20 || got.Sealed != want.Sealed || got.TakenFrom != "other" {
		t.Errorf("%d entries, sealed %v, taken from %q", len(got.Entries), got.Sealed, got.TakenFrom)
	}
	m = mirror(t, &scriptedMirror{onLead: func() (contract.Lead, error) { return contract.Lead{}, errors.New("a higher term") }})
	if _, err := m.Lead(t.Context(), term); err == nil || !strings.Contains(err.Error(), "plugin fake: lead term 1:n: a higher term") {
		t.Errorf("refused: %v", err)
	}
}
