//go:build unix

// Exclusive is a program that must run once: it and a child of its own work on one folder, and note there when they do,
// and whenever somebody else is at work at the same moment. Whole-system tests have nodes run it.
//
//	exclusive [-deaf] [-fail-on NODE] FOLDER
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	deaf := flag.Bool("deaf", false, "ignore SIGTERM, and have a child in a session of its own")
	failOn := flag.String("fail-on", "", "end with exit code 3 on this node")
	child := flag.Bool("child", false, "be the child")
	flag.Parse()
	if err := run(flag.Arg(0), *deaf, *child, *failOn); err != nil {
		fmt.Fprintln(os.Stderr, "exclusive:", err)
		os.Exit(1)
	}
}

func run(dir string, deaf, child bool, failOn string) error {
	node := os.Getenv("UNDERSTUDY_NODE_ID")
	if node == failOn {
		fmt.Println("cannot work on", node)
		os.Exit(3)
	}
	stop := make(chan os.Signal, 1)
	if deaf {
		signal.Ignore(syscall.SIGTERM)
	} else {
		signal.Notify(stop, syscall.SIGTERM)
	}
	who := "program"
	if child {
		who = "child"
	}
	lock, err := claim(dir, who)
	if err != nil {
		return err
	}
	defer lock.Close()
	if deaf && !child {
		cmd := exec.Command(os.Args[0], "-deaf", "-child", dir)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	if err := note(dir, "journal", "start %s", who); err != nil {
		return err
	}
	fmt.Println("at work", who)
	beat := time.NewTicker(2 * time.Millisecond)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			if err := note(dir, "journal", "beat %s", who); err != nil {
				return err
			}
		case <-stop:
			fmt.Println("goodbye")
			return note(dir, "journal", "stop %s", who)
		}
	}
}

// claim locks the folder for as long as this process lives. The lock is its own: no child inherits the file.
func claim(dir, who string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, who+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = note(dir, "overlaps", "%s", who)
		return nil, fmt.Errorf("somebody else is at work in %s: %w", dir, err)
	}
	return lock, nil
}

// note appends a line: what, node, term, process, time in nanoseconds.
func note(dir, file, format string, args ...any) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	line := fmt.Sprintf(format, args...) + fmt.Sprintf(" %s %s:%s %d %d\n", os.Getenv("UNDERSTUDY_NODE_ID"),
		os.Getenv("UNDERSTUDY_TERM"), os.Getenv("UNDERSTUDY_TERM_NODE"), os.Getpid(), time.Now().UnixNano())
	if _, err := f.WriteString(line); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
