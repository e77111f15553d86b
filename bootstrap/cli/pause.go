package cli

import (
	"context"
	"fmt"

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
		if err := output.check(); err != nil {
			return err
		}
		answer, err := ask(cmd.Context(), dataDir, askTimeout,
			func(ctx context.Context, c controlv1.ControlServiceClient) (*controlv1.PauseResponse, error) {
				return c.Pause(ctx, &controlv1.PauseRequest{On: on})
			})
		if err != nil {
			return err
		}
		if output.json() {
			return writeJSON(cmd.OutOrStdout(), answer)
		}
		text := "the cluster is no longer paused: who can lead may be promoted"
		if answer.Paused {
			text = "THE CLUSTER IS PAUSED (by " + answer.PausedBy + "): nobody is promoted, whatever happens, until bootstrap resume"
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
		return err
	}
	output.add(cmd)
	return cmd
}
