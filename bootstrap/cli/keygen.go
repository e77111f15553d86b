package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/plugins/contract/keyring"
)

const keygenHelp = `Without an option a new key goes to the standard output. The key file is the same on every node of a cluster; only
its owner may read it. Name it with failover.key.file. The first key of a file seals, all of its keys open.

To replace a key while the cluster works, each step on all nodes before the next (restart the standbys one after the
other, hand over, restart the last):
  1. bootstrap keygen --add FILE on one node adds a new key, which nobody seals with yet; copy the file, restart.
  2. bootstrap keygen --promote FILE puts the new key first; copy the file, restart.
  3. bootstrap keygen --drop FILE takes the old key away; copy the file, restart.`

// newKeygenCommand makes and changes key files; it asks no node.
func newKeygenCommand() *cobra.Command {
	var output, add, promote, drop, show string
	cmd := &cobra.Command{
		Use: "keygen", Short: "make a key file, with which the nodes of a cluster know each other", Long: keygenHelp, Args: argsExactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			say := func(format string, args ...any) error {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), format, args...)
				return err
			}
			switch {
			case output != "":
				if err := keyring.Generate().Create(output); err != nil {
					return err
				}
				return say("%s written: copy it to every node (mode 0600) and set failover.key.file there\nNodes with a key and nodes without do not hear each other: stop all of them, then start them\n", output)
			case add != "":
				return changeKeys(say, add, keyring.Ring.Add, "then, when every node has both keys: bootstrap keygen --promote "+add)
			case promote != "":
				return changeKeys(say, promote, keyring.Ring.Promote, "then, when every node seals with the new key: bootstrap keygen --drop "+promote)
			case drop != "":
				return changeKeys(say, drop, keyring.Ring.Drop, "then the old key opens nothing any more")
			case show != "":
				ring, err := keyring.Load(show)
				if err != nil {
					return err
				}
				return say("keys %s, the first one seals\n", strings.Join(ring.Fingerprints(), ", "))
			}
			_, err := cmd.OutOrStdout().Write(keyring.Generate().Text())
			return err
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "the file to write; it must not exist")
	cmd.Flags().StringVar(&add, "add", "", "add a new second key to this file")
	cmd.Flags().StringVar(&promote, "promote", "", "put the second key of this file first")
	cmd.Flags().StringVar(&drop, "drop", "", "take the second key out of this file")
	cmd.Flags().StringVar(&show, "show", "", "tell the fingerprints of this file's keys")
	cmd.MarkFlagsMutuallyExclusive("output", "add", "promote", "drop", "show")
	return cmd
}

// changeKeys changes a key file, and says what comes next.
func changeKeys(say func(string, ...any) error, path string, change func(keyring.Ring) (keyring.Ring, error), next string) error {
	ring, err := keyring.Load(path)
	if err != nil {
		return err
	}
	changed, err := change(ring)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := changed.Replace(path); err != nil {
		return err
	}
	return say("%s: keys %s, the first one seals; copy it to every node (mode 0600) and restart them one after the other\n%s\n",
		path, strings.Join(changed.Fingerprints(), ", "), next)
}
