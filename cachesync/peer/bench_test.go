package peer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	"github.com/understudy-ha/understudy/cachesync/store"
	clusterv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// The trip of one put, over mutual TLS: from a writer that waits, through the mirror to every standby and back. All
// nodes are in this process and share its cores; a put of a message and its removal are two puts.

func BenchmarkMirrorPut(b *testing.B) {
	trips(b, func(b *testing.B, disk bool, standbys int) func(id string, payload []byte, done func()) {
		a := newAir()
		start := func(id string) *node {
			if !disk {
				return startNode(b, a, id, with("a"))
			}
			return startStored(b, a, id, openStore(b, b.TempDir()), with("a"))
		}
		one := start("one")
		for i := range standbys {
			start(fmt.Sprint("standby", i))
		}
		awaitPeers(b, one, standbys)
		lead(b, one, 1)
		term := ledger.Term{Number: 1, Node: "one"}
		settle := func(done func()) cachesync.Settle {
			return func(r cachesync.Result, err error) {
				if r != cachesync.Committed {
					b.Errorf("%v: %v", r, err)
				}
				done()
			}
		}
		return func(id string, payload []byte, done func()) {
			op := ledger.Op{Kind: ledger.Received, MessageID: id, WorkflowID: "w", Payload: payload, UnixMilli: 1}
			if payload == nil {
				op.Kind = ledger.Released
			}
			one.Commit(term, op, false, settle(done))
		}
	})
}

// openStore opens a store that is closed when the nodes that use it have ended.
func openStore(t testing.TB, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(store.Options{Dir: dir, DedupeCount: 100, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// BenchmarkMirrorPutBare is the same trip without our code: a queue that goes out as one gRPC message at a time, a
// map at the other end, an acknowledgement back. On disk the standby writes each message to a Pebble database before
// it answers; the master, unlike ours, has no disk.
func BenchmarkMirrorPutBare(b *testing.B) {
	trips(b, func(b *testing.B, disk bool, standbys int) func(id string, payload []byte, done func()) {
		bare := &bareMaster{}
		for range standbys {
			bare.connect(b, disk)
		}
		return bare.put
	})
}

func trips(b *testing.B, start func(b *testing.B, disk bool, standbys int) func(id string, payload []byte, done func())) {
	for _, kept := range []string{"mem", "disk"} {
		b.Run(kept, func(b *testing.B) { sizes(b, kept == "disk", start) })
	}
}

func sizes(b *testing.B, disk bool, start func(b *testing.B, disk bool, standbys int) func(id string, payload []byte, done func())) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"256B", 256}, {"4KiB", 4 << 10}} {
		for _, writers := range []int{1, 16, 64} {
			for _, standbys := range []int{1, 2} {
				b.Run(fmt.Sprintf("%s/w%d/r%d", size.name, writers, standbys), func(b *testing.B) {
					measure(b, start(b, disk, standbys), size.bytes, writers)
				})
			}
		}
	}
}

// measure lets writers put and remove messages, b.N puts in all, each writer waiting for its own.
func measure(b *testing.B, put func(id string, payload []byte, done func()), size, writers int) {
	took := make([][]time.Duration, writers)
	var left atomic.Int64
	left.Store(int64(b.N))
	var writing sync.WaitGroup
	b.ResetTimer()
	begun := time.Now()
	for w := range writers {
		writing.Go(func() {
			payload := make([]byte, size)
			done := make(chan struct{}, 1)
			settled := func() { done <- struct{}{} }
			for i := 0; left.Add(-1) >= 0; i++ {
				id, what := fmt.Sprintf("writer-%d-message-%d", w, i/2), payload
				if i%2 == 1 {
					what = nil
				}
				start := time.Now()
				put(id, what, settled)
				<-done
				took[w] = append(took[w], time.Since(start))
			}
		})
	}
	writing.Wait()
	elapsed := time.Since(begun)
	b.StopTimer()
	all := slices.Sorted(func(yield func(time.Duration) bool) {
		for _, times := range took {
			for _, t := range times {
				if !yield(t) {
					return
				}
			}
		}
	})
	micros := func(part int) float64 { return float64(all[min(len(all)*part/100, len(all)-1)].Nanoseconds()) / 1000 }
	b.ReportMetric(float64(b.N)/elapsed.Seconds(), "puts/s")
	b.ReportMetric(micros(50), "p50-us")
	b.ReportMetric(micros(99), "p99-us")
}

// bareMaster is what a mirror costs at least.
type bareMaster struct {
	mu       sync.Mutex
	streams  []*bareStream
	waiting  []func()
	before   uint64 // puts acknowledged by all
	position uint64
}

type bareStream struct {
	wake   chan struct{}
	window chan struct{}
	queue  []*mirrorv1.LogEntry
	acked  uint64
}

