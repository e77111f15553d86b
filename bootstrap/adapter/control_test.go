package adapter_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
)

const twoChannels = `
adapter:
  id: orders
  channels:
  - id: a
    on-error: {out: {}}
    workflows:
    - {id: one, consumer: {list: {}}, services: [{id: s1, do: x}], producer: {out: {}}}
    - {id: two, acknowledge: early, consumer: {list: {}}, services: [{id: s2, do: x}], producer: {out: {}}}
  - id: b
    workflows:
    - {id: three, consumer: {list: {}}, producer: {out: {}}}
`

// sources makes the consumers of twoChannels.
func (w *world) sources() (one, two, three *consumer) {
	one, two, three = newConsumer(w), newConsumer(w), newConsumer(w)
	w.factory.consumers = map[string]*consumer{"orders/a/one/consumer": one, "orders/a/two/consumer": two, "orders/b/three/consumer": three}
	return one, two, three
}

func states(a *adapter.Adapter) string {
	var out []string
	for _, s := range a.Status().Workflows {
		out = append(out, s.ID+" "+s.State.String())
	}
	return strings.Join(out, ", ")
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestStopAndStartOneWorkflow(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		one, _, three := w.sources()
		stile := newTurnstile()
		w.factory.services = map[string]serviceFunc{"s1": stile.pass}
		a := w.start(t, twoChannels)
		one.put("m1")
		<-stile.arrived
		synctest.Wait() // until the receiver asks for the next
		finish := time.AfterFunc(time.Second, func() { close(stile.open) })
		defer finish.Stop()
		status, err := a.StopWorkflows(within(t, time.Minute), "one")
		if err != nil || len(status) != 1 || status[0].State != adapter.StateStopped || status[0].Produced != 1 {
			t.Errorf("%+v, %v", status, err)
		}
		if !w.done["m1"] || w.number("close s1") != 1 || w.number("close a/one/producer") != 1 || w.number("settle m1 ok") != 1 {
			t.Error(w.calls())
		}
		one.put("m2")
		three.put("m3")
		synctest.Wait()
		if w.has("mirror received m2") || !w.done["m3"] {
			t.Error(w.calls())
		}
		if got := states(a); got != "one stopped, two started, three started" {
			t.Error(got)
		}
		if status, err := a.StopWorkflows(within(t, time.Minute), "one"); err != nil || status[0].State != adapter.StateStopped {
			t.Errorf("twice: %+v, %v", status, err)
		}
		for range 2 {
			status, err = a.StartWorkflows(within(t, time.Minute), "one")
			if err != nil || status[0].State != adapter.StateStarted {
				t.Errorf("%+v, %v", status, err)
			}
		}
		synctest.Wait()
		if !w.done["m2"] || w.number("open a/one/producer") != 2 {
			t.Error(w.calls())
		}
		if s := a.Status().Workflows[0]; s.Received != 2 || s.Produced != 2 {
			t.Errorf("the counts begin anew: %+v", s)
		}
		stop(t, a)
	})
}

// The deadline passes: what is under way is given back to its source; what no source has waits in the mirror for the
// workflow's next start.
func TestStopOneWorkflowFirmly(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		one, two, _ := w.sources()
		stile := newTurnstile()
		w.factory.services = map[string]serviceFunc{"s1": stile.pass, "s2": stile.pass}
		a := w.start(t, twoChannels)
		one.put("late")
		two.put("early", "early too")
		synctest.Wait()
		began := time.Now()
		if status, err := a.StopWorkflows(within(t, time.Second), "a/"); err != nil || len(status) != 2 {
			t.Errorf("%+v, %v", status, err)
		}
		if took := time.Since(began); took != time.Second { // both at once would be better; the second finds the time over
			t.Errorf("took %s", took)
		}
		if w.number("settle late failed") != 1 || w.has("settle early failed") || !w.has("mirror released late") {
			t.Error(w.calls())
		}
		if _, mirrored := w.entries["early"]; !mirrored {
			t.Errorf("the mirror has %v", w.entries)
		}
		if len(w.done) > 0 && w.done["late"] {
			t.Error("done")
		}
		close(stile.open)
		if status, err := a.StartWorkflows(within(t, time.Second), "a"); err != nil || status[1].State != adapter.StateStarted {
			t.Errorf("%+v, %v", status, err)
		}
		one.put("late") // as a source does
		synctest.Wait()
		if !w.done["late"] || !w.done["early"] || w.number("settle early ok") != 1 || w.number("process s2 early") != 2 {
			t.Error(w.calls())
		}
		if got := states(a); got != "one started, two started, three started" {
			t.Error(got)
		}
		stop(t, a)
	})
}

