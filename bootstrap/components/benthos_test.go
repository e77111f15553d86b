package components_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components"
	"github.com/understudy-ha/understudy/bootstrap/components/benthos"
	"github.com/understudy-ha/understudy/profiler"
)

func TestResourcesLoggerAndRelativePathsReachComponents(t *testing.T) {
	dir := t.TempDir()
	log := &logBuffer{}
	made := factory(t, components.Options{
		Dir: dir, Logger: log.logger(),
		Resources: parse(t, "cache_resources: [{label: seen, memory: {}}]"),
	})
	dedupe := processor(t, made, `dedupe: {cache: seen, key: "${! content() }"}`)
	again := processor(t, made, `dedupe: {cache: seen, key: "${! content() }"}`)
	speak := processor(t, made, `log: {message: "here is ${! content() }"}`)

	out, err := dedupe.Process(t.Context(), batch("one"))
	must(t, err)
	if len(out) != 1 {
		t.Fatalf("the first time: %d batches", len(out))
	}
	_, err = speak.Process(t.Context(), out[0])
	must(t, err)
	// Trap 9: a filtered batch is none. The cache is the same for both.
	out, err = again.Process(t.Context(), batch("one"))
	must(t, err)
	if len(out) != 0 {
		t.Fatalf("the second time: %d batches, want none", len(out))
	}
	if text := log.String(); !strings.Contains(text, `msg="here is one"`) ||
		!strings.Contains(text, "component=orders/files/work/it") {
		t.Errorf("log has no line of the component:\n%s", text)
	}
	if text := log.String(); strings.Contains(text, "understudy is now active") {
		t.Errorf("log shows the idle stream:\n%s", text)
	}

	file := producer(t, made, `file: {path: out.txt, codec: lines}`)
	must(t, file.Open(t.Context()))
	must(t, file.Produce(t.Context(), batch("hello")))
	must(t, file.Close(within(t)))
	if got := readFile(t, filepath.Join(dir, "out.txt")); got != "hello\n" {
		t.Errorf("out.txt has %q", got)
	}
	input := consumer(t, made, `file: {paths: ["*.txt"]}`)
	must(t, input.Open(t.Context()))
	delivery, err := input.Receive(within(t))
	must(t, err)
	if got := contents(t, delivery.Batch); !slices.Equal(got, []string{"hello"}) {
		t.Errorf("read %q", got)
	}
	must(t, delivery.Settle(t.Context(), nil))
	if _, err := input.Receive(within(t)); !errors.Is(err, adapter.ErrEndOfInput) {
		t.Errorf("after the last line: %v", err)
	}
	must(t, input.Close(within(t)))
}

func TestMissingResourceFailsTheServiceWithItsPlace(t *testing.T) {
	made := factory(t, components.Options{})
	_, err := made.Service(spec(t, profiler.KindService, "\n\ncache: {resource: nope, operator: get, key: a}"))
	if err == nil || !strings.HasPrefix(err.Error(), "adapter.yaml:3: ") || !strings.Contains(err.Error(), "nope") {
		t.Errorf("error is %v", err)
	}
}

// Traps 2, 3 and 4: an output must be primed before it is closed or written to by several, and must not be
// written to after it was closed.
func TestOutputLifecycle(t *testing.T) {
	made := factory(t, components.Options{})
	for range 20 {
		output := producer(t, made, "drop: {}")
		if err := output.Produce(t.Context(), batch("x")); err == nil {
			t.Fatal("produce before open succeeded")
		}
		must(t, output.Open(t.Context()))
		var writers sync.WaitGroup
		failures := make(chan error, 8)
		for range cap(failures) {
			writers.Go(func() { failures <- output.Produce(t.Context(), batch("x")) })
		}
		writers.Wait()
		for range cap(failures) {
			must(t, <-failures)
		}
		must(t, output.Close(within(t)))
		must(t, output.Close(within(t)))
		if err := output.Produce(t.Context(), batch("x")); err == nil {
			t.Fatal("produce after close succeeded")
		}
	}
	unused := producer(t, made, "drop: {}")
	must(t, unused.Close(within(t)))
	must(t, unused.Open(t.Context()))
	must(t, unused.Close(within(t)))
	must(t, unused.Open(t.Context())) // a second mastership
	must(t, unused.Produce(t.Context(), batch("x")))
	must(t, unused.Close(within(t)))
}

