package command

import (
	"context"
	"log/slog"
	"os"
	"time"
)

// shimProcess is never made here: Supported says why.
type shimProcess struct {
	pid    int
	mark   string
	events chan event
}

const (
	markName  = "UNDERSTUDY_COMMAND_ID"
	byDescent = "descent"
)

func launchShim(context.Context, Options, *os.File, speaker) (*shimProcess, error) {
	return nil, Supported()
}

func takeOver(context.Context, string, time.Duration, *slog.Logger) (*os.File, error) {
	return nil, Supported()
}

func (*shimProcess) alive() bool               { return false }
func (*shimProcess) contained() string         { return "" }
func (*shimProcess) order(order) error         { return Supported() }
func (*shimProcess) end(context.Context) error { return nil }
func (*shimProcess) destroy() error            { return nil }

func bootTime() time.Duration { return 0 }
