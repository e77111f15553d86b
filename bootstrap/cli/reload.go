package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

func newReloadCommand(dataDir func() (string, error)) *cobra.Command {
	var output outputFlag
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "read the adapter file again, and change what differs",
		Long: "Reads and checks the adapter file of the running node; with a fault in it nothing is changed. Workflows that differ are stopped,\n" +
			"built anew and started, the others go on. A standby takes the file for its next mastership: reload every node, or its next\n" +
			"master works by the old file. The adapter's id, and everything in bootstrap.properties, needs a restart.",
		Args: argsExactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			node, err := askStatus(cmd.Context(), dataDir)
			if err != nil {
				return err
			}
			wait := reloadTimeout(len(node.Workflows), time.Duration(node.StopTimeoutNanos)) + drainPatience
			done, err := ask(cmd.Context(), dataDir, wait,
				func(ctx context.Context, c controlv1.ControlServiceClient) (*controlv1.ReloadResponse, error) {
					return c.Reload(ctx, &controlv1.ReloadRequest{DryRun: dryRun})
				})
			if err != nil {
				return err
			}
			err = show(cmd.OutOrStdout(), output, done, func(w io.Writer, r *controlv1.ReloadResponse) error {
				return printReload(w, r, dryRun)
			})
			if err == nil && len(done.Faults) > 0 {
				err = errors.New(strings.Join(done.Faults, "\n"))
			}
			return err
		},
	}
	output.add(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be changed")
	return cmd
}

func printReload(w io.Writer, r *controlv1.ReloadResponse, dryRun bool) error {
	if len(r.Changed)+len(r.Added)+len(r.Removed) == 0 {
		_, err := fmt.Fprintln(w, "no workflow differs; nothing was changed")
		return err
	}
	title := "changed"
	if dryRun {
		title = "would be changed"
	}
	for _, row := range []struct {
		what string
		ids  []string
	}{{title, r.Changed}, {"added", r.Added}, {"removed", r.Removed}, {"as it was", r.Unchanged}} {
		if len(row.ids) > 0 {
			if _, err := fmt.Fprintf(w, "%s: %s\n", row.what, strings.Join(row.ids, ", ")); err != nil {
				return err
			}
		}
	}
	return nil
}
