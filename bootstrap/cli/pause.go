package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

func newPauseCommand(dataDir func() (string, error)) *cobra.Command {
	return pauseCommand(dataDir, true, &cobra.Command{
		Use:   "pause",
		Short: "let nobody be promoted, in the whole cluster",
		Long: "From now on no node is promoted, whatever happens to the master; one that works goes on. It survives restarts, and ends\n" +
			"with bootstrap resume. Any node can be asked.",
	})
}

func newResumeCommand(dataDir func() (string, error)) *cobra.Command {
	return pauseCommand(dataDir, false, &cobra.Command{
		Use:   "resume",
		Short: "end a pause",
		Long:  "Ends what bootstrap pause began, in the whole cluster. Any node can be asked.",
	})
}

func pauseCommand(dataDir func() (string, error), on bool, cmd *cobra.Command) *cobra.Command {
	var output outputFlag
	cmd.Args = argsExactly(0)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		answer, err := ask(cmd.Context(), dataDir, askTimeout,
			func(ctx context.Context, c controlv1.ControlServiceClient) (*controlv1.PauseResponse, error) {
				return c.Pause(ctx, &controlv1.PauseRequest{On: on})
			})
		if err != nil {
			return err
		}
		return show(cmd.OutOrStdout(), output, answer, printPause)
	}
	output.add(cmd)
	return cmd
}

func printPause(w io.Writer, r *controlv1.PauseResponse) error {
	text := "the cluster is no longer paused: who can lead may be promoted"
	if r.Paused {
		text = "THE CLUSTER IS PAUSED (by " + r.PausedBy + "): nobody is promoted, whatever happens, until bootstrap resume"
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