// A message whose produce has begun is marked when its source delivers it to the restarted workflow.
func TestStopDuringProduce(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		one, _, _ := w.sources()
		one.redelivers = true
		for range 100 {
			w.fail["produce a/one/producer m as m"] = append(w.fail["produce a/one/producer m as m"], errors.New("down"))
			w.fail["produce a/one/producer m as m possible-duplicate=true"] = append(w.fail["produce a/one/producer m as m possible-duplicate=true"], errors.New("down"))
		}
		a := w.start(t, twoChannels)
		one.put("m")
		synctest.Wait()
		if _, err := a.StopWorkflows(within(t, 50*time.Millisecond), "one"); err != nil {
			t.Error(err)
		}
		w.plan("")
		if _, err := a.StartWorkflows(within(t, time.Second), "one"); err != nil {
			t.Error(err)
		}
		one.put("m")
		synctest.Wait()
		if calls := w.calls(); !w.done["m"] || !strings.HasSuffix(calls[slices.Index(calls, "mirror done m")-1], "possible-duplicate=true") {
			t.Error(calls)
		}
		stop(t, a)
	})
}

func TestControlRefuses(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.sources()
		a := w.build(t, twoChannels)
		if _, err := a.StartWorkflows(t.Context(), "one"); !errors.Is(err, adapter.ErrNotRunning) {
			t.Error(err)
		}
		if err := errors.Join(a.Init(t.Context()), a.Start(t.Context(), adapter.Run{Gate: w, Mirror: mirror{w}})); err != nil {
			t.Fatal(err)
		}
		_, err := a.StopWorkflows(t.Context(), "four")
		if !errors.Is(err, adapter.ErrNoSuchWorkflow) || err.Error() != `no such workflow or channel: "four"; there are a/, one, two, b/, three` {
			t.Error(err)
		}
		// It does not open: the message says why, and it stays stopped.
		if _, err := a.StopWorkflows(t.Context(), "three"); err != nil {
			t.Error(err)
		}
		w.plan("open b/three/producer", errors.New("no route to host"))
		_, err = a.StartWorkflows(t.Context(), "three")
		if err == nil || err.Error() != "start workflow three: orders/b/three/producer: no route to host" {
			t.Error(err)
		}
		if got := states(a); got != "one started, two started, three stopped" {
			t.Error(got)
		}
		w.factory.broken = "orders/b/three/consumer"
		_, err = a.StartWorkflows(t.Context(), "three")
		if err == nil || err.Error() != "start workflow three: build workflow three: orders/b/three/consumer: cannot be built" {
			t.Error(err)
		}
		w.factory.broken = ""
		if _, err = a.StartWorkflows(t.Context(), "three"); err != nil || states(a) != "one started, two started, three started" {
			t.Error(err, states(a))
		}
		stop(t, a)
		if _, err := a.StartWorkflows(t.Context(), "one"); !errors.Is(err, adapter.ErrNotRunning) {
			t.Error(err)
		}
	})
}

// The end of all inputs counts what was stopped and started meanwhile.
func TestDoneWithStoppedWorkflows(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		one, two, three := w.sources()
		a := w.start(t, twoChannels)
		if _, err := a.StopWorkflows(t.Context(), "one"); err != nil {
			t.Error(err)
		}
		close(two.input)
		close(three.input)
		synctest.Wait()
		select {
		case <-a.Done():
			t.Error("done, but one workflow is stopped")
		default:
		}
		if _, err := a.StartWorkflows(t.Context(), "one"); err != nil {
			t.Error(err)
		}
		one.put("m")
		close(one.input)
		<-a.Done()
		if !w.done["m"] {
			t.Error(w.calls())
		}
		stop(t, a)
	})
}

func restarting(settings string) string {
	return workflowText("retries: 0", "restart: "+settings)
}

func (w *world) failNext(call string, n int) {
	for range n {
		w.fail[call] = append(w.fail[call], errors.New("broken pipe"))
	}
}

func TestBrokenConsumerIsRestarted(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.failNext("receive", 3)
		source := w.source()
		a := w.start(t, restarting("{after: 3, delay: 10s}"))
		w.plan("open consumer", errors.New("still down"))
		source.put("m")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if s := a.Status().Workflows[0]; s.State != adapter.StateRestarting || s.LastError != "broken pipe" {
			t.Errorf("%+v", s)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if s := a.Status().Workflows[0]; s.State != adapter.StateStarted || s.Restarts != 2 || !w.done["m"] {
			t.Errorf("%+v %v", s, w.calls())
		}
		if n := w.number("open consumer"); n != 3 {
			t.Errorf("opened %d times", n)
		}
		for _, want := range []string{
			`a workflow failed and is restarted`, `the consumer failed 3 times in a row, last with: broken pipe`, `still down`, `the workflow works again`,
		} {
			if !strings.Contains(w.logged(), want) {
				t.Errorf("the log lacks %q:\n%s", want, w.logged())
			}
		}
		stop(t, a)
	})
}

func TestBrokenProducerIsRestarted(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.source().again = true
		w.factory.idempotent["files/w/producer"] = true
		w.failNext("produce files/w/producer m as m", 4)
		a := w.start(t, restarting("{after: 4, delay: 1s}"))
		w.source().put("m")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if s := a.Status().Workflows[0]; s.Restarts != 1 || !w.done["m"] || w.number("open files/w/producer") != 2 {
			t.Errorf("%+v %v", s, w.calls())
		}
		stop(t, a)
	})
}

