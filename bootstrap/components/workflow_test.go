package components_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	"github.com/understudy-ha/understudy/bootstrap/components"
	"github.com/understudy-ha/understudy/bootstrap/components/failedstore"
)

// cluster is the gate and the mirror of a node that leads, for as long as the test runs.
type cluster struct {
	mu       sync.Mutex
	finished []string
	released []string
	steps    []string
}

func (*cluster) Check() error             { return nil }
func (*cluster) Context() context.Context { return context.Background() }
func (*cluster) Term() string             { return "1:test" }

func (c *cluster) Receive(context.Context, adapter.Entry) (bool, error) { return false, nil }
func (c *cluster) Step(_ context.Context, _, step string, _ []byte, _ bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps = append(c.steps, step)
	return nil
}
func (*cluster) Producing(context.Context, string) error { return nil }
func (c *cluster) Done(_ context.Context, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finished = append(c.finished, id)
	return nil
}
func (c *cluster) Release(_ context.Context, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.released = append(c.released, id)
	return nil
}
func (c *cluster) Hold(context.Context, string, string) error { return nil }

func (c *cluster) done() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.finished)
}

// work is an adapter that runs, with real components. DIR in its file is dir.
type work struct {
	*adapter.Adapter
	cluster *cluster
	dir     string
	store   *failedstore.Store
	log     *logBuffer
}

// configure reads an adapter file and checks it, as a start does.
func configure(t testing.TB, dir, text string, options components.Options) (*adapter.Config, *components.Factory, error) {
	t.Helper()
	file := filepath.Join(dir, "adapter.yaml")
	must(t, os.WriteFile(file, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600))
	cfg, err := adapter.Load(file)
	if cfg == nil {
		return nil, nil, err
	}
	options.File, options.Resources, options.HTTP = "adapter.yaml", cfg.Resources, cfg.HTTP
	made, broken := components.New(options)
	t.Cleanup(func() { must(t, made.Close(context.Background())) })
	if err = errors.Join(err, broken, adapter.Check(cfg, made)); err != nil {
		err = errors.New(strings.ReplaceAll(err.Error(), file, "adapter.yaml"))
	}
	return cfg, made, err
}

func run(t *testing.T, text string) *work {
	t.Helper()
	w := &work{cluster: &cluster{}, dir: t.TempDir(), log: &logBuffer{}}
	cfg, made, err := configure(t, w.dir, text, components.Options{Logger: w.log.logger()})
	must(t, err)
	w.store, err = failedstore.Open(filepath.Join(w.dir, "failed"), failedstore.Limits{MaxMessages: 100, MaxBytes: 1 << 30})
	must(t, err)
	w.Adapter, err = adapter.New(cfg, made, nil, w.log.logger(), adapter.Options{Failed: w.store, Grace: 10 * time.Second})
	must(t, err)
	must(t, w.Init(t.Context()))
	must(t, w.Start(t.Context(), adapter.Run{Gate: w.cluster, Mirror: w.cluster}))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		must(t, errors.Join(w.Stop(ctx), w.Close(ctx)))
	})
	return w
}

func (w *work) eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s\n%s", what, w.log.String())
		}
	}
}

