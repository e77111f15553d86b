package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-ha/understudy/bootstrap/management"
	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

// askTimeout bounds a question to a running node that it can answer at once.
const askTimeout = 5 * time.Second

// outputFlag is -o of a subcommand.
type outputFlag struct{ format string }

func (o *outputFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "text", "text or json")
}

func (o *outputFlag) check() error {
	if o.format != "text" && o.format != "json" {
		return usageError{fmt.Errorf("-o %s: want text or json", o.format)}
	}
	return nil
}

func (o *outputFlag) json() bool { return o.format == "json" }

// writeJSON writes a message as JSON, fields that are empty included, so that scripts find them.
func writeJSON(w io.Writer, m proto.Message) error {
	text, err := protojson.MarshalOptions{Multiline: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, string(text))
	return err
}

// ask asks the node that runs with this data folder. What it refuses is an error with its words alone.
func ask[T any](ctx context.Context, dataDir func() (string, error), timeout time.Duration,
	question func(context.Context, controlv1.ControlServiceClient) (T, error),
) (T, error) {
	var none T
	dir, err := dataDir()
	if err != nil {
		return none, usageError{err}
	}
	conn, err := management.Dial(controlSocket(dir))
	if err != nil {
		return none, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("the node did not answer within %s", timeout))
	defer cancel()
	answer, err := question(ctx, controlv1.NewControlServiceClient(conn))
	if err == nil {
		return answer, nil
	}
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled):
		return none, errors.New("interrupted; what has begun goes on, and bootstrap status says how it stands")
	case ctx.Err() != nil:
		return none, context.Cause(ctx)
	}
	return none, errors.New(status.Convert(err).Message())
}

func askStatus(ctx context.Context, dataDir func() (string, error)) (*controlv1.StatusResponse, error) {
	return ask(ctx, dataDir, askTimeout, func(ctx context.Context, c controlv1.ControlServiceClient) (*controlv1.StatusResponse, error) {
		return c.Status(ctx, &controlv1.StatusRequest{})
	})
}
