package command

import (
	"errors"
	"fmt"
	"time"
)

// tenure is the program under one mastership: it is started, started again when it ends, renewed, and stopped. One
// goroutine, run, has it all; nothing in it waits for the shim, which may be frozen.
type tenure struct {
	w          *Workload
	shim       *shimProcess
	mastership Mastership
	restarts   *restarts

	// started has the outcome of the first start.
	started chan error
	// done is closed when it is over; stuck is set before: what could not be ended.
	done  chan struct{}
	stuck error

	// events are the shim's; nil when it is lost.
	events <-chan event
	lost   bool
	// alive: from the order to run until nothing is left.
	alive bool
	// stopping: the host wants the end.
	stopping bool
	// over: it is not to be started again.
	over  bool
	began time.Duration
	// again rings when it is to be started again; short: the mastership is waited for to be renewed.
	again *time.Timer
	short bool
	// giveUp rings when the shim should have reported the end that was asked for by deadline.
	giveUp   *time.Timer
	deadline time.Duration

	// sent and answered number the renewals; silent counts the looks at an unanswered one.
	sent, answered uint64
	silent         int
}

// A shim that has not answered a renewal for deafAfter looks, one each lookEvery, is frozen: it would not stop the
// program in time. Looks are counted and not the time, because this process may itself have stood still.
const (
	lookEvery = 100 * time.Millisecond
	deafAfter = 20
	// reportGrace is how long after a deadline the shim may take to report the end.
	reportGrace = 2 * time.Second
)

func newTenure(w *Workload, m Mastership) *tenure {
	t := &tenure{
		w: w, shim: w.shim, events: w.shim.events, mastership: m, deadline: forever, restarts: newRestarts(w.opt.Config),
		started: make(chan error, 1), done: make(chan struct{}),
		again: time.NewTimer(time.Hour), giveUp: time.NewTimer(time.Hour),
	}
	t.again.Stop()
	t.giveUp.Stop()
	return t
}

var errShimLost = errors.New("the shim of the program has died")

func (t *tenure) run() {
	defer close(t.done)
	defer t.again.Stop()
	defer t.giveUp.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	held := t.mastership.Held.Done()
	_, renewed := t.until()
	t.begin()
	for !t.over || t.alive || !t.stopping {
		select {
		case e, ok := <-t.events:
			if !ok {
				t.lose(errShimLost)
				break
			}
			t.hear(e)
		case <-renewed:
			renewed = t.renew()
		case <-look.C:
			t.look()
		case <-t.again.C:
			t.begin()
		case <-held:
			held = nil
			t.ask(bootTime()+t.w.opt.Config.StopTimeout, "the mastership was lost")
		case r := <-t.w.stop:
			t.stopping = true
			t.ask(r.deadline, "the node stops it")
		case <-t.giveUp.C:
			t.giveUpLate()
		}
	}
}

// until is the end of the mastership by the boot clock.
func (t *tenure) until() (until time.Duration, renewed <-chan struct{}) {
	if t.mastership.Lease == nil {
		return forever, nil
	}
	// The clocks are read in this order so that a pause between the two makes it earlier, never later.
	now := bootTime()
	end, renewed := t.mastership.Lease.Until()
	return now + end - t.w.opt.Clock(), renewed
}

// begin has the program started.
func (t *tenure) begin() {
	if t.over || t.alive {
		return
	}
	until, _ := t.until()
	t.short, t.began = false, bootTime()
	t.alive = true
	t.order(order{Op: opRun, Run: &runOrder{
		Command: append([]string{t.w.program}, t.w.opt.Config.Command[1:]...), Dir: t.w.opt.Config.Dir,
		Env: t.w.environment(t.mastership), Until: until,
	}})
}

func (t *tenure) order(o order) {
	if t.lost {
		return
	}
	if err := t.shim.order(o); err != nil {
		t.lose(fmt.Errorf("the shim of the program takes no orders: %w", err))
	}
}

// renew tells the shim the new end, and returns what announces the next one.
func (t *tenure) renew() <-chan struct{} {
	until, renewed := t.until()
	t.sent++
	t.order(order{Op: opRenew, Until: until, Number: t.sent})
	if t.short {
		t.begin()
	}
	return renewed
}

// look watches the shim: a frozen one answers nothing.
func (t *tenure) look() {
	if t.sent == t.answered {
		t.silent = 0
		return
	}
	if t.silent++; t.silent >= deafAfter {
		t.lose(errors.New("the shim of the program does not answer, so that it could not be stopped in time"))
	}
}

// ask has the program ended by a deadline. It is not started again.
func (t *tenure) ask(deadline time.Duration, why string) {
	t.over = true
	t.again.Stop()
	if !t.alive {
		return
	}
	t.w.change(func(s *Status) { s.State = StateStopping })
	t.order(order{Op: opStop, Deadline: deadline, Why: why})
	t.deadline = min(t.deadline, deadline)
	t.giveUpLate()
}

