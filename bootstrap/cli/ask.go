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

// drainPatience is what an answer may take beyond the time for work to be finished, and the cluster's own times.
const drainPatience = 15 * time.Second

// outputFlag is -o of a subcommand: text or json.
type outputFlag string

const (
	outputText outputFlag = "text"
	outputJSON outputFlag = "json"
)

func (o *outputFlag) add(cmd *cobra.Command) {
	*o = outputText
	cmd.Flags().VarP(o, "output", "o", "text or json")
}

// Set implements pflag.Value.
func (o *outputFlag) Set(value string) error {
	*o = outputFlag(value)
	if *o != outputText && *o != outputJSON {
		return errors.New("want text or json")
	}
	return nil
}

// String implements pflag.Value.
func (o *outputFlag) String() string { return string(*o) }

// Type implements pflag.Value.
func (o *outputFlag) Type() string { return "format" }

func (o *outputFlag) json() bool { return *o == outputJSON }

// timeoutFlag is --timeout of a subcommand, which is not negative.
type timeoutFlag time.Duration

func (t *timeoutFlag) add(cmd *cobra.Command, standard time.Duration, usage string) {
	*t = timeoutFlag(standard)
	cmd.Flags().Var(t, "timeout", usage)
}

// Set implements pflag.Value.
func (t *timeoutFlag) Set(value string) error {
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		return errors.New("want a time such as 30s")
	}
	*t = timeoutFlag(d)
	return nil
}

// String implements pflag.Value. Nothing is shown as the default where that is somebody else's.
func (t *timeoutFlag) String() string {
	if *t == 0 {
		return ""
	}
	return time.Duration(*t).String()
}

// Type implements pflag.Value.
func (t *timeoutFlag) Type() string { return "duration" }

// show writes an answer as JSON, or as print does.
func show[T proto.Message](w io.Writer, output outputFlag, answer T, print func(io.Writer, T) error) error {
	if output.json() {
		return writeJSON(w, answer)
	}
	return print(w, answer)
}

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
