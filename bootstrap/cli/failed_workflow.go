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
			if err := output.check(); err != nil {
				return err
			}
			s, err := askStatus(cmd.Context(), dataDir)
			if err != nil {
				return err
			}
			return showWorkflows(cmd.OutOrStdout(), output, s.Workflows)
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
			if err := output.check(); err != nil {
				return err
			}
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
			switch {
			case len(args) > 0 && len(answer.Workflows) == 0:
				return fmt.Errorf("no such workflow: %q", args[0])
			case output.json():
				return writeJSON(cmd.OutOrStdout(), answer)
			}
			return printSlices(cmd.OutOrStdout(), answer.Workflows)
		},
	}
	output.add(cmd)
	return cmd
}

func printSlices(w io.Writer, workflows []*controlv1.WorkflowStatus) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WORKFLOW\tSINCE\tMESSAGES\tFAILED\tBYTES\tAVERAGE\tLONGEST")
	for _, f := range workflows {
		for _, s := range f.Slices {
			fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n", f.Id, since(s.StartUnixNano), s.Messages, s.Failed, s.Bytes,
				fine(s.TotalNanos/int64(max(1, s.Messages))), fine(s.LongestNanos))
		}
	}
	return t.Flush()
}

func showWorkflows(w io.Writer, output outputFlag, workflows []*controlv1.WorkflowStatus) error {
	if output.json() {
		return writeJSON(w, &controlv1.ControlWorkflowsResponse{Workflows: workflows})
	}
	if len(workflows) == 0 {
		_, err := fmt.Fprintln(w, "there are no workflows")
		return err
	}
	printWorkflows(w, workflows)
	return nil
}

func controlCommand(dataDir func() (string, error), stop bool, cmd *cobra.Command) *cobra.Command {
	var output outputFlag
	var timeout time.Duration
	cmd.Args = argsExactly(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := output.check(); err != nil {
			return err
		}
		if timeout < 0 {
			return usageError{fmt.Errorf("--timeout %s: want a time such as 30s", timeout)}
		}
		// How long the node itself may take is known there only.
		node, err := askStatus(cmd.Context(), dataDir)
		if err != nil {
			return err
		}
		wait := max(timeout, time.Duration(node.StopTimeoutNanos)) + handoverPatience
		done, err := ask(cmd.Context(), dataDir, wait,
			func(ctx context.Context, c controlv1.ControlServiceClient) (*controlv1.ControlWorkflowsResponse, error) {
				return c.ControlWorkflows(ctx, &controlv1.ControlWorkflowsRequest{Id: args[0], Stop: stop, TimeoutNanos: int64(timeout)})
			})
		if err != nil {
			return err
		}
		return showWorkflows(cmd.OutOrStdout(), output, done.Workflows)
	}
	output.add(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long it may take; default stop.timeout")
	return cmd
}
