package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/bootstrap/adapter"
	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
)

// retryTimeout is how long a retry is waited for by default.
const retryTimeout = 30 * time.Second

func newFailedCommand(dataDir func() (string, error)) *cobra.Command {
	failed := &cobra.Command{
		Use:   "failed",
		Short: "the messages that wait for an operator",
		Long: "Messages that have failed for good (on-error: store, or an on-error that failed itself), and those that are held because they\n" +
			"cannot go on. Each node keeps what has failed on it, in data.dir/failed; with cachesync the mirror has it as well, so that\n" +
			"whoever leads next has them all. Lists are complete on the master; retry and drop work there only.",
		Args: argsExactly(0),
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("usage: bootstrap failed list | show ID | retry ID... | drop ID... (or --all)")}
		},
	}
	failed.AddCommand(newFailedListCommand(dataDir), newFailedShowCommand(dataDir), newFailedRetryCommand(dataDir),
		newFailedDropCommand(dataDir))
	return failed
}

func listFailed(ctx context.Context, dataDir func() (string, error)) (*controlv1.ListFailedResponse, error) {
	return ask(ctx, dataDir, retryTimeout, func(ctx context.Context, c controlv1.ControlServiceClient) (*controlv1.ListFailedResponse, error) {
		return c.ListFailed(ctx, &controlv1.ListFailedRequest{})
	})
}

func newFailedListCommand(dataDir func() (string, error)) *cobra.Command {
	var output outputFlag
	cmd := &cobra.Command{
		Use: "list", Short: "which messages wait, and why", Args: argsExactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := listFailed(cmd.Context(), dataDir)
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), output, list, printFailed)
		},
	}
	output.add(cmd)
	return cmd
}

func printFailed(w io.Writer, list *controlv1.ListFailedResponse) error {
	switch {
	case list.Master:
		fmt.Fprintf(w, "node %s, which leads; its store is %s\n", list.NodeId, list.Store)
	case list.MasterId != "":
		fmt.Fprintf(w, "node %s, which does not lead: the list may be out of date, ask %s; its store is %s\n", list.NodeId, list.MasterId, list.Store)
	default:
		fmt.Fprintf(w, "node %s, which does not work: the list may be out of date; its store is %s\n", list.NodeId, list.Store)
	}
	if len(list.Messages) == 0 {
		fmt.Fprintln(w, "no message waits")
	} else {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "MESSAGE\tWORKFLOW\tSTATE\tSINCE\tTRIES\tKEPT IN\tWHY")
		for _, m := range list.Messages {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", m.MessageId, m.Workflow, failedState(m), since(m.FailedUnixNano), m.Attempts,
				keptIn(m), short(why(m)))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	for _, fault := range list.Faults {
		fmt.Fprintln(w, "warning:", fault)
	}
	return nil
}

func failedState(m *controlv1.FailedMessage) string {
	if m.Held {
		return "held"
	}
	return "failed"
}

// keptIn says what would have to be lost for the message to be lost.
func keptIn(m *controlv1.FailedMessage) string {
	switch {
	case m.Folder == "":
		return "mirror"
	case m.Mirrored:
		return "node, mirror"
	}
	return "node only"
}

func why(m *controlv1.FailedMessage) string {
	if m.ErrorStep == "" {
		return m.Error
	}
	return m.ErrorStep + ": " + m.Error
}

// short is the first line of a text, cut to what fits on a screen.
func short(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	const most = 100
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

func since(unixNano int64) string {
	if unixNano == 0 {
		return "-"
	}
	return time.Unix(0, unixNano).Format(time.DateTime)
}

func newFailedShowCommand(dataDir func() (string, error)) *cobra.Command {
	var output outputFlag
	cmd := &cobra.Command{
		Use: "show ID", Short: "one message with its metadata and its content", Args: argsExactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := ask(cmd.Context(), dataDir, retryTimeout,
				func(ctx context.Context, c controlv1.ControlServiceClient) (*controlv1.ShowFailedResponse, error) {
					return c.ShowFailed(ctx, &controlv1.ShowFailedRequest{MessageId: args[0]})
				})
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), output, m, printFailedMessage)
		},
	}
	output.add(cmd)
	return cmd
}

