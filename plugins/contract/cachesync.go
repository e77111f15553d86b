package contract

import (
	"context"
	"errors"
	"io"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	cachesyncv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cachesync/v1"
	mirrorv1 "github.com/understudy-ha/understudy/proto/gen/understudy/mirror/v1"
)

// cacheSyncPlugin ties CacheSyncService to go-plugin: impl is set in the plugin, name in the host.
type cacheSyncPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	name string
	impl CacheSync
}

func (p *cacheSyncPlugin) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	cachesyncv1.RegisterCacheSyncServiceServer(server, &cacheSyncServer{impl: p.impl})
	return nil
}

func (p *cacheSyncPlugin) GRPCClient(ctx context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return NewCacheSyncClient(ctx, conn, p.name), nil
}

// cacheSyncServer serves a CacheSync.
type cacheSyncServer struct {
	cachesyncv1.UnimplementedCacheSyncServiceServer
	impl CacheSync
}

func (s *cacheSyncServer) Configure(ctx context.Context, r *cachesyncv1.ConfigureRequest) (*cachesyncv1.ConfigureResponse, error) {
	info, err := s.impl.Configure(ctx, fromMirrorConfig(r))
	if err != nil {
		return nil, toStatus(err)
	}
	return &cachesyncv1.ConfigureResponse{Name: info.Name, Version: info.Version, Address: info.Address}, nil
}

// leadChunk is about how many bytes of entries one response carries; a single entry may be larger.
const leadChunk = 1 << 20

func (s *cacheSyncServer) Lead(r *cachesyncv1.LeadRequest, stream cachesyncv1.CacheSyncService_LeadServer) error {
	lead, err := s.impl.Lead(stream.Context(), fromTerm(r.GetTerm()))
	if err != nil {
		return toStatus(err)
	}
	last, err := sendEntries(lead.Entries, func(entries []*mirrorv1.Entry) error {
		return stream.Send(&cachesyncv1.LeadResponse{Entries: entries})
	})
	if err != nil {
		return err
	}
	return stream.Send(&cachesyncv1.LeadResponse{Entries: last, Sealed: toPosition(lead.Sealed), TakenFrom: lead.TakenFrom})
}

// sendEntries cuts entries into responses and returns the last one unsent.
func sendEntries(entries []Entry, send func([]*mirrorv1.Entry) error) ([]*mirrorv1.Entry, error) {
	var chunk []*mirrorv1.Entry
	size := 0
	for _, entry := range entries {
		cost := len(entry.Payload) + entryOverhead
		if size > 0 && size+cost > leadChunk {
			if err := send(chunk); err != nil {
				return nil, err
			}
			chunk, size = nil, 0
		}
		chunk = append(chunk, toEntry(entry))
		size += cost
	}
	return chunk, nil
}

// Adopted ends with the first response that cannot be sent: what was in it is in the next Lead.
func (s *cacheSyncServer) Adopted(_ *cachesyncv1.AdoptedRequest, stream cachesyncv1.CacheSyncService_AdoptedServer) error {
	adopter, ok := s.impl.(Adopter)
	if !ok {
		return status.Error(codes.Unimplemented, "this mirror takes nothing from returning nodes")
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	send := func(entries []*mirrorv1.Entry) error {
		return stream.Send(&cachesyncv1.AdoptedResponse{Entries: entries})
	}
	err := adopter.Adopted(ctx, func(entries []Entry) {
		last, err := sendEntries(entries, send)
		if err == nil {
			err = send(last)
		}
		if err != nil {
			cancel(err)
		}
	})
	return toStatus(err)
}

func (s *cacheSyncServer) Follow(ctx context.Context, _ *cachesyncv1.FollowRequest) (*cachesyncv1.FollowResponse, error) {
	if err := s.impl.Follow(ctx); err != nil {
		return nil, toStatus(err)
	}
	return &cachesyncv1.FollowResponse{}, nil
}

func (s *cacheSyncServer) Commit(stream cachesyncv1.CacheSyncService_CommitServer) error {
	return serveCommits(stream, s.impl.Commit)
}

func (s *cacheSyncServer) Watch(_ *cachesyncv1.WatchRequest, stream cachesyncv1.CacheSyncService_WatchServer) error {
	return toStatus(relay(stream.Context(), s.impl.Watch, func(state MirrorState) error {
		return stream.Send(&cachesyncv1.WatchResponse{State: toMirrorState(state)})
	}))
}

func (s *cacheSyncServer) Status(ctx context.Context, _ *cachesyncv1.StatusRequest) (*cachesyncv1.StatusResponse, error) {
	status, err := s.impl.Status(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	return toMirrorStatus(status), nil
}

func (s *cacheSyncServer) Shutdown(ctx context.Context, _ *cachesyncv1.ShutdownRequest) (*cachesyncv1.ShutdownResponse, error) {
	if err := s.impl.Shutdown(ctx); err != nil {
		return nil, toStatus(err)
	}
	return &cachesyncv1.ShutdownResponse{}, nil
}

// CacheSyncClient is the CacheSync that runs in a plugin's process.
type CacheSyncClient struct {
	plugin  string
	rpc     cachesyncv1.CacheSyncServiceClient
	commits *commits
}

var (
	_ CacheSync = (*CacheSyncClient)(nil)
	_ Adopter   = (*CacheSyncClient)(nil)
)

// NewCacheSyncClient talks to the plugin at the other end of conn, until ctx ends or Close.
func NewCacheSyncClient(ctx context.Context, conn grpc.ClientConnInterface, plugin string) *CacheSyncClient {
	rpc := cachesyncv1.NewCacheSyncServiceClient(conn)
	return &CacheSyncClient{plugin: plugin, rpc: rpc, commits: newCommits(ctx, rpc, plugin)}
}

// Close ends the stream of commits; what is open there is settled with an error that wraps ErrGone. Safe
// twice.
func (c *CacheSyncClient) Close() { c.commits.close() }

// Configure implements CacheSync.
func (c *CacheSyncClient) Configure(ctx context.Context, config MirrorConfig) (MirrorInfo, error) {
	r, err := c.rpc.Configure(ctx, toMirrorConfig(config))
	if err != nil {
		return MirrorInfo{}, fromStatus(ctx, c.plugin, "configure", err)
	}
	return MirrorInfo{Name: r.GetName(), Version: r.GetVersion(), Address: r.GetAddress()}, nil
}

// Lead implements CacheSync.
func (c *CacheSyncClient) Lead(ctx context.Context, term Term) (Lead, error) {
	operation := "lead term " + term.String()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.Lead(ctx, &cachesyncv1.LeadRequest{Term: toTerm(term)})
	if err != nil {
		return Lead{}, fromStatus(ctx, c.plugin, operation, err)
	}
	var lead Lead
	sealed := false
	for {
		r, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF) && sealed:
			return lead, nil
		case errors.Is(err, io.EOF):
			return Lead{}, fromStatus(ctx, c.plugin, operation, errors.New("the answer ended before the seal"))
		case err != nil:
			return Lead{}, fromStatus(ctx, c.plugin, operation, err)
		}
		for _, entry := range r.GetEntries() {
			lead.Entries = append(lead.Entries, fromEntry(entry))
		}
		if r.GetSealed() != nil {
			sealed = true
			lead.Sealed, lead.TakenFrom = fromPosition(r.GetSealed()), r.GetTakenFrom()
		}
	}
}

