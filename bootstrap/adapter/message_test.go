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

func upper(_ context.Context, b *batch) ([]adapter.Batch, error) {
	b.Text = strings.ToUpper(b.Text)
	return []adapter.Batch{b}, nil
}

func filter(context.Context, *batch) ([]adapter.Batch, error) { return nil, nil }

func split(_ context.Context, b *batch) ([]adapter.Batch, error) {
	return []adapter.Batch{newBatch(b.Text + "1"), newBatch(b.Text + "2")}, nil
}

func mark(_ context.Context, b *batch) ([]adapter.Batch, error) {
	b.failed = errors.New("bad content")
	return []adapter.Batch{b}, nil
}

func boom(context.Context, *batch) ([]adapter.Batch, error) { panic("boom") }

const twoServices = "services: [{id: up, do: x, checkpoint: true}, {id: same, do: x}]"

func TestMessagePaths(t *testing.T) {
	errDown := errors.New("down")
	tests := map[string]struct {
		settings   []string
		services   map[string]serviceFunc
		idempotent []string
		fail       map[string][]error
		doneBefore bool
		want       []string
	}{
		"one message, every step in order": {
			settings: []string{twoServices},
			services: map[string]serviceFunc{"up": upper},
			want: []string{
				"mirror received a", "process up a", "mirror stepped a up changed wait", "process same A",
				"mirror stepped a same unchanged", "mirror producing a", "produce files/w/producer A as a",
				"mirror done a", "settle a ok",
			},
		},
		"an idempotent producer needs no producing": {
			idempotent: []string{"files/w/producer"},
			want:       []string{"mirror received a", "produce files/w/producer a as a", "mirror done a", "settle a ok"},
		},
		"acknowledged early": {
			settings: []string{"acknowledge: early"},
			want: []string{
				"mirror received a", "settle a ok", "mirror producing a", "produce files/w/producer a as a", "mirror done a",
			},
		},
		"filtered": {
			settings: []string{twoServices},
			services: map[string]serviceFunc{"up": filter},
			want:     []string{"mirror received a", "process up a", "mirror done a", "settle a ok"},
		},
		"split, each with an id of its own": {
			settings: []string{"services: [{id: cut, do: x}]"},
			services: map[string]serviceFunc{"cut": split},
			want: []string{
				"mirror received a", "process cut a", "mirror stepped a cut changed", "mirror producing a",
				"produce files/w/producer a1 as a", "produce files/w/producer a2 as a#2", "mirror done a", "settle a ok",
			},
		},
		"done before": {
			doneBefore: true,
			want:       []string{"mirror received a", "settle a ok"},
		},
		"a service fails, nobody takes it": {
			settings: []string{twoServices},
			services: map[string]serviceFunc{"up": mark},
			want:     []string{"mirror received a", "process up a", "mirror released a", "settle a failed"},
		},
		"a service marks a part, on-error gets it": {
			settings: []string{twoServices, "on-error: {out: {}}"},
			services: map[string]serviceFunc{"up": mark},
			want: []string{
				"mirror received a", "process up a", "mirror producing a",
				"produce files/w/on-error a as a error-step=up error=bad content", "mirror done a", "settle a ok",
			},
		},
		"a service panics, on-error gets what was mirrored last": {
			settings: []string{"services: [{id: up, do: x}, {id: bang, do: x}]", "on-error: {out: {}}"},
			services: map[string]serviceFunc{"up": upper, "bang": boom},
			want: []string{
				"mirror received a", "process up a", "mirror stepped a up changed", "process bang A", "mirror producing a",
				"produce files/w/on-error A as a error-step=bang error=panicked: boom", "mirror done a", "settle a ok",
			},
		},
		"the produce fails, then works, and is marked": {
			fail: map[string][]error{"produce files/w/producer a as a": {errDown}},
			want: []string{
				"mirror received a", "mirror producing a", "produce files/w/producer a as a",
				"produce files/w/producer a as a possible-duplicate=true", "mirror done a", "settle a ok",
			},
		},
		"an idempotent produce fails, then works, unmarked": {
			idempotent: []string{"files/w/producer"},
			fail:       map[string][]error{"produce files/w/producer a as a": {errDown}},
			want: []string{
				"mirror received a", "produce files/w/producer a as a", "produce files/w/producer a as a", "mirror done a", "settle a ok",
			},
		},
		"a newer master is at the receiver, on-error is not for that": {
			settings:   []string{"on-error: {out: {}}"},
			idempotent: []string{"files/w/producer"},
			fail:       map[string][]error{"produce files/w/producer a as a": {fmt.Errorf("folder: %w", adapter.ErrFenced)}},
			want:       []string{"mirror received a", "produce files/w/producer a as a", "settle a failed"},
		},
		"the produce fails for good": {
			settings:   []string{"retries: 1"},
			idempotent: []string{"files/w/producer"},
			fail:       map[string][]error{"produce files/w/producer a as a": {errDown, errDown}},
			want: []string{
				"mirror received a", "produce files/w/producer a as a", "produce files/w/producer a as a",
				"mirror released a", "settle a failed",
			},
		},
		"on-error fails, too": {
			settings:   []string{"retries: 0", twoServices, "on-error: {out: {}}"},
			services:   map[string]serviceFunc{"up": mark},
			idempotent: []string{"files/w/on-error"},
			fail:       map[string][]error{"produce files/w/on-error a as a error-step=up error=bad content": {errDown}},
			want: []string{
				"mirror received a", "process up a", "produce files/w/on-error a as a error-step=up error=bad content",
				"mirror released a", "settle a failed",
			},
		},
		"the mirror fails for a while": {
			idempotent: []string{"files/w/producer"},
			fail:       map[string][]error{"mirror received a": {errDown}, "mirror done a": {errDown, errDown}},
			want: []string{
				"mirror received a", "mirror received a", "produce files/w/producer a as a",
				"mirror done a", "mirror done a", "mirror done a", "settle a ok",
			},
		},
		"another term writes the mirror": {
			fail: map[string][]error{"mirror producing a": {adapter.ErrNotLeading}},
			want: []string{"mirror received a", "mirror producing a", "settle a shut"},
		},
		"the mirror refuses": {
			fail: map[string][]error{"mirror producing a": {adapter.ErrRefused}},
			want: []string{"mirror received a", "mirror producing a", "settle a failed"},
		},
		"an early one that fails stays until it works": {
			settings: []string{"acknowledge: early", twoServices},
			fail:     map[string][]error{"process same a": {errDown, errDown}},
			want: []string{
				"mirror received a", "settle a ok", "process up a", "mirror stepped a up unchanged wait",
				"process same a", "process same a", "process same a", "mirror stepped a same unchanged",
				"mirror producing a", "produce files/w/producer a as a", "mirror done a",
			},
		},
		"the acknowledgement fails": {
			fail: map[string][]error{"settle a ok": {errDown}},
			want: []string{"mirror received a", "mirror producing a", "produce files/w/producer a as a", "mirror done a", "settle a ok"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			scenario(t, func(t *testing.T, w *world) {
				w.factory.services = test.services
				for _, id := range test.idempotent {
					w.factory.idempotent[id] = true
				}
				w.fail, w.done["a"] = test.fail, test.doneBefore
				w.source().put("a")
				close(w.source().input)
				a := w.start(t, workflowText(test.settings...))
				<-a.Done()
				w.expect(t, test.want...)
				if s := a.Status().Workflows[0]; s.Received != 1 || s.InFlight != 0 {
					t.Errorf("status %+v", s)
				}
				stop(t, a)
			})
		})
	}
}

