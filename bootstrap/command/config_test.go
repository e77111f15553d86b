package command_test

import (
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/command"
)

func TestFit(t *testing.T) {
	for _, test := range []struct {
		stop, delay time.Duration
		retries     int
		fits        bool
	}{
		{2 * time.Second, time.Second, 5, true},
		{2800 * time.Millisecond, time.Second, 5, true},
		{2801 * time.Millisecond, time.Second, 5, false},
		{10 * time.Second, time.Second, 5, false},
		{10 * time.Second, time.Second, 15, true},
		{10 * time.Millisecond, 20 * time.Millisecond, 5, false},
	} {
		err := command.Fit(test.stop, test.delay, test.retries)
		if (err == nil) != test.fits {
			t.Errorf("%+v: %v", test, err)
		}
	}
	err := command.Fit(10*time.Second, time.Second, 5)
	const want = "workload.stop.timeout=10s does not fit into the lease: failover.delay 1s x failover.retries 5 = 5s, " +
		"less 2s for 2 late heartbeats, less 200ms for the kill and the drift of the clocks, leaves 2.8s; " +
		"want at most 2.8s, or a longer failover.delay or more failover.retries"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// TestFitPings: with the default times of an Interlok cluster there is room for a program that ends in 2.7 s.
func TestFitPings(t *testing.T) {
	const interval, lease = 3 * time.Second, 9 * time.Second
	if err := command.FitPings(2720*time.Millisecond, interval, lease); err != nil {
		t.Error(err)
	}
	const want = "workload.stop.timeout=3s does not fit into the lease of 9s that failover.ping.interval.seconds and " +
		"failover.instance.timeout.seconds leave: less 6s for 2 late pings, less 280ms for the kill and the drift of the clocks, " +
		"leaves 2.72s; want less, or, on all members, pings that come more often"
	if err := command.FitPings(3*time.Second, interval, lease); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestValidate(t *testing.T) {
	good := command.DefaultConfig()
	good.Command = []string{"/bin/true"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	bad := command.Config{
		Dir: "relative", Env: []string{"=x", "A B=1", "UNDERSTUDY_TERM=7", "OK=1"}, StopSignal: "SIGNOTHING",
		Restart: "sometimes", RestartMax: -1, CoolDown: -1,
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, key := range []string{
		"workload.command: is empty", "workload.dir:", "workload.env.:", "workload.env.A B:", "workload.env.UNDERSTUDY_TERM:",
		`workload.stop.signal: "SIGNOTHING"`, "workload.stop.timeout:", `workload.restart: "sometimes"`, "workload.restart.max:",
		"workload.restart.window:", "workload.cooldown:",
	} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("nothing about %s in:\n%v", key, err)
		}
	}
	good.StopSignal = "SIGSTOP"
	if err := good.Validate(); err == nil || !strings.Contains(err.Error(), "SIGSTOP ends no program") {
		t.Error(err)
	}
	good.StopSignal = "int"
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}

func TestRestarts(t *testing.T) {
	cfg := command.DefaultConfig()
	cfg.Command = []string{"/bin/x"}
	cfg.RestartMax = 3

	r := command.NewRestarts(cfg)
	now, last := time.Duration(0), time.Duration(0)
	for range 3 {
		again, wait, failed := r.Ended(now, now, 1)
		if !again || failed != nil || wait < last {
			t.Fatalf("again %v after %s, %v", again, wait, failed)
		}
		now, last = now+wait, wait
	}
	if again, _, failed := r.Ended(now, now, 1); again || failed == nil {
		t.Error("the budget has no end")
	} else if want := "x: exit code 1, after 3 restarts within 1m0s (workload.restart.max, workload.restart.window)"; failed.Error() != want {
		t.Errorf("got %v", failed)
	}

	// The budget comes back with time, and a run that lasted shortens the pauses.
	r = command.NewRestarts(cfg)
	now = 0
	for range 50 {
		again, wait, failed := r.Ended(now, now+time.Minute, 1)
		if !again || failed != nil || wait > 200*time.Millisecond {
			t.Fatalf("again %v after %s: %v", again, wait, failed)
		}
		now += time.Minute + wait
	}

	for _, test := range []struct {
		policy        command.Restart
		code          int
		again, failed bool
	}{
		{command.RestartAlways, 0, true, false}, {command.RestartAlways, 1, true, false},
		{command.RestartOnFailure, 0, false, false}, {command.RestartOnFailure, 1, true, false}, {command.RestartOnFailure, -1, true, false},
		{command.RestartNever, 0, false, false}, {command.RestartNever, 1, false, true}, {command.RestartNever, -1, false, true},
	} {
		cfg.Restart = test.policy
		again, _, failed := command.NewRestarts(cfg).Ended(0, 0, test.code)
		if again != test.again || (failed != nil) != test.failed {
			t.Errorf("%+v: again %v, failed %v", test, again, failed)
		}
	}
}
