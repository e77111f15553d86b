package command

import (
	"io"
	"time"
)

// The guard, as its tests see it.

type Guard = guard

type Action = action

const (
	AskMain        = askMain
	AskRest        = askRest
	Kill           = kill
	ReportStopping = reportStopping
	ReportEnded    = reportEnded
	Quit           = quit

	Forever = forever
)

func NewGuard(stopTimeout, margin time.Duration) *Guard {
	return &guard{stopTimeout: stopTimeout, margin: margin}
}

func (g *guard) Run(now time.Duration) error         { return g.run(now) }
func (g *guard) NotStarted() []Action                { return g.notStarted() }
func (g *guard) Renew(until time.Duration)           { g.renew(until) }
func (g *guard) Stop(now, by time.Duration) []Action { return g.stop(now, by, "asked") }
func (g *guard) HostGone(now time.Duration) []Action { return g.hostGone(now) }
func (g *guard) MainExited(now time.Duration) []Action {
	return g.mainExited(now)
}
func (g *guard) Empty() []Action                      { return g.empty() }
func (g *guard) Tick(now time.Duration) []Action      { return g.tick(now) }
func (g *guard) Next(now time.Duration) time.Duration { return g.next(now) }
func (g *guard) Idle() bool                           { return g.phase == idle }
func (g *guard) Patient() bool                        { return g.phase == running || g.phase == stopping }
func (a action) String() string {
	return []string{"", "ask-main", "ask-rest", "kill", "report-stopping", "report-ended", "quit"}[a]
}

// Restarts is the budget of restarts.
type Restarts struct{ r *restarts }

func NewRestarts(cfg Config) Restarts { return Restarts{newRestarts(cfg)} }

// Ended judges an exit code.
func (r Restarts) Ended(began, now time.Duration, code int) (again bool, wait time.Duration, failed error) {
	v := r.r.ended(began, now, exit{Code: code})
	return v.again, v.wait, v.failed
}

// Line is a line of output.
type Line struct {
	Stream  string
	Text    string
	More    bool
	Dropped uint64
}

// Outlet is the way of the output.
type Outlet = outlet

func NewOutlet() *Outlet { return newOutlet() }

func (o *outlet) ReadStdout(from io.Reader)                { o.read(stdout, from) }
func (o *outlet) Write(to io.Writer, done <-chan struct{}) { o.write(to, done) }

func ReadLines(from io.Reader, take func(Line)) {
	readLines(from, func(l line, dropped uint64) {
		take(Line{Stream: l.stream.String(), Text: string(l.text), More: l.more, Dropped: dropped})
	})
}

const MaxLine = maxLine

// ReceiveOrders reads orders as a shim does.
func ReceiveOrders(from io.Reader) (n int, err error) {
	err = receive(from, func(order) { n++ })
	return n, err
}

// BootTime is the clock of host and shim.
func BootTime() time.Duration { return bootTime() }
