package command

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// marked lists the living processes that have been started with the environment variable name set to something that
// begins with mark. Those of other users cannot be seen without the right to.
func marked(name, mark string) []int {
	return slices.DeleteFunc(processes(), func(pid int) bool { return pid == os.Getpid() || !isMarked(pid, name, mark) })
}

func isMarked(pid int, name, mark string) bool {
	// A zombie's environment is empty.
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	return err == nil && bytes.Contains(append([]byte{0}, environ...), []byte("\x00"+name+"="+mark))
}

// killMarked kills what is marked so, and what is in the control group, until nothing is left.
func killMarked(name, mark string, control cgroup, patience time.Duration) error {
	for deadline := bootTime() + patience; ; {
		control.kill()
		left := marked(name, mark)
		if len(left) == 0 && !control.populated() {
			return nil
		}
		if bootTime() >= deadline {
			return fmt.Errorf("processes of the program are still there after they were killed: %v", left)
		}
		for _, pid := range left {
			killOne(pid, func() bool { return isMarked(pid, name, mark) })
		}
		time.Sleep(killEvery)
	}
}

// killOne kills a process that is still the one that was meant: its number may belong to another by now.
func killOne(pid int, meant func() bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ENOSYS) && meant() { // before Linux 5.3
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if meant() {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}
