package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

func newHandoverCommand(dataDir func() (string, error)) *cobra.Command {
	var output outputFlag
	var timeout timeoutFlag
	cmd := &cobra.Command{
		Use:   "handover [NODE]",
		Short: "make another node the master",
		Long: "Asks the master on this machine to make room: it receives nothing new, finishes what is under way, and another node\n" +
			"leads, the named one or the best. It is refused when none could, with the reason for each.",
		Args: argsAtMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := &controlv1.HandoverRequest{TimeoutNanos: int64(timeout)}
			if len(args) > 0 {
				request.To = args[0]
			}
			// How long the node itself may take is known there only.
			node, err := askStatus(cmd.Context(), dataDir)
			if err != nil {
				return err
			}
			drain := max(time.Duration(timeout), time.Duration(node.StopTimeoutNanos))
			wait := drain + 3*time.Duration(node.PatienceNanos) + drainPatience
			done, err := ask(cmd.Context(), dataDir, wait,
				func(ctx context.Context, c controlv1.ControlServiceClient) (*controlv1.HandoverResponse, error) {
					return c.Handover(ctx, request)
				})
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), output, done, printHandover)
		},
	}
	output.add(cmd)
	timeout.add(cmd, 0, "how long what is under way may take to be finished; default stop.timeout")
	return cmd
}

func printHandover(w io.Writer, r *controlv1.HandoverResponse) error {
	_, err := fmt.Fprintf(w, "%s leads in term %s, %s after the resignation of term %s; finishing the work took %s\n",
		r.To, termText(r.NewTerm), fine(r.TakeoverNanos), termText(r.Term), fine(r.DrainNanos))
	if err != nil || len(r.Unfinished) == 0 {
		return err
	}
	why := "not finished"
	if r.DeadlineMissed {
		why = "not finished in time"
	}
	_, err = fmt.Fprintf(w, "%s: %s\n%s\n", why, strings.Join(r.Unfinished, ", "), r.Fate)
	return err
}

// fine gives a duration in milliseconds, for figures that are compared.
func fine(nanos int64) string {
	return fmt.Sprintf("%.1f ms", float64(nanos)/float64(time.Millisecond))
}

// argsAtMost and argsExactly are cobra's, with the exit code of a wrong command line; so are flags that exclude each other.
func argsAtMost(n int) cobra.PositionalArgs { return usageArgs(cobra.MaximumNArgs(n)) }

func argsExactly(n int) cobra.PositionalArgs { return usageArgs(cobra.ExactArgs(n)) }

func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := cmp.Or(check(cmd, args), cmd.ValidateFlagGroups()); err != nil {
			return usageError{fmt.Errorf("%w\nusage: bootstrap %s", err, strings.TrimPrefix(cmd.UseLine(), "bootstrap "))}
		}
		return nil
	}
}