// giveUpLate ends what the shim should have ended, or comes back when it should have. The end of the mastership may
// move on meanwhile.
func (t *tenure) giveUpLate() {
	until, _ := t.until()
	end := min(t.deadline, until)
	if end == forever || !t.alive {
		return
	}
	late := end + reportGrace - bootTime()
	if late > 0 {
		t.giveUp.Reset(late)
		return
	}
	t.lose(errors.New("the shim of the program has not reported its end in time"))
}

func (t *tenure) hear(e event) {
	log := t.w.log
	switch e.Ev {
	case evRenewed:
		t.answered, t.silent = e.Number, 0
	case evStarted:
		t.w.change(func(s *Status) { s.State, s.PID = StateRunning, e.PID })
		log.Info("the program has been started", "pid", e.PID, "command", t.w.opt.Config.Command)
		t.report(nil)
	case evNotStarted:
		t.notStarted(e)
	case evNote:
		log.Warn(e.Text)
		t.w.change(func(s *Status) { s.Contained = byDescent })
	case evStopping:
		log.Info("the program is being stopped", "reason", e.Text, "signal", t.w.opt.Config.StopSignal)
	case evExited:
		log.Info("the program's first process has ended", "how", e.Exit.String(), "left", e.Left)
		t.w.change(func(s *Status) { s.LastExit = e.Exit.String() })
	case evEnded:
		t.ended(e)
	}
}

// report gives the outcome of the first start.
func (t *tenure) report(err error) {
	select {
	case t.started <- err:
	default: // a later one
	}
}

func (t *tenure) notStarted(e event) {
	t.alive = false
	t.giveUp.Stop()
	switch {
	case e.Short && !t.over:
		// Not the program's fault: it is started with the next renewal.
		t.short = true
		t.w.change(func(s *Status) { s.State = StateLease })
		t.w.log.Info("the program is not started yet", "reason", e.Text)
	case t.over:
	case t.restarts.count == 0:
		// A file that is not there will not come by trying again.
		t.fail(errors.New(e.Text))
	default:
		t.judge(exit{Code: 127}, e.Text)
	}
}

// ended: nothing of the program is left.
func (t *tenure) ended(e event) {
	t.alive = false
	t.giveUp.Stop()
	t.w.change(func(s *Status) { s.PID = 0 })
	if e.Text == whyLeft && e.Left > 0 {
		t.w.log.Warn("the program's first process had left others behind, which have been ended; a program that puts itself into the "+
			"background must be told not to", "processes", e.Left)
	}
	if e.Killed {
		t.w.log.Warn("what was left of the program had to be killed", "reason", e.Text)
	} else {
		t.w.log.Info("the program has ended", "reason", e.Text)
	}
	how := exit{Code: -1}
	if e.Exit != nil {
		how = *e.Exit
	}
	switch {
	case t.over:
		t.w.change(func(s *Status) { s.State = StateIdle })
	case e.Text == whyLease:
		t.short = true
		t.w.change(func(s *Status) { s.State = StateLease })
	default:
		t.judge(how, how.String())
	}
}

// judge decides what becomes of a program that has ended by itself.
func (t *tenure) judge(how exit, text string) {
	v := t.restarts.ended(t.began, bootTime(), how)
	switch {
	case v.again:
		t.w.log.Warn("the program is started again", "how", text, "in", v.wait.Round(time.Millisecond).String(), "restarts", t.restarts.count)
		t.w.change(func(s *Status) { s.State, s.Restarts, s.LastExit = StateRestarting, t.restarts.count, text })
		t.again.Reset(v.wait)
	case v.failed != nil:
		if how.Code == 127 {
			v.failed = fmt.Errorf("%w: %s", v.failed, text)
		}
		t.fail(v.failed)
	default:
		t.over = true
		t.w.log.Info("the program's work is done: it is not started again under this mastership", "how", text)
		t.w.change(func(s *Status) { s.State = StateFinished })
	}
}

func (t *tenure) fail(err error) {
	t.over = true
	t.w.change(func(s *Status) { s.State = StateFailed })
	failure := &GaveUp{Err: err, Pause: t.w.opt.Config.CoolDown}
	t.report(failure)
	select {
	case t.w.failed <- failure:
	default:
	}
}

// lose ends what a dead or deaf shim can no longer end.
func (t *tenure) lose(err error) {
	t.events, t.lost, t.alive = nil, true, false
	t.sent = t.answered
	t.giveUp.Stop()
	t.stuck = t.shim.destroy()
	t.w.change(func(s *Status) { s.PID, s.Shim = 0, 0 })
	if t.stopping && t.stuck == nil {
		t.over = true
		t.w.log.Warn("the program was killed by the node itself", "reason", err)
		return
	}
	t.fail(errors.Join(err, t.stuck))
}
