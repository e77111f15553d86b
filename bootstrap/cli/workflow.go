package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

func newWorkflowCommand(dataDir func() (string, error)) *cobra.Command {
	workflow := &cobra.Command{
		Use:   "workflow",
		Short: "the workflows of the adapter",
		Long: "Lists the workflows, and starts and stops them on the running master, one or all of a channel. What is stopped stays so until\n" +
			"it is started, or until another node leads: a takeover starts everything.",
		Args: argsExactly(0),
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("usage: bootstrap workflow list | metrics [ID] | start ID | stop ID")}
		},
	}
	workflow.AddCommand(newWorkflowListCommand(dataDir), newWorkflowMetricsCommand(dataDir),
		controlCommand(dataDir, false, &cobra.Command{Use: "start ID", Short: "start a workflow, or all of a channel"}),
		controlCommand(dataDir, true, &cobra.Command{
			Use: "stop ID", Short: "stop a workflow, or all of a channel",
			Long: "Nothing new is received; what is under way is finished until the timeout, the rest is given back to its source.",
		}))
	return workflow
}

func newWorkflowListCommand(dataDir func() (string, error)) *cobra.Command {
	var output outputFlag
	cmd := &cobra.Command{
		Use: "list", Short: "the workflows and how they are", Args: argsExactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := askStatus(cmd.Context(), dataDir)
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), output, &controlv1.ControlWorkflowsResponse{Workflows: s.Workflows}, printControlled)
		},
	}
	output.add(cmd)
	return cmd
}

func newWorkflowMetricsCommand(dataDir func() (string, error)) *cobra.Command {
	var output outputFlag
	cmd := &cobra.Command{
		Use: "metrics [ID]", Short: "messages per slice of time, of workflows that keep them (metrics: in the adapter file)", Args: argsAtMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := askStatus(cmd.Context(), dataDir)
			if err != nil {
				return err
			}
			answer := &controlv1.ControlWorkflowsResponse{}
			for _, w := range s.Workflows {
				if len(args) == 0 || args[0] == w.Id {
					answer.Workflows = append(answer.Workflows, w)
				}
			}
			if len(args) > 0 && len(answer.Workflows) == 0 {
				return fmt.Errorf("no such workflow: %q", args[0])
			}
			return show(cmd.OutOrStdout(), output, answer, printSlices)
		},
	}
	output.add(cmd)
	return cmd
}

func printSlices(w io.Writer, r *controlv1.ControlWorkflowsResponse) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WORKFLOW\tSINCE\tMESSAGES\tFAILED\tBYTES\tAVERAGE\tLONGEST")
	for _, f := range r.Workflows {
		for _, s := range f.Slices {
			fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n", f.Id, since(s.StartUnixNano), s.Messages, s.Failed, s.Bytes,
				fine(s.TotalNanos/int64(max(1, s.Messages))), fine(s.LongestNanos))
		}
	}
	return t.Flush()
}

func printControlled(w io.Writer, r *controlv1.ControlWorkflowsResponse) error {
	if len(r.Workflows) == 0 {
		_, err := fmt.Fprintln(w, "there are no workflows")
		return err
	}
	printWorkflows(w, r.Workflows)
	return nil
}

func controlCommand(dataDir func() (string, error), stop bool, cmd *cobra.Command) *cobra.Command {
	var output outputFlag
	var timeout timeoutFlag
	cmd.Args = argsExactly(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		// How long the node itself may take is known there only.
		node, err := askStatus(cmd.Context(), dataDir)
		if err != nil {
			return err
		}
		wait := max(time.Duration(timeout), time.Duration(node.StopTimeoutNanos)) + drainPatience
		done, err := ask(cmd.Context(), dataDir, wait,
			func(ctx context.Context, c controlv1.ControlServiceClient) (*controlv1.ControlWorkflowsResponse, error) {
				return c.ControlWorkflows(ctx, &controlv1.ControlWorkflowsRequest{Id: args[0], Stop: stop, TimeoutNanos: int64(timeout)})
			})
		if err != nil {
			return err
		}
		return show(cmd.OutOrStdout(), output, done, printControlled)
	}
	output.add(cmd)
	timeout.add(cmd, 0, "how long it may take; default stop.timeout")
	return cmd
}
