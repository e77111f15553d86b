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

// gate that services wait at, and that says who is there.
type turnstile struct {
	arrived chan string
	open    chan struct{}
}

func newTurnstile() *turnstile {
	return &turnstile{arrived: make(chan string, 100), open: make(chan struct{})}
}

func (g *turnstile) pass(ctx context.Context, b *batch) ([]adapter.Batch, error) {
	g.arrived <- b.Text
	select {
	case <-g.open:
		return []adapter.Batch{b}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestPool(t *testing.T) {
	for _, pool := range []int{1, 3} {
		t.Run(fmt.Sprint(pool), func(t *testing.T) {
			scenario(t, func(t *testing.T, w *world) {
				stile := newTurnstile()
				w.factory.services = map[string]serviceFunc{"wait": stile.pass}
				var ids, order []string
				for i := range 20 {
					ids = append(ids, fmt.Sprintf("m%02d", i))
				}
				w.source().put(ids...)
				close(w.source().input)
				a := w.start(t, workflowText(fmt.Sprintf("pool: %d", pool), "services: [{id: wait, do: x}]"))
				synctest.Wait()
				if n := len(stile.arrived); n != pool {
					t.Errorf("%d in flight, want %d", n, pool)
				}
				// The bound on memory: one more than the pool has been taken from the source.
				if got := a.Status().Workflows[0]; got.Received != uint64(pool)+1 || got.InFlight != uint64(pool) {
					t.Errorf("status %+v", got)
				}
				close(stile.open)
				<-a.Done()
				for _, c := range w.calls() {
					if id, ok := strings.CutPrefix(c, "settle "); ok {
						order = append(order, strings.TrimSuffix(id, " ok"))
					}
				}
				if pool == 1 && !slices.Equal(order, ids) {
					t.Errorf("order %v", order)
				}
				slices.Sort(order)
				if !slices.Equal(order, ids) {
					t.Errorf("settled %v", order)
				}
				stop(t, a)
			})
		})
	}
}

func TestStopFinishesWhatIsUnderWay(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		stile := newTurnstile()
		w.factory.services = map[string]serviceFunc{"wait": stile.pass}
		w.source().put("a", "b", "c", "d")
		a := w.start(t, workflowText("services: [{id: wait, do: x}]"))
		<-stile.arrived
		synctest.Wait() // until the receiver has the next one in hand
		stopped := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			stopped <- a.Stop(ctx)
		}()
		time.Sleep(time.Second)
		close(stile.open)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		// b was in the hand of the receiver; c was never asked for.
		if w.number("settle a ok") != 1 || w.number("settle b ok") != 1 || w.number("receive") != 2 {
			t.Error(w.calls())
		}
		select {
		case <-a.Done():
			t.Error("done, but the input had not ended")
		default:
		}
		stop(t, a)
	})
}

func TestStopIsFirmAfterItsDeadline(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		stile := newTurnstile()
		w.factory.services = map[string]serviceFunc{"wait": stile.pass}
		w.source().put("a", "b")
		a := w.start(t, workflowText("services: [{id: wait, do: x}]"))
		<-stile.arrived
		synctest.Wait() // until the receiver has the next one in hand
		stop(t, a)
		if w.number("settle a stopping") != 1 || w.number("settle b stopping") != 1 || w.has("mirror released a") {
			t.Error(w.calls())
		}
		if len(w.entries) != 1 {
			t.Errorf("the mirror has %v", w.entries)
		}
	})
}

func TestStopDoesNotWaitForBackOff(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.factory.services = map[string]serviceFunc{"bad": boom}
		a := w.start(t, workflowText("services: [{id: bad, do: x}]"), entry("a", adapter.EntryReceived, "", "a"))
		time.Sleep(time.Hour)
		began := time.Now()
		if err := a.Stop(context.Background()); err != nil || time.Since(began) > 0 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		stop(t, a)
	})
}

