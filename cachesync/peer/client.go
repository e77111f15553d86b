package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	"github.com/understudy-ha/understudy/cachesync/translate"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

const (
	// maxMessage holds the largest payload and everything that stands beside it.
	maxMessage = ledger.MaxPayload + 8*ledger.MaxText
	// windowBytes is what may be under way unread on a stream and on its connection. A fixed value spares the
	// line the probing with which gRPC would find one.
	windowBytes = 4 << 20
)

// dial makes a connection; it is established in the background, again and again, until it is closed. refused says
// whether the last attempt found nobody at the address: the answer of a living machine whose process has ended.
func dial(address string, security credentials.TransportCredentials, refused *atomic.Bool) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			refused.Store(errors.Is(err, syscall.ECONNREFUSED))
			return conn, err
		}),
		grpc.WithTransportCredentials(security),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{
			// Short, so that there is no need for ClientConn.ResetConnectBackoff, which races with new
			// connections in grpc-go 1.85.0 (it reads the map of them without their lock).
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: 2 * time.Second,
		}),
		// gRPC allows no shorter time; what must be noticed sooner has signs of life of its own.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second, PermitWithoutStream: true}),
		grpc.WithInitialWindowSize(windowBytes),
		grpc.WithInitialConnWindowSize(windowBytes),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
	)
}

// Replicate implements cachesync.Peers.
func (h *Hub) Replicate(ctx context.Context, peer string, hello cachesync.Hello) (cachesync.Stream, cachesync.Answer, error) {
	r, err := h.peers.find(peer)
	if err != nil {
		return nil, cachesync.Answer{}, err
	}
	s, answer, err := h.replicate(ctx, peer, mirrorv1.NewPeerServiceClient(r.conn), hello)
	if err != nil && status.Code(err) == codes.Unavailable && r.refused.Load() {
		err = fmt.Errorf("%w: %w", cachesync.ErrGone, err)
	}
	if err != nil {
		return nil, cachesync.Answer{}, err
	}
	return s, answer, nil
}

func (h *Hub) replicate(ctx context.Context, peer string, client mirrorv1.PeerServiceClient, hello cachesync.Hello) (*stream, cachesync.Answer, error) {
	call, err := client.Replicate(ctx)
	if err != nil {
		return nil, cachesync.Answer{}, fmt.Errorf("replicate to %s: %w", peer, err)
	}
	// A send error is explained by what is received.
	_ = call.Send(&mirrorv1.ReplicateRequest{Body: &mirrorv1.ReplicateRequest_Hello{Hello: &mirrorv1.Hello{
		Cluster: h.config.Cluster, NodeId: hello.Node, Term: translate.FromTerm(hello.Term), Version: version, MinVersion: minVersion,
	}}})
	s := &stream{peer: peer, call: call}
	answer, err := s.receive()
	if err != nil {
		return nil, cachesync.Answer{}, err
	}
	reply := answer.GetHello()
	if reply == nil {
		return nil, cachesync.Answer{}, fmt.Errorf("replicate to %s: it answers the hello with something else", peer)
	}
	s.encoder.compact = reply.GetFirstIndex()
	return s, cachesync.Answer{Position: translate.ToPosition(reply.GetPosition()), Record: translate.ToRecord(reply.GetInSyncSet())}, nil
}

// stream is the master's end.
type stream struct {
	peer    string
	call    grpc.BidiStreamingClient[mirrorv1.ReplicateRequest, mirrorv1.ReplicateResponse]
	encoder batchEncoder
}

// SendChunk implements cachesync.Stream.
func (s *stream) SendChunk(c *ledger.Chunk) error {
	return s.call.Send(&mirrorv1.ReplicateRequest{Body: &mirrorv1.ReplicateRequest_Snapshot{Snapshot: chunkToProto(c)}})
}

// SendBatch implements cachesync.Stream.
func (s *stream) SendBatch(b *cachesync.Batch) error {
	defer s.encoder.release()
	return s.call.Send(s.encoder.encode(b))
}

// ReceiveAck implements cachesync.Stream.
func (s *stream) ReceiveAck() (ledger.Position, error) {
	answer, err := s.receive()
	if err != nil {
		return ledger.Position{}, err
	}
	ack := answer.GetAck()
	if ack == nil {
		return ledger.Position{}, fmt.Errorf("peer %s answers with something else than an acknowledgement", s.peer)
	}
	return translate.ToPosition(ack.GetPosition()), nil
}

// receive returns the next answer; a refusal becomes a *cachesync.RefusedError.
func (s *stream) receive() (*mirrorv1.ReplicateResponse, error) {
	answer, err := s.call.Recv()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it has ended the stream")
		}
		return nil, fmt.Errorf("replicate to %s: %w", s.peer, err)
	}
	if refused := answer.GetRefused(); refused != nil {
		return nil, &cachesync.RefusedError{Peer: s.peer, Term: translate.ToTerm(refused.GetTerm()), Reason: refused.GetReason()}
	}
	return answer, nil
}

// Pull implements cachesync.Peers.
func (h *Hub) Pull(ctx context.Context, peer string, hello cachesync.Hello, beyond *ledger.Log, chunk func(*ledger.Chunk) error) error {
	r, err := h.peers.find(peer)
	if err != nil {
		return err
	}
	request := &mirrorv1.PullRequest{Cluster: h.config.Cluster, NodeId: hello.Node, Term: translate.FromTerm(hello.Term)}
	if beyond != nil {
		request.Beyond, request.Seals, request.Position = true, translate.FromSeals(beyond.Seals), translate.FromPosition(beyond.Position)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call, err := mirrorv1.NewPeerServiceClient(r.conn).Pull(ctx, request)
	if err != nil {
		return fmt.Errorf("fetch the table of %s: %w", peer, err)
	}
	for {
		part, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("fetch the table of %s: %w", peer, err)
		}
		if err := chunk(chunkFromProto(part.GetSnapshot())); err != nil {
			return fmt.Errorf("fetch the table of %s: %w", peer, err)
		}
	}
}
