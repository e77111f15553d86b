package contract

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"

	cachesyncv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cachesync/v1"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
	profilerv1 "github.com/understudy-ha/understudy/proto/gen/understudy/profiler/v1"
)

// Served asks a plugin which of our services it has: some of ServiceAgent, ServiceFailover, ServiceCacheSync.
// It asks gRPC's own server reflection, which go-plugin turns on and which every gRPC implementation has.
func Served(ctx context.Context, conn grpc.ClientConnInterface, plugin string) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer, err := listServices(ctx, conn)
	if err != nil {
		return nil, fromStatus(ctx, plugin, "list services", err)
	}
	ours := map[string]string{
		profilerv1.AgentService_ServiceDesc.ServiceName:      ServiceAgent,
		failoverv1.FailoverService_ServiceDesc.ServiceName:   ServiceFailover,
		cachesyncv1.CacheSyncService_ServiceDesc.ServiceName: ServiceCacheSync,
	}
	var served []string
	for _, service := range answer.GetService() {
		if name, ok := ours[service.GetName()]; ok {
			served = append(served, name)
		}
	}
	if len(served) == 0 {
		return nil, fmt.Errorf("plugin %s: %w: it has none of Understudy's services", plugin, ErrNotServed)
	}
	return served, nil
}

func listServices(ctx context.Context, conn grpc.ClientConnInterface) (*reflectionv1.ListServiceResponse, error) {
	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		return nil, err
	}
	err = stream.Send(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
	})
	if err != nil {
		return nil, err
	}
	r, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if refused := r.GetErrorResponse(); refused != nil {
		return nil, errors.New(refused.GetErrorMessage())
	}
	return r.GetListServicesResponse(), nil
}