func printFailedMessage(w io.Writer, r *controlv1.ShowFailedResponse) error {
	m := r.Message
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	from := "from the start"
	if m.Step != "" {
		from = "after service " + m.Step
	}
	for _, row := range [][2]string{
		{"message", m.MessageId},
		{"workflow", m.Workflow},
		{"state", failedState(m)},
		{"received", since(m.ReceivedUnixNano)},
		{"since", since(m.FailedUnixNano)},
		{"tries", fmt.Sprint(m.Attempts)},
		{"kept in", keptIn(m)},
		{"folder", m.Folder},
		{"a retry begins", from},
		{"a receiver may have it", fmt.Sprint(m.PossibleDuplicate)},
		{"why", why(m)},
	} {
		if row[1] != "" {
			fmt.Fprintf(t, "%s:\t%s\n", row[0], row[1])
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i, p := range r.Parts {
		fmt.Fprintf(w, "\npart %d of %d, %d bytes\n", i+1, len(r.Parts), len(p.Content))
		for _, key := range slices.Sorted(maps.Keys(p.Metadata)) {
			fmt.Fprintf(w, "  %s = %s\n", key, p.Metadata[key])
		}
		if !utf8.Valid(p.Content) {
			fmt.Fprintln(w, "  (no text; the folder has it)")
			continue
		}
		if _, err := fmt.Fprintf(w, "%s\n", strings.TrimRight(string(p.Content), "\n")); err != nil {
			return err
		}
	}
	if r.Truncated {
		_, err := fmt.Fprintln(w, "(cut; the folder has it whole)")
		return err
	}
	return nil
}

func newFailedRetryCommand(dataDir func() (string, error)) *cobra.Command {
	var output outputFlag
	var timeout timeoutFlag
	var all bool
	cmd := &cobra.Command{
		Use: "retry ID...", Short: "send messages through their workflow again, on the master",
		Long: "Sends each message through its workflow again, with its id and its metadata, one after the other, and waits for its end.\n" +
			"Exit code 1 if one has not come to its end. Content and metadata may have been mended in the folder of the message before.",
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := failedIDs(cmd, dataDir, args, all)
			if err != nil {
				return err
			}
			return eachFailed(ids, func(id string) error {
				r, err := ask(cmd.Context(), dataDir, time.Duration(timeout)+askTimeout,
					func(ctx context.Context, c controlv1.ControlServiceClient) (*controlv1.RetryFailedResponse, error) {
						return c.RetryFailed(ctx, &controlv1.RetryFailedRequest{MessageId: id, TimeoutNanos: int64(timeout)})
					})
				if err != nil {
					return err
				}
				return printRetry(cmd.OutOrStdout(), output, id, r)
			})
		},
	}
	output.add(cmd)
	timeout.add(cmd, retryTimeout, "how long to wait for the end of each; it goes on after that")
	cmd.Flags().BoolVar(&all, "all", false, "all that there are")
	return cmd
}

// printRetry returns an error if the message has not come to its end.
func printRetry(w io.Writer, output outputFlag, id string, r *controlv1.RetryFailedResponse) error {
	state := adapter.RetryState(r.Outcome)
	if output.json() {
		if err := writeJSON(w, r); err != nil {
			return err
		}
	}
	if state == adapter.RetryDone || state == adapter.RetryDoneBefore {
		if output.json() {
			return nil
		}
		_, err := fmt.Fprintf(w, "message %s: %s\n", id, r.Outcome)
		return err
	}
	if r.Error != "" {
		return fmt.Errorf("message %s: %s: %s", id, r.Outcome, r.Error)
	}
	return fmt.Errorf("message %s: %s", id, r.Outcome)
}

func newFailedDropCommand(dataDir func() (string, error)) *cobra.Command {
	var output outputFlag
	var all bool
	cmd := &cobra.Command{
		Use: "drop ID...", Short: "forget messages for good, on the master",
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := failedIDs(cmd, dataDir, args, all)
			if err != nil {
				return err
			}
			return eachFailed(ids, func(id string) error {
				r, err := ask(cmd.Context(), dataDir, askTimeout,
					func(ctx context.Context, c controlv1.ControlServiceClient) (*controlv1.DropFailedResponse, error) {
						return c.DropFailed(ctx, &controlv1.DropFailedRequest{MessageId: id})
					})
				if err != nil {
					return err
				}
				return show(cmd.OutOrStdout(), output, r, func(w io.Writer, _ *controlv1.DropFailedResponse) error {
					_, err := fmt.Fprintf(w, "message %s: dropped\n", id)
					return err
				})
			})
		},
	}
	output.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all that there are")
	return cmd
}

// failedIDs are the messages that are meant.
func failedIDs(cmd *cobra.Command, dataDir func() (string, error), args []string, all bool) ([]string, error) {
	switch {
	case all && len(args) > 0:
		return nil, usageError{errors.New("--all and ids; want one of both")}
	case !all && len(args) == 0:
		return nil, usageError{fmt.Errorf("which message? usage: bootstrap failed %s", cmd.Use)}
	case !all:
		return args, nil
	}
	list, err := listFailed(cmd.Context(), dataDir)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(list.Messages))
	for _, m := range list.Messages {
		ids = append(ids, m.MessageId)
	}
	return ids, nil
}

// eachFailed goes on when one fails.
func eachFailed(ids []string, do func(id string) error) error {
	var errs []error
	for _, id := range ids {
		errs = append(errs, do(id))
	}
	return errors.Join(errs...)
}