// Follow implements CacheSync.
func (c *CacheSyncClient) Follow(ctx context.Context) error {
	_, err := c.rpc.Follow(ctx, &cachesyncv1.FollowRequest{})
	return fromStatus(ctx, c.plugin, "follow", err)
}

// Commit implements CacheSync over one stream for all calls. It blocks while too much is unanswered. An error
// given to settle means that the fate of the change is unknown, and that the stream is open anew.
func (c *CacheSyncClient) Commit(term Term, op Op, quiet bool, settle func(CommitResult, error)) {
	c.commits.commit(term, op, quiet, settle)
}

// Adopted implements Adopter. The error wraps ErrNotServed if the plugin takes nothing over.
func (c *CacheSyncClient) Adopted(ctx context.Context, taken func([]Entry)) error {
	const operation = "watch what returning nodes held"
	stream, err := c.rpc.Adopted(ctx, &cachesyncv1.AdoptedRequest{})
	if err != nil {
		return fromStatus(ctx, c.plugin, operation, err)
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return fromStatus(ctx, c.plugin, operation, err)
		}
		entries := make([]Entry, 0, len(r.GetEntries()))
		for _, entry := range r.GetEntries() {
			entries = append(entries, fromEntry(entry))
		}
		taken(entries)
	}
}

// Watch implements CacheSync. changed may be slow: it then misses steps.
func (c *CacheSyncClient) Watch(ctx context.Context, changed func(MirrorState)) error {
	return relay(ctx, c.receiveStates, func(state MirrorState) error {
		changed(state)
		return nil
	})
}

func (c *CacheSyncClient) receiveStates(ctx context.Context, changed func(MirrorState)) error {
	stream, err := c.rpc.Watch(ctx, &cachesyncv1.WatchRequest{})
	if err != nil {
		return fromStatus(ctx, c.plugin, "watch", err)
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return fromStatus(ctx, c.plugin, "watch", err)
		}
		changed(fromMirrorState(r.GetState()))
	}
}

// relay passes the states of a watch on, from its own goroutine. While pass is busy the watch goes on, and
// pass is given the last one next. It returns what the watch returned, after the last state was passed on.
func relay(ctx context.Context, watch func(context.Context, func(MirrorState)) error, pass func(MirrorState) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	state := newLatest[MirrorState]()
	var watched error // written before ended is closed
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watched = watch(ctx, state.put)
	}()
	for {
		select {
		case <-state.set:
			if err := pass(state.take()); err != nil {
				cancel()
				<-ended
				return err
			}
		case <-ended:
			select {
			case <-state.set:
				return errors.Join(watched, pass(state.take()))
			default:
				return watched
			}
		}
	}
}

// Status implements CacheSync.
func (c *CacheSyncClient) Status(ctx context.Context) (MirrorStatus, error) {
	r, err := c.rpc.Status(ctx, &cachesyncv1.StatusRequest{})
	if err != nil {
		return MirrorStatus{}, fromStatus(ctx, c.plugin, "status", err)
	}
	return fromMirrorStatus(r), nil
}

// Shutdown implements CacheSync.
func (c *CacheSyncClient) Shutdown(ctx context.Context) error {
	_, err := c.rpc.Shutdown(ctx, &cachesyncv1.ShutdownRequest{})
	return fromStatus(ctx, c.plugin, "shutdown", err)
}
