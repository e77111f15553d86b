package loader_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/loader"
	"github.com/understudy-ha/understudy/plugins/contract"
)

func TestDeathIsTold(t *testing.T) {
	library := open(t, loader.Options{Dir: lib(t, "actor"), Checksums: loader.Off})
	for what, want := range map[string]string{"exit": "exit status 7", "panic": "panic: no way out"} {
		p := launch(t, library, "actor")
		if err := p.ExitError(); err != nil {
			t.Errorf("it runs, and yet: %v", err)
		}
		err := act(t.Context(), t, p, what)
		if !errors.Is(err, contract.ErrGone) || !strings.Contains(err.Error(), "plugin actor") {
			t.Errorf("the call in which it died: %v", err)
		}
		<-p.Exited()
		if err := p.ExitError(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: exit error %v, want %q in it", what, err, want)
		}
		if err := p.Stop(t.Context()); err != nil {
			t.Errorf("stop of a dead plugin: %v", err)
		}
	}
}

func TestLogsArrive(t *testing.T) {
	log := newJournal()
	p := launch(t, open(t, loader.Options{Dir: lib(t, "actor"), Checksums: loader.Off, Logger: log.logger()}), "actor")
	if err := act(t.Context(), t, p, "print"); err != nil {
		t.Fatal(err)
	}
	log.await(t, `msg="a stray print"`, "stream=stdout", "plugin=actor")
	log.await(t, `msg="and one to stderr"`, "stream=stderr")
	log.await(t, `msg="past go-plugin"`, "stream=stdout")
	log.await(t, "level=WARN", "msg=hot", "time=2026-11-05T10:00:00", "degrees=81", "plugin=actor")
	// A line that would end a host that leaves the reading to go-plugin.
	log.await(t, `@message`, "stream=stderr")
	if err := act(t.Context(), t, p, "nothing"); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

func TestEnvironmentIsSmall(t *testing.T) {
	t.Setenv("DATABASE_PASSWORD", "secret")
	t.Setenv("GOMEMLIMIT", "1GiB")
	p := launch(t, open(t, loader.Options{Dir: lib(t, "actor"), Checksums: loader.Off}), "actor")
	var veto *contract.VetoError
	if err := act(t.Context(), t, p, "environment"); !errors.As(err, &veto) {
		t.Fatal(err)
	}
	if strings.Contains(veto.Reason, "secret") || !strings.Contains(veto.Reason, "GOMEMLIMIT=1GiB") {
		t.Errorf("the plugin's environment is:\n%s", veto.Reason)
	}
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	p := launch(t, open(t, loader.Options{Dir: lib(t, "stubborn"), Checksums: loader.Off}), "stubborn")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop: %v", err)
	}
	<-p.Exited()
	if err := p.ExitError(); err != nil {
		t.Errorf("stopped, and yet: %v", err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	library := open(t, loader.Options{Dir: lib(t, "good", "agent"), Checksums: loader.Off})
	plugins := []*loader.Plugin{launch(t, library, "good"), launch(t, library, "agent")}
	if err := library.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range plugins {
		<-p.Exited()
	}
	if _, err := library.Launch(t.Context(), "good"); err == nil {
		t.Error("launched from a closed library")
	}
}