// Whenever the gate shuts, nothing is written, produced or acknowledged afterwards, and the source is let go.
func TestGateShutsBeforeEachCall(t *testing.T) {
	for name, settings := range map[string][]string{
		"late":     {twoServices},
		"early":    {twoServices, "acknowledge: early"},
		"on-error": {"services: [{id: bad, do: x}]", "on-error: {out: {}}"},
		"released": {"services: [{id: bad, do: x}]"},
		"stored":   {"services: [{id: bad, do: x}]", "on-error: store"},
	} {
		t.Run(name, func(t *testing.T) {
			for at, more := 1, true; more; at++ {
				scenario(t, func(t *testing.T, w *world) {
					w.factory.services = map[string]serviceFunc{"up": upper, "bad": mark}
					w.failed = newFailedStore(w)
					w.source().put("a")
					close(w.source().input)
					a := w.build(t, workflowText(settings...))
					if err := a.Init(t.Context()); err != nil {
						t.Fatal(err)
					}
					w.shutAt, w.quiet = at, true
					if err := a.Start(t.Context(), adapter.Run{Gate: w, Mirror: mirror{w}}); err != nil && !errors.Is(err, adapter.ErrGateShut) {
						t.Error(err)
					}
					time.Sleep(time.Minute) // of the bubble
					synctest.Wait()
					w.mu.Lock()
					calls := slices.Clone(w.trace)
					w.mu.Unlock()
					stop(t, a)
					shut := slices.Index(calls, "SHUT")
					if more = shut >= 0; !more {
						return
					}
					if n := w.number("settle a ok") + w.number("settle a shut") + w.number("settle a failed"); n > 1 || n == 0 && w.has("mirror received a") {
						t.Errorf("shut before call %d: the delivery was settled %d times:\n\t%s", at, n, strings.Join(calls, "\n\t"))
					}
					// The call that the gate has overtaken had begun before; the fakes refuse it as real ones do.
					for _, c := range calls[min(shut+2, len(calls)):] {
						if strings.HasPrefix(c, "mirror") || strings.HasPrefix(c, "produce") || strings.HasPrefix(c, "process") ||
							strings.HasPrefix(c, "store put") || c == "settle a ok" {
							t.Errorf("shut before call %d, and then came %q:\n\t%s", at, c, strings.Join(calls, "\n\t"))
						}
					}
				})
			}
		})
	}
}
