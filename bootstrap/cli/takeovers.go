package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/bootstrap/components/durable"
	"github.com/understudy-ha/understudy/bootstrap/host"
)

// takeoversFolder is where the reports of changes of role are kept, in the data folder; keptTakeovers is how many.
const (
	takeoversFolder = "takeovers"
	keptTakeovers   = 200
	// maxTakeoverFile is far above any report.
	maxTakeoverFile = 1 << 20
)

// takeovers keeps the reports of a node's changes of role, one file each.
type takeovers struct{ dir string }

// keep writes a report, and removes the oldest beyond keptTakeovers.
func (t takeovers) keep(c host.Change) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return fmt.Errorf("takeover report: %w", err)
	}
	// A term is number:node; a colon is no character of a file name everywhere.
	name := strings.ReplaceAll(c.Term, ":", "-") + "-" + string(c.What) + ".json"
	if err := durable.WriteFile(filepath.Join(t.dir, name), append(text, '\n')); err != nil {
		return fmt.Errorf("takeover report: %w", err)
	}
	return t.prune()
}

func (t takeovers) prune() error {
	files, err := t.files()
	if err != nil {
		return err
	}
	var faults []error
	for _, f := range files[:max(0, len(files)-keptTakeovers)] {
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			faults = append(faults, fmt.Errorf("takeover report: %w", err))
		}
	}
	return errors.Join(faults...)
}

type takeoverFile struct {
	path     string
	modified time.Time
}

// files returns the reports, the oldest first.
func (t takeovers) files() ([]takeoverFile, error) {
	found, err := os.ReadDir(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("takeover reports: %w", err)
	}
	var files []takeoverFile
	for _, f := range found {
		info, err := f.Info()
		if err != nil || !info.Mode().IsRegular() || filepath.Ext(f.Name()) != ".json" {
			continue // gone meanwhile, or not ours
		}
		files = append(files, takeoverFile{filepath.Join(t.dir, f.Name()), info.ModTime()})
	}
	slices.SortStableFunc(files, func(a, b takeoverFile) int {
		return cmp.Or(a.modified.Compare(b.modified), strings.Compare(a.path, b.path))
	})
	return files, nil
}

// list reads the reports, the oldest first. A file that is none is a warning.
func (t takeovers) list() (changes []host.Change, warnings []string, err error) {
	files, err := t.files()
	if err != nil {
		return nil, nil, err
	}
	for _, f := range files {
		c, err := readTakeover(f.path)
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("%s: %v", f.path, err))
			continue
		}
		changes = append(changes, c)
	}
	slices.SortStableFunc(changes, func(a, b host.Change) int { return a.Time.Compare(b.Time) })
	return changes, warnings, nil
}

func readTakeover(path string) (c host.Change, err error) {
	file, err := os.Open(path)
	if err != nil {
		return c, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxTakeoverFile))
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("is not a takeover report: %w", err)
	}
	if c.What == "" || c.Term == "" {
		return c, errors.New("is not a takeover report")
	}
	return c, nil
}

func newTakeoversCommand(dataDir func() (string, error)) *cobra.Command {
	var output outputFlag
	cmd := &cobra.Command{
		Use:   "takeovers",
		Short: "this node's changes of role, and how each went",
		Long: "Lists the reports in data.dir/takeovers, the oldest first: one for each change of role of this node. The node need not\n" +
			"run.",
		Args: argsExactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := dataDir()
			if err != nil {
				return usageError{err}
			}
			changes, warnings, err := takeovers{filepath.Join(dir, takeoversFolder)}.list()
			if err != nil {
				return err
			}
			for _, warning := range warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning:", warning)
			}
			if output.json() {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(append([]host.Change{}, changes...))
			}
			return printTakeovers(cmd.OutOrStdout(), changes)
		},
	}
	output.add(cmd)
	return cmd
}

func printTakeovers(w io.Writer, changes []host.Change) error {
	if len(changes) == 0 {
		_, err := fmt.Fprintln(w, "this node has not changed its role yet")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TIME\tWHAT\tTERM\tTOOK\tMESSAGES\tWHY")
	for _, c := range changes {
		took, messages := "-", "-"
		switch {
		case c.Promoted != nil:
			p := c.Promoted
			took = fmt.Sprintf("detect %s, wait %s, claim %s, gate %s, seal %s, start %s", fine(int64(p.Detection)), fine(int64(p.Wait)),
				fine(int64(p.Claim)), fine(int64(p.Gate)), fine(int64(p.Seal)), fine(int64(p.Start)))
			messages = fmt.Sprintf("%d replayed, %d held, %d dropped", p.Replayed, p.Held, p.Dropped)
		case c.Ended != nil:
			e := c.Ended
			took = "drain " + fine(int64(e.Drain))
			if e.Successor != "" {
				took += fmt.Sprintf(", %s led after %s", e.Successor, fine(int64(e.Takeover)))
			}
			messages = fmt.Sprintf("%d unfinished", e.UnfinishedCount)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Time.Local().Format("2006-01-02 15:04:05.000"), c.What, c.Term, took, messages, c.Reason)
	}
	return t.Flush()
}
