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
	options.File, options.Resources = "adapter.yaml", cfg.Resources
	made, broken := components.New(options)
	t.Cleanup(func() { must(t, made.Close(context.Background())) })
	if err = errors.Join(err, broken, adapter.Check(cfg, made)); err != nil {
		err = errors.New(strings.ReplaceAll(err.Error(), file, "adapter.yaml"))
	}
	return cfg, made, err
}

func run(t *testing.T, text string, options components.Options) *work {
	t.Helper()
	w := &work{cluster: &cluster{}, dir: t.TempDir(), log: &logBuffer{}}
	options.Logger = w.log.logger()
	cfg, made, err := configure(t, w.dir, text, options)
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

func (w *work) lines(name string) []string {
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func workflow(parts ...string) string {
	return "adapter:\n  id: a\n  on-error: store\n  channels:\n  - id: c\n    workflows:\n    - id: w\n      " + strings.Join(parts, "\n      ") + "\n"
}

// Trap 7: what an input delivers again after it was given back comes after later messages, and the engine sees it again.
// Nothing is lost, and nothing is done twice.
func TestGivenBackComesAgain(t *testing.T) {
	w := run(t, workflow("retry: {max: 0}", "restart: {after: 0}",
		`consumer: {generate: {mapping: 'root = counter()', count: 5, interval: ""}}`,
		`services: [{mapping: 'root = if content() == "2" && random_int(seed: timestamp_unix_nano(), max: 2) == 0 { throw("no") } else { content() }'}]`,
		"producer: {file: {path: DIR/out, codec: lines}}", "on-error: {reject: 'so that it goes back: ${! error() }'}"), components.Options{})
	// The last on-error is the store, which takes what reject does not: so nothing goes back, and all come to an end.
	<-w.Done()
	list, err := w.store.List(t.Context())
	must(t, err)
	if got := len(w.lines("out")) + len(list); got != 5 {
		t.Errorf("%d of 5: %q and %d stored\n%s", got, w.lines("out"), len(list), w.log.String())
	}
}

// Trap 7, without anybody who takes it: round and round, until it works.
func TestNackIsDeliveredAgain(t *testing.T) {
	text := strings.Replace(workflow("retry: {max: 0}", `consumer: {generate: {mapping: 'root = counter()', count: 3, interval: ""}}`,
		`services: [{mapping: 'root = if content() == "2" && count("tries") < 4 { throw("not yet") } else { content() }'}]`,
		"producer: {file: {path: DIR/out, codec: lines}}"), "  on-error: store\n", "", 1)
	w := run(t, text, components.Options{})
	<-w.Done()
	got := w.lines("out")
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
		`producer: {fs: {directory: DIR/out, create: true, name: '${! meta("message-id") }'}}`), components.Options{})
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
		"producer: {file: {path: DIR/out, codec: lines}}"), components.Options{})
	<-w.Done()
	if got := w.lines("out"); !slices.Equal(got, []string{"x123"}) || !slices.Equal(w.cluster.steps, []string{"outer", "last"}) {
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
				fmt.Sprintf(file, test.period)), components.Options{})
			<-w.Done()
			if got := w.lines("out"); len(got) != 6 {
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
		"producer: {sync_response: {}}"), "  on-error: store\n", "", 1), components.Options{})
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
