package contract

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	// ErrGone is wrapped by the error of a call whose plugin, or the connection to it, is gone.
	ErrGone = errors.New("the plugin is gone")
	// ErrNotServed is wrapped by the error of a call to a service or method that the plugin does not have.
	ErrNotServed = errors.New("the plugin does not serve this")
)

// fromStatus turns the failure of a call to a plugin into an error that names the plugin and what was asked.
// It is the only place where gRPC's codes are read. ctx is the call's: gRPC says "cancelled" for a caller that
// gave up and for a connection that was closed because the process had died.
func fromStatus(ctx context.Context, plugin, operation string, err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		// Not from gRPC: an error of our own side.
		return fmt.Errorf("plugin %s: %s: %w", plugin, operation, err)
	}
	cause := errors.New(s.Message())
	switch s.Code() {
	case codes.OK:
		return nil
	case codes.Canceled:
		kind := ErrGone
		if ctx.Err() != nil {
			kind = context.Canceled
		}
		cause = because(kind, s.Message())
	case codes.DeadlineExceeded:
		cause = because(context.DeadlineExceeded, s.Message())
	case codes.Unavailable:
		cause = because(ErrGone, s.Message())
	case codes.Unimplemented:
		cause = because(ErrNotServed, s.Message())
	}
	return fmt.Errorf("plugin %s: %s: %w", plugin, operation, cause)
}

// because wraps kind with what was said, unless that is the same.
func because(kind error, said string) error {
	if said == "" || said == kind.Error() {
		return kind
	}
	return fmt.Errorf("%w (%s)", kind, said)
}

// toStatus turns an error of a plugin's own code into what goes over the wire. Only a deadline keeps its kind:
// it is most likely the caller's. What else the plugin was told by others, say that a peer of its own cannot be
// reached, must not look to the host as if the plugin itself were unreachable.
func toStatus(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	}
	return status.Error(codes.Unknown, err.Error())
}