// Trap 4, with a close in the middle of writes.
func TestCloseWaitsForProduces(t *testing.T) {
	made := factory(t, components.Options{})
	output := producer(t, made, "drop: {}")
	must(t, output.Open(t.Context()))
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for output.Produce(t.Context(), batch("x")) == nil {
			}
		})
	}
	must(t, output.Close(within(t)))
	writers.Wait()
}

func TestProduceGivesUpWhenContextEnds(t *testing.T) {
	made := factory(t, components.Options{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, listener.Close())
	output := producer(t, made, fmt.Sprintf("socket: {network: tcp, address: %q}", listener.Addr()))
	must(t, output.Open(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := output.Produce(ctx, batch("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("produce to nobody: %v", err)
	}
	must(t, output.Close(within(t)))
}

// Traps 6 and 7: an input waits for what is not settled; what was given back comes again.
func TestInputLifecycle(t *testing.T) {
	made := factory(t, components.Options{})
	input := consumer(t, made, `generate: {mapping: 'root = "x"', count: 1, interval: ""}`)
	if _, err := input.Receive(t.Context()); err == nil {
		t.Fatal("receive before open succeeded")
	}
	must(t, input.Close(t.Context()))
	must(t, input.Open(t.Context()))
	delivery, err := input.Receive(within(t))
	must(t, err)
	if delivery.MessageID != "" || input.Redelivers() {
		t.Error("a Benthos input claims to know its messages")
	}
	must(t, delivery.Settle(t.Context(), errors.New("not now")))
	delivery, err = input.Receive(within(t))
	must(t, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := input.Close(ended); err == nil {
		t.Error("close did not wait for the delivery")
	}
	must(t, delivery.Settle(t.Context(), nil))
	must(t, input.Close(within(t)))

	must(t, input.Open(t.Context()))
	delivery, err = input.Receive(within(t))
	must(t, err)
	must(t, delivery.Settle(t.Context(), nil))
	must(t, input.Close(within(t)))
}

// An input works from the moment it is built; on a standby it must not.
func TestInputWorksOnlyAfterOpen(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := listener.Addr().String()
	must(t, listener.Close())
	made := factory(t, components.Options{})
	input := consumer(t, made, fmt.Sprintf("http_server: {address: %q}", address))
	if connection, err := net.Dial("tcp", address); err == nil {
		_ = connection.Close()
		t.Error("the input listens before it was opened")
	}
	must(t, input.Close(t.Context()))
}

// Trap 8: a processor's failure sits on the message.
func TestFailureSitsOnTheBatch(t *testing.T) {
	made := factory(t, components.Options{})
	failing := processor(t, made, `mapping: 'root = if content() == "bad" { throw("no good") } else { content() }'`)
	out, err := failing.Process(t.Context(), batch("good", "bad"))
	must(t, err)
	if len(out) != 1 || out[0].Parts() != 2 {
		t.Fatalf("out: %v", out)
	}
	failure := out[0].Err()
	if failure == nil || !strings.Contains(failure.Error(), "no good") {
		t.Fatalf("failure: %v", failure)
	}
	copied := out[0].Copy()
	copied.ClearErr()
	if copied.Err() != nil || out[0].Err() == nil {
		t.Error("clearing the copy's failure did not stay there")
	}
}

// A workflow's messages in flight share one processor.
func TestServiceIsUsedByManyAtOnce(t *testing.T) {
	made := factory(t, components.Options{Resources: parse(t, "cache_resources: [{label: seen, memory: {}}]")})
	steps := []adapter.Service{
		processor(t, made, "mapping: 'root.a = content().string()'"),
		processor(t, made, "mutation: 'root.b = this.a.uppercase()'"),
		processor(t, made, `dedupe: {cache: seen, key: '${! json("a") }'}`),
		processor(t, made, "try: [{mapping: root = this.b}]"),
	}
	var workers sync.WaitGroup
	for worker := range 8 {
		workers.Go(func() {
			for i := range 50 {
				current := []adapter.Batch{batch(fmt.Sprintf("m-%d-%d", worker, i))}
				for _, step := range steps {
					next, err := step.Process(t.Context(), current[0])
					if err != nil || len(next) != 1 || next[0].Err() != nil {
						t.Errorf("%v, %v", next, err)
						return
					}
					current = next
				}
				if got, want := contents(t, current[0])[0], fmt.Sprintf("M-%d-%d", worker, i); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
	workers.Wait()
}

func TestSplitGivesSeveralBatches(t *testing.T) {
	made := factory(t, components.Options{})
	split := processor(t, made, "split: {size: 1}")
	out, err := split.Process(t.Context(), batch("a", "b", "c"))
	must(t, err)
	var all []string
	for _, one := range out {
		all = append(all, contents(t, one)...)
	}
	if len(out) != 3 || !slices.Equal(all, []string{"a", "b", "c"}) {
		t.Errorf("%d batches: %v", len(out), all)
	}
}

// Trap 11: an http_server input answers through sync_response, and can be opened again on the same path.
func TestHTTPRequestReply(t *testing.T) {
	mux := &benthos.Mux{}
	server := httptest.NewServer(mux)
	defer server.Close()
	made := factory(t, components.Options{Mux: mux})
	input := consumer(t, made, "http_server: {path: /post}")
	upper := processor(t, made, "mapping: root = content().uppercase()")
	reply := producer(t, made, "sync_response: {}")
	must(t, reply.Open(t.Context()))
	for round := range 3 {
		must(t, input.Open(t.Context()))
		failure := error(nil)
		if round == 2 {
			failure = errors.New("could not be done")
		}
		worked := make(chan error, 1)
		go func() {
			worked <- func() error {
				delivery, err := input.Receive(within(t))
				if err != nil {
					return err
				}
				if failure != nil {
					return delivery.Settle(t.Context(), failure)
				}
				out, err := upper.Process(t.Context(), delivery.Batch)
				if err != nil {
					return err
				}
				if err := reply.Produce(t.Context(), out[0]); err != nil {
					return err
				}
				return delivery.Settle(t.Context(), nil)
			}()
		}()
		response, err := http.Post(server.URL+"/post", "text/plain", strings.NewReader("hello"))
		must(t, err)
		body, err := io.ReadAll(response.Body)
		must(t, errors.Join(err, response.Body.Close(), <-worked))
		if failure == nil && (response.StatusCode != http.StatusOK || string(body) != "HELLO") {
			t.Errorf("round %d: %d %q", round, response.StatusCode, body)
		}
		if failure != nil && (response.StatusCode != http.StatusBadGateway || !strings.Contains(string(body), "could not")) {
			t.Errorf("round %d: %d %q", round, response.StatusCode, body)
		}
		must(t, input.Close(within(t)))
	}
	must(t, reply.Close(within(t)))
	http.DefaultClient.CloseIdleConnections()
}

// The way back of a request does not survive a takeover, or the failed-message store.
func TestAnswerWithoutRequest(t *testing.T) {
	made := factory(t, components.Options{})
	for _, text := range []string{"sync_response: {}", "broker: {pattern: fan_out_fail_fast, outputs: [{sync_response: {}}, {drop: {}}]}"} {
		reply := producer(t, made, text)
		must(t, reply.Open(t.Context()))
		if err := reply.Produce(within(t), batch("x")); !errors.Is(err, adapter.ErrNobodyWaits) {
			t.Errorf("%s: %v", text, err)
		}
		must(t, reply.Close(within(t)))
	}
}

func TestFactoryClosesWithoutUseAndTwice(t *testing.T) {
	made, err := components.New(components.Options{})
	must(t, err)
	must(t, made.Close(t.Context()))
	must(t, made.Close(t.Context()))
	if _, err := made.Service(spec(t, profiler.KindService, "mapping: root = this")); err == nil {
		t.Error("a closed factory made a service")
	}
}

func TestOutputResource(t *testing.T) {
	dir := t.TempDir()
	made := factory(t, components.Options{
		Dir: dir, Resources: parse(t, "output_resources: [{label: sink, file: {path: out.txt, codec: lines}}]"),
	})
	output := producer(t, made, "resource: sink")
	must(t, output.Open(t.Context()))
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			if err := output.Produce(t.Context(), batch("x")); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	must(t, output.Close(within(t)))
	if got := readFile(t, filepath.Join(dir, "out.txt")); got != strings.Repeat("x\n", 8) {
		t.Errorf("out.txt has %q", got)
	}
}
