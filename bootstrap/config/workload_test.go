package config_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/config"
)

func TestWorkload(t *testing.T) {
	dir := files{"config/bootstrap.properties": `cluster.name=db
workload.command=/usr/bin/db -c "key=a b" 'x'
workload.dir=run
workload.env.B=2
workload.env.A=one and a half
workload.stop.signal=SIGINT
workload.stop.timeout=1500
workload.restart=on-failure
workload.restart.max=0
workload.restart.window=2m
workload.cooldown=0
workload.cgroup=false
`}.write(t)
	c, warnings, err := config.Load(config.Options{Dir: dir})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	w := c.Workload
	if !slices.Equal(w.Command, []string{"/usr/bin/db", "-c", "key=a b", "x"}) || w.Dir != filepath.Join(dir, "run") ||
		!slices.Equal(w.Env, []string{"A=one and a half", "B=2"}) || w.StopSignal != "SIGINT" || w.StopTimeout != 1500*time.Millisecond ||
		w.Restart != "on-failure" || w.RestartMax != 0 || w.RestartWindow != 2*time.Minute || w.CoolDown != 0 || w.Cgroup != config.ToggleOff {
		t.Errorf("%+v", w)
	}
	if c.AdapterFile != "" || c.CacheSyncEnabled != config.ToggleOff {
		t.Errorf("adapter %q, mirror %q", c.AdapterFile, c.CacheSyncEnabled)
	}
}

// A program of the command line is taken as it is, and wins.
func TestProgram(t *testing.T) {
	dir := files{"config/bootstrap.properties": "workload.command=other\n", "config/adapter.yaml": "adapter: {}\n"}.write(t)
	program := []string{"/bin/a b", "", `"`, "${x}"}
	c, warnings, err := config.Load(config.Options{Dir: dir, Program: program})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Workload.Command, program) {
		t.Errorf("%q", c.Workload.Command)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "adapter.yaml is not read: the program is this node's workload") {
		t.Errorf("%q", warnings)
	}
}

func TestWorkloadFaults(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"workload.command=x\nadapter.config=a.yaml", "adapter.config: a node has one workload, and workload.command is set"},
		{"workload.command='x", "is not closed"},
		{"workload.command=x\nworkload.restart=maybe", "want always, on-failure or never"},
		{"workload.command=x\nworkload.stop.timeout=0", "is too short"},
		{"workload.command=x\nworkload.restart.max=-1", "want a whole number"},
		{"workload.command=${PROGRAM}", "is not replaced here"},
	} {
		dir := files{"config/bootstrap.properties": test.text + "\n"}.write(t)
		if _, _, err := config.Load(config.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.text, err)
		}
	}
	dir := files{"config/bootstrap.properties": "workload.restart=never\nworkload.comand=x\n", "config/adapter.yaml": "adapter: {}\n"}.write(t)
	c, warnings, err := config.Load(config.Options{Dir: dir})
	if err != nil || c.Workload.Enabled() {
		t.Fatal(err)
	}
	if all := strings.Join(warnings, "\n"); !strings.Contains(all, "workload.restart: means nothing without workload.command") ||
		!strings.Contains(all, "did you mean workload.command?") {
		t.Errorf("%s", all)
	}
}