// A component that does not give up is named, and nothing is closed under its feet.
func TestStopNamesWhatIsStuck(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		forever := make(chan struct{})
		w.factory.services = map[string]serviceFunc{"stuck": func(context.Context, *batch) ([]adapter.Batch, error) {
			<-forever
			return nil, errors.New("late")
		}}
		w.source().put("a")
		a := w.start(t, workflowText("services: [{id: stuck, do: x}]"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 2 {
			err := a.Close(ctx)
			if err == nil || !strings.Contains(err.Error(), "did not give up") || !strings.Contains(err.Error(), "workflow w") {
				t.Error(err)
			}
		}
		if w.has("close stuck") {
			t.Error("closed while in use")
		}
		close(forever)
		synctest.Wait()
	})
}

func TestReceiveFails(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		for range 10 {
			w.fail["receive"] = append(w.fail["receive"], errors.New("no connection"))
		}
		w.source().put("a")
		a := w.start(t, workflowText())
		began := time.Now()
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if n := w.number("receive"); n > 2 {
			t.Errorf("received %d times within 50 ms", n)
		}
		if s := a.Status().Workflows[0]; s.LastError != "no connection" {
			t.Errorf("status %+v", s)
		}
		for w.number("settle a ok") == 0 && time.Since(began) < time.Hour {
			time.Sleep(time.Second)
		}
		if w.number("settle a ok") != 1 {
			t.Error(w.calls())
		}
		stop(t, a)
	})
}

// A message that fails at once and comes again at once does not keep the node busy.
func TestPoisonDoesNotSpin(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.source().again = true
		w.factory.services = map[string]serviceFunc{"bad": mark}
		w.source().put("a")
		a := w.start(t, workflowText("services: [{id: bad, do: x}]"))
		time.Sleep(10 * time.Minute)
		if n := w.number("settle a failed"); n < 5 || n > 60 {
			t.Errorf("failed %d times in 10 minutes", n)
		}
		stop(t, a)
	})
}

func TestNewIDs(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		w.source().put("", "")
		close(w.source().input)
		a := w.start(t, workflowText())
		<-a.Done()
		if len(w.done) != 2 || w.done[""] {
			t.Errorf("done %v", w.done)
		}
		stop(t, a)
	})
}

func TestBadDeliveries(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		settled := make(chan error, 1)
		w.source().input <- nil
		w.source().input <- &adapter.Delivery{MessageID: "empty", Settle: func(_ context.Context, failure error) error {
			settled <- failure
			panic("settling")
		}}
		w.source().input <- &adapter.Delivery{MessageID: "unsettled", Batch: newBatch("a")}
		close(w.source().input)
		a := w.start(t, workflowText())
		<-a.Done()
		if err := <-settled; err == nil {
			t.Error("a delivery without content was acknowledged")
		}
		w.expect(t, "mirror received unsettled", "mirror producing unsettled", "produce files/w/producer a as unsettled", "mirror done unsettled")
		stop(t, a)
	})
}

func TestNearestOnError(t *testing.T) {
	const text = `
adapter:
  id: orders
  on-error: {out: {}}
  channels:
  - id: a
    on-error: {out: {}}
    workflows:
    - {id: own, consumer: {list: {}}, services: [{id: bad, do: x}], producer: {out: {}}, on-error: {out: {}}}
    - {id: channels, consumer: {list: {}}, services: [{id: bad, do: x}], producer: {out: {}}}
  - id: b
    workflows:
    - {id: adapters, consumer: {list: {}}, services: [{id: bad, do: x}], producer: {out: {}}}
`
	scenario(t, func(t *testing.T, w *world) {
		w.factory.services = map[string]serviceFunc{"bad": mark}
		for path, id := range map[string]string{"a/own": "1", "a/channels": "2", "b/adapters": "3"} {
			c := newConsumer(w)
			c.put(id)
			close(c.input)
			w.factory.consumers["orders/"+path+"/consumer"] = c
		}
		a := w.start(t, text)
		<-a.Done()
		for id, handler := range map[string]string{"1": "a/own/on-error", "2": "a/on-error", "3": "on-error"} {
			if call := fmt.Sprintf("produce %s %s as %s error-step=bad error=bad content", handler, id, id); !w.has(call) {
				t.Errorf("no %q in %v", call, w.calls())
			}
		}
		stop(t, a)
	})
}