func (m *bareMaster) put(id string, payload []byte, done func()) {
	entry := &mirrorv1.LogEntry{Op: &mirrorv1.Op{Kind: mirrorv1.OpKind_OP_KIND_RECEIVED, MessageId: id, WorkflowId: "w", Payload: payload}}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.position++
	m.waiting = append(m.waiting, done)
	for _, s := range m.streams {
		s.queue = append(s.queue, entry)
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// bareWindow is how many messages are under way at a time: LIMITS measured one as the better for a disk, and no
// difference in memory.
func bareWindow(disk bool) int {
	if disk {
		return 1
	}
	return 4
}

// bareTLS is mutual TLS 1.3 as the mirror has it, and everybody is trusted.
func bareTLS(b *testing.B) *tls.Config {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		b.Fatal(err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
		ClientAuth: tls.RequireAnyClientCert, InsecureSkipVerify: true,
	}
}

func (m *bareMaster) connect(b *testing.B, disk bool) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	security := credentials.NewTLS(bareTLS(b))
	server := grpc.NewServer(grpc.Creds(security), grpc.InitialWindowSize(4<<20), grpc.InitialConnWindowSize(4<<20))
	standby := bareStandby{}
	if disk {
		db, err := pebble.Open(b.TempDir(), &pebble.Options{Logger: quiet{}})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = db.Close() })
		standby.db = db
	}
	mirrorv1.RegisterPeerServiceServer(server, standby)
	go func() { _ = server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithTransportCredentials(security),
		grpc.WithInitialWindowSize(4<<20), grpc.WithInitialConnWindowSize(4<<20), grpc.WithDisableRetry())
	if err != nil {
		b.Fatal(err)
	}
	call, err := mirrorv1.NewPeerServiceClient(conn).Replicate(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	s := &bareStream{wake: make(chan struct{}, 1), window: make(chan struct{}, bareWindow(disk))}
	m.streams = append(m.streams, s)
	ended := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { m.send(s, call, ended) })
	running.Go(func() { m.receive(s, call) })
	b.Cleanup(func() {
		close(ended)
		_ = conn.Close()
		running.Wait()
		server.Stop()
	})
}

func (m *bareMaster) send(s *bareStream, call grpc.BidiStreamingClient[mirrorv1.ReplicateRequest, mirrorv1.ReplicateResponse], ended chan struct{}) {
	for {
		select {
		case <-s.wake:
		case <-ended:
			return
		}
		s.window <- struct{}{}
		m.mu.Lock()
		queue := s.queue
		s.queue = nil
		m.mu.Unlock()
		if err := call.Send(&mirrorv1.ReplicateRequest{Body: &mirrorv1.ReplicateRequest_Batch{Batch: &mirrorv1.Batch{Entries: queue}}}); err != nil {
			return
		}
	}
}

func (m *bareMaster) receive(s *bareStream, call grpc.BidiStreamingClient[mirrorv1.ReplicateRequest, mirrorv1.ReplicateResponse]) {
	for {
		answer, err := call.Recv()
		if err != nil {
			return
		}
		<-s.window
		m.mu.Lock()
		s.acked += answer.GetAck().GetPosition().GetIndex()
		all := m.position
		for _, other := range m.streams {
			all = min(all, other.acked)
		}
		done := m.waiting[:all-m.before]
		m.waiting, m.before = m.waiting[all-m.before:], all
		m.mu.Unlock()
		for _, settle := range done {
			settle()
		}
	}
}

// bareStandby keeps what it gets in a map, and answers with the number of entries.
type bareStandby struct {
	mirrorv1.UnimplementedPeerServiceServer
	db *pebble.DB // nil in memory
}

// write has a message on disk when it returns.
func (s bareStandby) write(entries []*mirrorv1.LogEntry) error {
	batch := s.db.NewBatch()
	defer batch.Close()
	for _, e := range entries {
		if e.GetOp().GetPayload() == nil {
			if err := batch.Delete([]byte(e.GetOp().GetMessageId()), nil); err != nil {
				return err
			}
		} else if err := batch.Set([]byte(e.GetOp().GetMessageId()), e.GetOp().GetPayload(), nil); err != nil {
			return err
		}
	}
	return s.db.Apply(batch, pebble.Sync)
}

// quiet is a logger that says nothing.
type quiet struct{}

func (quiet) Infof(string, ...any)              {}
func (quiet) Errorf(string, ...any)             {}
func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (s bareStandby) Replicate(call grpc.BidiStreamingServer[mirrorv1.ReplicateRequest, mirrorv1.ReplicateResponse]) error {
	table := make(map[string][]byte)
	for {
		request, err := call.Recv()
		if err != nil {
			return err
		}
		entries := request.GetBatch().GetEntries()
		for _, e := range entries {
			if e.GetOp().GetPayload() == nil {
				delete(table, e.GetOp().GetMessageId())
			} else {
				table[e.GetOp().GetMessageId()] = e.GetOp().GetPayload()
			}
		}
		if s.db != nil {
			if err := s.write(entries); err != nil {
				return err
			}
		}
		ack := &mirrorv1.ReplicateResponse{Body: &mirrorv1.ReplicateResponse_Ack{Ack: &mirrorv1.Ack{Position: &clusterv1.Position{Index: uint64(len(entries))}}}}
		if err := call.Send(ack); err != nil {
			return err
		}
	}
}
