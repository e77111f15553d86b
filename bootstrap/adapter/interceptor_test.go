package adapter_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
)

func TestThrottle(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		for i := range 61 {
			w.source().put(fmt.Sprint("m", i))
		}
		close(w.source().input)
		began := time.Now()
		a := w.start(t, workflowText("throttle: {count: 10, per: 1m}", "pool: 4"))
		<-a.Done()
		if took := time.Since(began); took != 6*time.Minute+6*time.Second { // the end of the input waits for its turn, too
			t.Errorf("61 messages took %s", took)
		}
		stop(t, a)
	})
	scenario(t, func(t *testing.T, w *world) {
		for i := range 25 {
			w.source().put(fmt.Sprint("m", i))
		}
		a := w.start(t, workflowText("throttle: {count: 10, per: 10s, burst: 20}"))
		synctest.Wait()
		if n := w.number("receive"); n != 20 {
			t.Errorf("%d at once, want the burst of 20", n)
		}
		began := time.Now()
		stop(t, a)
		if time.Since(began) != 0 {
			t.Error("the stop waited for the throttle")
		}
	})
}

func TestSlices(t *testing.T) {
	scenario(t, func(t *testing.T, w *world) {
		source := w.source()
		w.factory.services = map[string]serviceFunc{"slow": slowly}
		a := w.start(t, workflowText("metrics: {slice: 10s, slices: 3}", "services: [{id: slow, do: x}]", "on-error: {out: {}}"))
		for i := range 6 {
			source.put(fmt.Sprint("good", i), fmt.Sprint("bad", i))
			time.Sleep(10 * time.Second)
		}
		got := a.Status().Workflows[0].Slices
		if len(got) != 3 {
			t.Fatalf("%+v", got)
		}
		for i, s := range got {
			if s.Messages != 2 || s.Failed != 1 || s.Bytes == 0 || s.Total != 6*time.Second || s.Longest != 3*time.Second {
				t.Errorf("slice %d: %+v", i, s)
			}
			if i > 0 && s.Start.Sub(got[i-1].Start) != 10*time.Second {
				t.Errorf("slice %d begins %s", i, s.Start)
			}
		}
		stop(t, a)
	})
}

func TestLoadInterceptors(t *testing.T) {
	cfg, err := load(t, workflowText("throttle: {count: 5, per: 2s, burst: 3}", "metrics: {slice: 1m, slices: 7}"))
	if err != nil {
		t.Fatal(err)
	}
	if w := cfg.Channels[0].Workflows[0]; w.Throttle != (adapter.Throttle{Count: 5, Per: 2 * time.Second, Burst: 3}) ||
		w.Metrics != (adapter.MetricsConfig{Slice: time.Minute, Slices: 7}) {
		t.Errorf("%+v", w)
	}
	for setting, want := range map[string]string{
		"throttle: {per: 1s}":     "throttle.count: missing; want how many messages there may be, say {count: 100, per: 1s}",
		"throttle: {count: 0}":    `throttle.count: "0" is not allowed`,
		"throttle: 100":           `throttle: "100" is not allowed; want a mapping with count, per, burst`,
		"metrics: {slice: 1ms}":   `metrics.slice: "1ms" is not allowed; want a duration from 1s`,
		"metrics: {history: 100}": "metrics.history: unknown key; want slice, slices",
	} {
		if _, err := load(t, workflowText(setting)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", setting, err)
		}
	}
}
