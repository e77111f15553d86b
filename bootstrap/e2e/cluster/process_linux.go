package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// sysProcAttr gives a node a process group of its own, so that Ctrl-C on the terminal reaches only the harness,
// and ends it with the harness, however that ends.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

type leftover struct {
	pid     int
	command string
}

// leftovers finds the processes of this cluster: by the mark in their environment, or, should a plugin not have
// inherited that, by a working folder and a binary that are the cluster's. A shell in a node's folder is neither.
func (c *Cluster) leftovers() []leftover {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	mark := []byte(runMark + "=" + c.Name + "\x00")
	var left []leftover
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join("/proc", entry.Name())
		// Processes of others cannot be read, those that have ended have nothing to read: neither is ours.
		environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
		cwd, _ := os.Readlink(filepath.Join(dir, "cwd"))
		exe, _ := os.Readlink(filepath.Join(dir, "exe"))
		ours := strings.HasPrefix(cwd, c.Dir+"/node-") &&
			(filepath.Dir(exe) == c.binaries.Lib || exe == c.binaries.Bootstrap)
		if !ours && !bytes.Contains(environ, mark) {
			continue
		}
		command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		left = append(left, leftover{pid: pid, command: string(bytes.ReplaceAll(bytes.TrimRight(command, "\x00"), []byte{0}, []byte{' '}))})
	}
	return left
}

func killProcess(pid int) {
	// It may have ended by itself.
	_ = syscall.Kill(pid, syscall.SIGKILL)
}
