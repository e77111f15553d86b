package command

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cgroup is a control group (version 2) that holds a program and all that it starts, whatever they do. The zero
// value is none.
type cgroup struct{ dir string }

func (c cgroup) usable() bool { return c.dir != "" }

// forRun makes a group below c for one run. A group that has been killed once is of no more use: since Linux 6.14 what
// is started into it is killed, too.
func (c cgroup) forRun() (*os.File, error) {
	dir, err := os.MkdirTemp(c.dir, "run-")
	if err != nil {
		return nil, err
	}
	return os.OpenFile(dir, unix.O_DIRECTORY|os.O_RDONLY, 0)
}

// attributes has a process start in a control group (nil for that of its parent), as the leader of a session of its
// own, and killed if the thread that starts it ends before it does.
func attributes(group *os.File) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true, Pdeathsig: unix.SIGKILL}
	if group != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(group.Fd())
	}
	return attr
}

// kill kills everything in the group at once.
func (c cgroup) kill() {
	if c.usable() {
		// A kernel before 5.14 does not know the file; then descent has to do.
		_ = os.WriteFile(filepath.Join(c.dir, "cgroup.kill"), []byte("1"), 0)
	}
}

// populated reports whether a process is in the group.
func (c cgroup) populated() bool {
	if !c.usable() {
		return false
	}
	events, err := os.ReadFile(filepath.Join(c.dir, "cgroup.events"))
	return err == nil && bytes.Contains(events, []byte("populated 1"))
}

// sweep kills what is in the group although it is no descendant of ours: somebody has put it there. It waits
// until it is gone, for a while.
func (c cgroup) sweep() {
	for patience := 100; patience > 0 && c.populated(); patience-- {
		c.kill()
		time.Sleep(killEvery)
	}
}

// makeCgroup makes a control group below that of this process. An error says why there is none.
func makeCgroup(name string) (cgroup, error) {
	parent, err := ownCgroup()
	if err != nil {
		return cgroup{}, err
	}
	dir := filepath.Join(parent, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return cgroup{}, err
	}
	return cgroup{dir: dir}, nil
}

// remove takes the group away, and those of its runs. They are empty then.
func (c cgroup) remove() {
	if !c.usable() {
		return
	}
	c.removeRuns()
	removeGroup(c.dir)
}

func (c cgroup) removeRuns() {
	runs, _ := filepath.Glob(filepath.Join(c.dir, "run-*"))
	for _, dir := range runs {
		removeGroup(dir)
	}
}

func removeGroup(dir string) {
	// The kernel needs a moment after the last process.
	for patience := 50; patience > 0; patience-- {
		if err := os.Remove(dir); err == nil || !errors.Is(err, unix.EBUSY) {
			return
		}
		time.Sleep(killEvery)
	}
}

// removeOldCgroups takes away what a node left behind that was killed together with its shim.
func removeOldCgroups(prefix string) {
	parent, err := ownCgroup()
	if err != nil {
		return
	}
	old, _ := filepath.Glob(filepath.Join(parent, prefix+"*"))
	for _, dir := range old {
		c := cgroup{dir: dir}
		c.sweep()
		c.remove()
	}
}

// ownCgroup is the folder of the control group in which this process is.
func ownCgroup() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for entry := range strings.Lines(string(own)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(entry, "\n"), "0::"); ok {
			return findCgroup(mounts, path)
		}
	}
	return "", errors.New("this process is in no control group of version 2")
}

// findCgroup looks a group's path up among the mounts: fields 4 and 5 of a line are what of the file system is
// mounted, and where.
func findCgroup(mountinfo []byte, path string) (string, error) {
	lines := bufio.NewScanner(bytes.NewReader(mountinfo))
	for lines.Scan() {
		before, after, found := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if !found || len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		if below, err := filepath.Rel(fields[3], path); err == nil && filepath.IsLocal(below) {
			return filepath.Join(fields[4], below), nil
		}
	}
	return "", fmt.Errorf("control group %s is not mounted", path)
}
