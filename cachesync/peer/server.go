package peer

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/understudy-ha/understudy/cachesync"
	"github.com/understudy-ha/understudy/cachesync/ledger"
	"github.com/understudy-ha/understudy/cachesync/translate"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// chunkBytes bounds the parts of a table that is pulled; one large message may exceed it.
const chunkBytes = 1 << 20

// service serves the replica to other nodes.
type service struct {
	mirrorv1.UnimplementedPeerServiceServer
	hub     *Hub
	replica Replica
}

func newServer(s *service, security credentials.TransportCredentials) *grpc.Server {
	server := grpc.NewServer(
		grpc.Creds(security),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.InitialWindowSize(windowBytes),
		grpc.InitialConnWindowSize(windowBytes),
		grpc.MaxConcurrentStreams(16), // a peer has one or two; strangers get no more
		grpc.ConnectionTimeout(5*time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 2 * time.Second}),
	)
	mirrorv1.RegisterPeerServiceServer(server, s)
	return server
}

// Replicate is a master's stream to this node.
func (s *service) Replicate(call grpc.BidiStreamingServer[mirrorv1.ReplicateRequest, mirrorv1.ReplicateResponse]) error {
	request, err := call.Recv()
	if err != nil {
		return err
	}
	hello := request.GetHello()
	if hello == nil {
		s.hub.peers.drop(dropStranger)
		return status.Error(codes.InvalidArgument, "the first message must be a hello")
	}
	session, err := s.accept(hello)
	if err != nil {
		return s.refuse(call, err)
	}
	defer session.Close()
	err = call.Send(&mirrorv1.ReplicateResponse{Body: &mirrorv1.ReplicateResponse_Hello{Hello: &mirrorv1.HelloReply{
		NodeId: s.hub.config.NodeID, Position: translate.FromPosition(session.Answer().Position), InSyncSet: translate.FromRecord(session.Answer().Record), FirstIndex: true,
	}}})
	if err != nil {
		return err
	}
	term := translate.ToTerm(hello.GetTerm())
	for {
		request, err := call.Recv()
		if err != nil {
			return err
		}
		position, err := apply(session, request, term)
		if err != nil {
			return s.refuse(call, err)
		}
		err = call.Send(&mirrorv1.ReplicateResponse{Body: &mirrorv1.ReplicateResponse_Ack{Ack: &mirrorv1.Ack{Position: translate.FromPosition(position)}}})
		if err != nil {
			return err
		}
	}
}

// accept checks what concerns the line itself, and then asks the replica.
func (s *service) accept(hello *mirrorv1.Hello) (*cachesync.Session, error) {
	if hello.GetCluster() != s.hub.config.Cluster {
		s.hub.peers.drop(dropCluster)
		return nil, &cachesync.RefusedError{Reason: fmt.Sprintf("it belongs to cluster %q, not to %q", s.hub.config.Cluster, hello.GetCluster())}
	}
	if err := checkVersion(hello.GetVersion(), hello.GetMinVersion()); err != nil {
		s.hub.peers.drop(dropVersion)
		return nil, &cachesync.RefusedError{Reason: err.Error()}
	}
	return s.replica.Accept(cachesync.Hello{Node: hello.GetNodeId(), Term: translate.ToTerm(hello.GetTerm())})
}

// apply hands one message to the session and returns the position to acknowledge.
func apply(session *cachesync.Session, request *mirrorv1.ReplicateRequest, term ledger.Term) (ledger.Position, error) {
	switch body := request.GetBody().(type) {
	case *mirrorv1.ReplicateRequest_Snapshot:
		return session.Chunk(chunkFromProto(body.Snapshot))
	case *mirrorv1.ReplicateRequest_Batch:
		return session.Batch(batchFromProto(body.Batch, term))
	}
	return ledger.Position{}, errors.New("neither a snapshot nor a batch")
}

// refuse ends a stream: with a message if the master must know, else with a status.
func (s *service) refuse(call grpc.BidiStreamingServer[mirrorv1.ReplicateRequest, mirrorv1.ReplicateResponse], err error) error {
	var refused *cachesync.RefusedError
	if errors.As(err, &refused) {
		return call.Send(&mirrorv1.ReplicateResponse{Body: &mirrorv1.ReplicateResponse_Refused{Refused: &mirrorv1.Refused{
			Term: translate.FromTerm(refused.Term), Reason: refused.Reason,
		}}})
	}
	s.hub.log.Debug("mirror: a stream was ended", "error", err)
	return status.Error(codes.Aborted, err.Error())
}

// Pull hands the whole table to a node that is about to lead.
func (s *service) Pull(request *mirrorv1.PullRequest, call grpc.ServerStreamingServer[mirrorv1.PullResponse]) error {
	if request.GetCluster() != s.hub.config.Cluster {
		s.hub.peers.drop(dropCluster)
		return status.Errorf(codes.PermissionDenied, "this node belongs to cluster %q", s.hub.config.Cluster)
	}
	var beyond *ledger.Log
	if request.GetBeyond() {
		position := translate.ToPosition(request.GetPosition())
		beyond = &ledger.Log{Position: position, Seals: translate.ToSeals(request.GetSeals(), position)}
	}
	snapshot, err := s.replica.Offer(cachesync.Hello{Node: request.GetNodeId(), Term: translate.ToTerm(request.GetTerm())}, beyond)
	if err != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	for chunk := range snapshot.Chunks(chunkBytes) {
		if err := call.Send(&mirrorv1.PullResponse{Snapshot: chunkToProto(&chunk)}); err != nil {
			return err
		}
	}
	return nil
}