// lines are those of the file out.
func (w *work) lines() []string {
	text, err := os.ReadFile(filepath.Join(w.dir, "out"))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func workflow(parts ...string) string {
	return "adapter:\n  id: a\n  on-error: store\n  channels:\n  - id: c\n    workflows:\n    - id: w\n      " + strings.Join(parts, "\n      ") + "\n"
}

// An on-error that refuses does not lose the message: the store, which is next, takes it.
func TestStoreAfterOnErrorThatRefuses(t *testing.T) {
	w := run(t, workflow("retry: {max: 0}", `consumer: {generate: {mapping: 'root = counter()', count: 5, interval: ""}}`,
		`services: [{mapping: 'root = if content() == "2" { throw("no") } else { content() }'}]`,
		"producer: {file: {path: DIR/out, codec: lines}}", "on-error: {reject: 'not here: ${! error() }'}"))
	<-w.Done()
	list, err := w.store.List(t.Context())
	must(t, err)
	if got := w.lines(); !slices.Equal(got, []string{"1", "3", "4", "5"}) || len(list) != 1 || !strings.Contains(list[0].Error, "no") {
		t.Errorf("%q, %+v\n%s", got, list, w.log.String())
	}
}

// Trap 7: what an input delivers again after it was given back comes after later messages, with another id, and goes
// round until it works. Nothing is lost.
func TestNackIsDeliveredAgain(t *testing.T) {
	text := strings.Replace(workflow("retry: {max: 0}", `consumer: {generate: {mapping: 'root = counter()', count: 3, interval: ""}}`,
		`services: [{mapping: 'root = if content() == "2" && count("DIR") < 4 { throw("not yet") } else { content() }'}]`,
		"producer: {file: {path: DIR/out, codec: lines}}"), "  on-error: store\n", "", 1)
	w := run(t, text)
	<-w.Done()
	got := w.lines()
	slices.Sort(got)
	if !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("%q", got)
	}
	if w.Status().Workflows[0].Failed == 0 {
		t.Error("nothing was given back: this shows nothing")
	}
}

// Traps 8 and 9: a failure on one part fails the message; what is filtered is acknowledged; what is split is acknowledged
// once.
func TestFailedFilteredSplit(t *testing.T) {
	w := run(t, workflow(`consumer: {fs: {directory: DIR/in, create: true, poll: 5ms}}`, "services:",
		`- {id: drop, mapping: 'root = if content() == "drop" { deleted() } else { content() }'}`,
		`- {id: cut, unarchive: {format: lines}}`, `- {id: each, split: {size: 1}}`,
		`- {id: check, mapping: 'root = if content() == "bad" { throw("no good") } else { content() }'}`,
		`producer: {fs: {directory: DIR/out, create: true, name: '${! meta("message-id") }'}}`))
	for name, content := range map[string]string{"filtered": "drop", "split": "1\n2\n3", "failed": "good\nbad\ngood"} {
		must(t, os.WriteFile(filepath.Join(w.dir, "in", "."+name), []byte(content), 0o600))
		must(t, os.Rename(filepath.Join(w.dir, "in", "."+name), filepath.Join(w.dir, "in", name)))
	}
	w.eventually(t, "all are acknowledged", func() bool {
		left, err := os.ReadDir(filepath.Join(w.dir, "in"))
		return err == nil && len(left) == 0
	})
	s := w.Status().Workflows[0]
	if s.Filtered != 1 || s.Produced != 1 || s.Stored != 1 || s.Failed != 1 || w.cluster.done() != 2 {
		t.Errorf("%+v", s)
	}
	var got []string
	entries, err := os.ReadDir(filepath.Join(w.dir, "out"))
	must(t, err)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			got = append(got, readFile(t, filepath.Join(w.dir, "out", e.Name())))
		}
	}
	if slices.Sort(got); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("produced %q", got)
	}
	list, err := w.store.List(t.Context())
	if err != nil || len(list) != 1 || list[0].ErrorStep != "check" || !strings.Contains(list[0].Error, "no good") {
		t.Errorf("%+v, %v", list, err)
	}
	f, err := w.store.Get(t.Context(), list[0].MessageID)
	must(t, err)
	if parts, err := failedstore.Parts(f.Payload); err != nil || len(parts) != 1 || string(parts[0].Content) != "good\nbad\ngood" {
		t.Errorf("as it was received: %+v, %v", parts, err)
	}
}

// Trap 10: what stands inside a component is one step; the mirror and the hooks know the services of the file only.
func TestInnerProcessorsAreOneStep(t *testing.T) {
	w := run(t, workflow(`consumer: {generate: {mapping: root = "x", count: 1, interval: "", }}`, "services:",
		`- {id: outer, try: [{mapping: root = content() + "1"}, {mapping: root = content() + "2"}]}`,
		`- {id: last, switch: [{check: 'true', processors: [{mapping: root = content() + "3"}]}]}`,
		"producer: {file: {path: DIR/out, codec: lines}}"))
	<-w.Done()
	if got := w.lines(); !slices.Equal(got, []string{"x123"}) || !slices.Equal(w.cluster.steps, []string{"outer", "last"}) {
		t.Errorf("%q, steps %q", got, w.cluster.steps)
	}
}