// A row of bad messages is no broken producer.
func TestBadMessagesRestartNothing(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.failed = newFailedStore(w)
		for i := range 50 {
			id := fmt.Sprint("m", i)
			w.failNext("produce files/w/producer "+id+" as "+id, 1)
			w.source().put(id)
		}
		close(w.source().input)
		a := w.start(t, workflowText("retries: 0", "restart: {after: 2}", "on-error: store"))
		<-a.Done()
		if s := a.Status().Workflows[0]; s.Restarts != 0 || s.Stored != 50 {
			t.Errorf("%+v", s)
		}
		stop(t, a)
	})
}

// The budget: what does not help is not done for ever, and an operator can begin again.
func TestRestartBudget(t *testing.T) {
	for name, then := range map[string]string{"stop": "stop", "give up": "give-up"} {
		t.Run(name, func(t *testing.T) {
			scenario(t, func(t *testing.T, w *world) {
				w.failNext("receive", 1000)
				source := w.source()
				a := w.start(t, restarting(fmt.Sprintf("{after: 1, delay: 1s, max: 3, window: 1h, then: %s}", then)))
				time.Sleep(30 * time.Minute)
				synctest.Wait()
				if s := a.Status().Workflows[0]; s.State != adapter.StateFailed || s.Restarts != 3 {
					t.Errorf("%+v", s)
				}
				if !strings.Contains(w.logged(), "was restarted too often and stays stopped; bootstrap workflow start starts it again") {
					t.Error(w.logged())
				}
				select {
				case err := <-a.Failed():
					var cooling interface{ CoolDown() time.Duration }
					if then != "give-up" || !errors.As(err, &cooling) || cooling.CoolDown() != time.Hour ||
						err.Error() != "workflow w: the consumer failed 1 times in a row, last with: broken pipe" {
						t.Error(err)
					}
				default:
					if then == "give-up" {
						t.Error("nobody was told")
					}
				}
				w.plan("")
				source.put("m")
				if _, err := a.StartWorkflows(t.Context(), "w"); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if !w.done["m"] {
					t.Error(w.calls())
				}
				stop(t, a)
			})
		})
	}
}

// Nobody waits for the pause of a restart.
func TestStopDuringRestart(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.failNext("receive", 1000)
		a := w.start(t, restarting("{after: 1, delay: 1h, max-delay: 1h}"))
		synctest.Wait()
		if status, err := a.StopWorkflows(t.Context(), "w"); err != nil || status[0].State != adapter.StateStopped {
			t.Errorf("%+v, %v", status, err)
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if s := a.Status().Workflows[0]; s.State != adapter.StateStopped {
			t.Errorf("%+v", s)
		}
		if _, err := a.StartWorkflows(t.Context(), "w"); err != nil {
			t.Error(err)
		}
		synctest.Wait() // broken again
		began := time.Now()
		if err := a.Stop(context.Background()); err != nil || time.Since(began) != 0 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		stop(t, a)
	})
}

// A component that hangs keeps its own workflow from being restarted, and all others go on.
func TestRestartOfWhatIsStuck(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		one, _, three := w.sources()
		forever := make(chan struct{})
		w.factory.services = map[string]serviceFunc{"s1": func(context.Context, *batch) ([]adapter.Batch, error) {
			<-forever
			return nil, errors.New("late")
		}}
		a := w.start(t, twoChannels)
		one.put("m")
		synctest.Wait()
		_, err := a.StopWorkflows(within(t, time.Second), "one")
		if err == nil || !strings.Contains(err.Error(), "stop workflow one: a component did not give up 5s after it was cancelled") {
			t.Error(err)
		}
		if got := states(a); !strings.HasPrefix(got, "one started") {
			t.Error(got)
		}
		three.put("m3")
		synctest.Wait()
		if !w.done["m3"] {
			t.Error(w.calls())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Stop(ctx); err == nil || !strings.Contains(err.Error(), "in workflow one: end the process") {
			t.Error(err)
		}
		close(forever)
		synctest.Wait()
	})
}

func TestLoadRestart(t *testing.T) {
	cfg, err := load(t, workflowText("restart: {after: 2, delay: 2s, max-delay: 3s, max: 4, window: 5m, then: give-up}"))
	if err != nil {
		t.Fatal(err)
	}
	want := adapter.Restart{After: 2, Delay: 2 * time.Second, MaxDelay: 3 * time.Second, Max: 4, Window: 5 * time.Minute, GiveUp: true}
	if got := cfg.Channels[0].Workflows[0].Restart; got != want {
		t.Errorf("%+v", got)
	}
	for setting, want := range map[string]string{
		"restart: {then: cry}":                `restart.then: "cry" is not allowed; want one of stop, give-up`,
		"restart: {max: many}":                `restart.max: "many" is not allowed`,
		"restart: {delay: 2m, max-delay: 1m}": `restart.max-delay: 1m0s is shorter than delay, which is 2m0s`,
		"restart: always":                     `restart: "always" is not allowed; want a mapping with after, delay, max-delay, max, window, then`,
	} {
		if _, err := load(t, workflowText(setting)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", setting, err)
		}
	}
}
