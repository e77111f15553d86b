package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

// Control is a standing connection to a node's control socket, for who asks often: Node.Status starts a process for
// each question, as people do. It may be opened before the node runs and outlives it. Safe for concurrent use.
type Control struct {
	conn   *grpc.ClientConn
	client controlv1.ControlServiceClient
}

// Control opens a connection, which the caller closes.
func (n *Node) Control() (*Control, error) {
	// A node that is started again should answer soon.
	retry := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.5, MaxDelay: 100 * time.Millisecond}
	conn, err := grpc.NewClient("unix:"+filepath.Join(n.Dir, "data", "control.sock"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: time.Second}))
	if err != nil {
		return nil, fmt.Errorf("%s: control socket: %w", n.ID, err)
	}
	return &Control{conn: conn, client: controlv1.NewControlServiceClient(conn)}, nil
}

// Status asks the node how it is. A node that does not run, or stands still, is an error, the latter when ctx ends.
func (c *Control) Status(ctx context.Context) (*controlv1.StatusResponse, error) {
	return c.client.Status(ctx, &controlv1.StatusRequest{})
}

// Close ends the connection.
func (c *Control) Close() error { return c.conn.Close() }