// Trap 10, batching: an output that gathers waits for as many messages as it wants; the pool has to have so many, or it
// needs a period.
func TestBatchingInsideAnOutput(t *testing.T) {
	const file = "producer: {broker: {outputs: [{file: {path: DIR/out, codec: lines}}], batching: {count: 3, period: %s}}}"
	for name, test := range map[string]struct{ pool, period string }{"pool": {"3", `""`}, "period": {"1", "10ms"}} {
		t.Run(name, func(t *testing.T) {
			w := run(t, workflow("pool: "+test.pool, `consumer: {generate: {mapping: 'root = counter()', count: 6, interval: ""}}`,
				fmt.Sprintf(file, test.period)))
			<-w.Done()
			if got := w.lines(); len(got) != 6 {
				t.Errorf("%q", got)
			}
		})
	}
}

// Trap 5: an output that never connects ends neither the stop of the others nor the process.
func TestOutputThatNeverConnects(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := listener.Addr().String()
	must(t, listener.Close())
	made := factory(t, components.Options{})
	output := producer(t, made, fmt.Sprintf("socket: {network: tcp, address: %q}", address))
	must(t, output.Open(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := output.Produce(ctx, batch("lost?")); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	// What was given up may still arrive: the engine marks the next attempt (TestMessagePaths), and this one arrives.
	listener, err = net.Listen("tcp", address)
	if err != nil {
		t.Skip("somebody else has the port now:", err)
	}
	defer listener.Close()
	connection, err := listener.Accept()
	must(t, err)
	text := make([]byte, 6)
	_, err = io.ReadFull(connection, text)
	must(t, errors.Join(err, output.Close(within(t)), connection.Close()))
	if string(text) != "lost?\n" {
		t.Errorf("%q", text)
	}
}

// Trap 14: nothing of Benthos writes to this process's stdout, which a parent may parse.
func TestNothingOnStdout(t *testing.T) {
	r, out, err := os.Pipe()
	must(t, err)
	before := os.Stdout
	os.Stdout = out
	text := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(r)
		text <- string(all)
	}()
	func() {
		defer func() { os.Stdout = before }()
		made, err := components.New(components.Options{Resources: parse(t, "cache_resources: [{label: c, memory: {}}]")})
		must(t, err)
		speak := processor(t, made, `log: {level: ERROR, message: hello}`)
		_, err = speak.Process(t.Context(), batch("x"))
		must(t, errors.Join(err, speak.Close(t.Context()), made.Close(t.Context())))
	}()
	must(t, out.Close())
	if got := <-text; got != "" {
		t.Errorf("stdout has %q", got)
	}
}

// Trap 11 in a whole workflow: request and reply, the failure as 502, and the same path again after a restart.
func TestRequestReply(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := listener.Addr().String()
	must(t, listener.Close())
	w := run(t, strings.Replace(workflow("pool: 4", "retry: {max: 0}",
		"consumer: {http_server: {address: "+address+", path: /post}}",
		`services: [{mapping: 'root = if content() == "bad" { throw("no good") } else { content().uppercase() }'}]`,
		"producer: {sync_response: {}}"), "  on-error: store\n", "", 1))
	post := func(body string) (int, string) {
		t.Helper()
		response, err := http.Post("http://"+address+"/post", "text/plain", strings.NewReader(body))
		must(t, err)
		text, err := io.ReadAll(response.Body)
		must(t, errors.Join(err, response.Body.Close()))
		return response.StatusCode, string(text)
	}
	defer http.DefaultClient.CloseIdleConnections()
	w.eventually(t, "the server listens", func() bool {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close()
		}
		return err == nil
	})
	if code, text := post("hello"); code != http.StatusOK || text != "HELLO" {
		t.Errorf("%d %q", code, text)
	}
	if code, text := post("bad"); code != http.StatusBadGateway || !strings.Contains(text, "no good") {
		t.Errorf("%d %q", code, text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = w.StopWorkflows(ctx, "w")
	must(t, err)
	_, err = w.StartWorkflows(ctx, "w")
	must(t, err)
	w.eventually(t, "the server listens again", func() bool {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close()
		}
		return err == nil
	})
	if code, text := post("again"); code != http.StatusOK || text != "AGAIN" {
		t.Errorf("%d %q", code, text)
	}
}

// Several consumers share one address, which is only listened on while one of them is open.
func TestSharedServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := listener.Addr().String()
	must(t, listener.Close())
	text := "adapter:\n  id: a\n  http: {address: " + address + "}\n  channels:\n  - id: c\n    workflows:\n"
	for _, id := range []string{"one", "two"} {
		text += "    - {id: " + id + ", consumer: {http_server: {path: /" + id + "}}, services: [{mapping: 'root = \"" + id + ":\" + content()'}], producer: {sync_response: {}}}\n"
	}
	cfg, made, err := configure(t, t.TempDir(), text, components.Options{})
	must(t, err)
	a, err := adapter.New(cfg, made, nil, nil, adapter.Options{})
	must(t, err)
	must(t, a.Init(t.Context()))
	if connection, err := net.Dial("tcp", address); err == nil {
		_ = connection.Close()
		t.Fatal("a standby listens")
	}
	c := &cluster{}
	must(t, a.Start(t.Context(), adapter.Run{Gate: c, Mirror: c}))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(path string) string {
		t.Helper()
		response, err := client.Post("http://"+address+path, "text/plain", strings.NewReader("x"))
		if err != nil {
			return err.Error()
		}
		body, err := io.ReadAll(response.Body)
		must(t, errors.Join(err, response.Body.Close()))
		return fmt.Sprint(response.StatusCode, " ", string(body))
	}
	for path, want := range map[string]string{"/one": "200 one:x", "/two": "200 two:x", "/three": "404 404 page not found\n"} {
		if got := ask(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	_, err = a.StopWorkflows(within(t), "one")
	must(t, err)
	if got := ask("/two"); got != "200 two:x" {
		t.Errorf("the other: %q", got)
	}
	if got := ask("/one"); strings.HasPrefix(got, "200") {
		t.Errorf("a stopped one: %q", got)
	}
	_, err = a.StartWorkflows(within(t), "one")
	must(t, err)
	if got := ask("/one"); got != "200 one:x" {
		t.Errorf("started again: %q", got)
	}
	must(t, errors.Join(a.Stop(within(t)), a.Close(within(t))))
	if got := ask("/two"); !strings.Contains(got, "refused") {
		t.Errorf("after the stop: %q", got)
	}
}

// The port is taken: the start fails, and says so.
func TestSharedServerIsTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	made, err := components.New(components.Options{File: "adapter.yaml", HTTP: parse(t, "address: "+listener.Addr().String())})
	must(t, err)
	t.Cleanup(func() { must(t, made.Close(context.Background())) })
	input := consumer(t, made, "http_server: {path: /a}")
	if err := input.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "http: address "+listener.Addr().String()+": ") ||
		!strings.Contains(err.Error(), "address already in use") {
		t.Error(err)
	}
	must(t, input.Close(within(t)))
}

func TestSharedServerFaults(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                            "adapter.yaml:1: http: address is missing; say address: 0.0.0.0:8080",
		"{address: here}":               `adapter.yaml:1: http: address: "here": want host:port`,
		"{address: ':1', cert-file: a}": "cert-file and key-file belong together; want both or none",
		"{address: ':1', cert-file: a, key-file: b}": "no such file or directory",
		"{port: 1}": `unknown option "port"; allowed here: `,
	} {
		made, err := components.New(components.Options{File: "adapter.yaml", HTTP: parse(t, text)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
		must(t, made.Close(t.Context()))
	}
}

// A cron consumer in a whole workflow.
func TestCronWorkflow(t *testing.T) {
	w := run(t, workflow(`consumer: {cron: {schedule: "@every 1s", content: tick}}`,
		`services: [{mapping: 'root = content() + " " + meta("cron_scheduled")'}]`, "producer: {file: {path: DIR/out, codec: lines}}"))
	w.eventually(t, "two ticks", func() bool { return len(w.lines()) >= 2 })
	if got := w.lines(); !strings.HasPrefix(got[0], "tick 20") || got[0] == got[1] {
		t.Errorf("%q", got)
	}
}
