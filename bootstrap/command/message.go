package command

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// order is what the host tells the shim, one JSON object a line. Host and shim are the same binary, so that there is
// no second version to be understood.
type order struct {
	Op string `json:"op"`
	// setup:
	Setup *setup `json:"setup,omitempty"`
	// run:
	Run *runOrder `json:"run,omitempty"`
	// renew: Until is the end of the mastership, Number is sent back. All times are nanoseconds of the boot clock.
	Until  time.Duration `json:"until,omitempty"`
	Number uint64        `json:"number,omitempty"`
	// stop: Deadline is when patience ends.
	Deadline time.Duration `json:"deadline,omitempty"`
	Why      string        `json:"why,omitempty"`
}

// The orders.
const (
	opSetup = "setup"
	opRun   = "run"
	opRenew = "renew"
	opStop  = "stop"
	opEnd   = "end"
)

// setup is what does not change while the shim lives.
type setup struct {
	StopSignal  string        `json:"stop_signal"`
	StopTimeout time.Duration `json:"stop_timeout"`
	Margin      time.Duration `json:"margin"`
	// GroupDir is the folder of the program's control group; empty for none.
	GroupDir string `json:"group_dir,omitempty"`
	// Held are the numbers of files that are open as long as anything of the program may live: the liveness listener, the lock. The
	// program inherits them.
	Held []int `json:"held,omitempty"`
}

type runOrder struct {
	// Command has the program's full path first.
	Command []string `json:"command"`
	Dir     string   `json:"dir,omitempty"`
	Env     []string `json:"env,omitempty"`
	// Until is the first end of the mastership.
	Until time.Duration `json:"until"`
}

// event is what the shim tells the host.
type event struct {
	Ev     string `json:"ev"`
	Number uint64 `json:"number,omitempty"`
	PID    int    `json:"pid,omitempty"`
	Text   string `json:"text,omitempty"`
	Exit   *exit  `json:"exit,omitempty"`
	// Short: a run was refused because the mastership ends too soon.
	Short bool `json:"short,omitempty"`
	// Left is how many processes the first one left behind, Killed whether anything had to be killed.
	Left   int  `json:"left,omitempty"`
	Killed bool `json:"killed,omitempty"`
}

// The events.
const (
	evReady      = "ready"
	evRenewed    = "renewed"
	evStarted    = "started"
	evNotStarted = "not-started"
	evExited     = "exited"
	evStopping   = "stopping"
	evEnded      = "ended"
	evNote       = "note"
)

// maxMessage bounds a line: arguments and environment of a program fit into it on every system that we know.
const maxMessage = 4 << 20

// receive calls take for each message until the other side has gone. A line that is no message ends it, too.
func receive[T any](from io.Reader, take func(T)) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 0, 4096), maxMessage)
	for lines.Scan() {
		var message T
		if err := json.Unmarshal(lines.Bytes(), &message); err != nil {
			return fmt.Errorf("a message between host and shim: %w", err)
		}
		take(message)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.EOF
}

func encode(message any) ([]byte, error) {
	data, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	if len(data) >= maxMessage {
		return nil, errors.New("arguments and environment of the program are too long")
	}
	return append(data, '\n'), nil
}
