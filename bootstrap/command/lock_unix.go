//go:build unix

package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lockPause is the time between two looks at a lock that is taken.
	lockPause = 20 * time.Millisecond
	// lockPatience is added to the lease, within which a shim ends its program.
	lockPatience = time.Second
)

// takeOver locks command.lock in the data folder. The lock lives as long as the shim and anything of the program that
// has not closed it, also when the host has long gone: so that a node which is started anew cannot start the program
// while the one of its former life is still being stopped. Of the other nodes it says nothing: only the election
// does.
//
// What a host and a shim that were killed together have left of the program is killed first.
func takeOver(ctx context.Context, dataDir string, lease time.Duration, log *slog.Logger) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dataDir, "command.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := waitForLock(ctx, f, dataDir, lease+lockPatience, log); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Programs that close what they inherit hold no lock.
	if err := clearAway(dataDir, log); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func waitForLock(ctx context.Context, f *os.File, dataDir string, patience time.Duration, log *slog.Logger) error {
	prefix := markPrefix(dataDir)
	said := false
	for deadline := bootTime() + patience; ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("lock "+f.Name(), err)
		}
		shims := marked(shimName, prefix)
		if !said {
			said = true
			log.Info("a former life of this node is still stopping its program; waiting for it", "shim", shims)
		}
		if late := bootTime() >= deadline; len(shims) == 0 || late {
			if err := clearAway(dataDir, log); err != nil {
				return err
			}
			if late && bootTime() >= deadline+lockPatience {
				return fmt.Errorf("%s is still locked by a process that this node does not know; end it", f.Name())
			}
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// clearAway kills what former lives of the node have left: frozen shims and orphans.
func clearAway(dataDir string, log *slog.Logger) error {
	prefix := markPrefix(dataDir)
	var faults []error
	for _, name := range []string{shimName, markName} {
		if old := marked(name, prefix); len(old) > 0 {
			log.Warn("killing what a former life of this node has left of its program", "pids", old)
			faults = append(faults, killMarked(name, prefix, cgroup{}, destroyTimeout))
		}
	}
	removeOldCgroups(cgroupName(prefix))
	return errors.Join(faults...)
}
