package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

// changeTimeout bounds a change of the voters, which a majority has to write down.
const changeTimeout = time.Minute

func newMembersCommand(dataDir func() (string, error)) *cobra.Command {
	members := &cobra.Command{
		Use:   "members",
		Short: "who votes",
		Long:  "The voters of a cluster with failover.members: list them on any node, change them one at a time on the master.",
		Args:  argsExactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError{errors.New("usage: bootstrap members list | add NODE | remove NODE | replace OLD NEW")}
		},
	}
	members.AddCommand(
		newMembersListCommand(dataDir),
		changeCommand(dataDir, "add NODE", "make a node a voter", 1, func(args []string) *controlv1.ChangeMembersRequest {
			return &controlv1.ChangeMembersRequest{Add: args[0]}
		}),
		changeCommand(dataDir, "remove NODE", "a node votes no longer", 1, func(args []string) *controlv1.ChangeMembersRequest {
			return &controlv1.ChangeMembersRequest{Remove: args[0]}
		}),
		changeCommand(dataDir, "replace OLD NEW", "a node votes in place of another; NEW may be OLD, for one that lost its disk", 2,
			func(args []string) *controlv1.ChangeMembersRequest {
				return &controlv1.ChangeMembersRequest{Remove: args[0], Add: args[1]}
			}),
	)
	return members
}

func changeCommand(dataDir func() (string, error), use, short string, args int, request func([]string) *controlv1.ChangeMembersRequest) *cobra.Command {
	var output outputFlag
	cmd := &cobra.Command{
		Use: use, Short: short, Args: argsExactly(args),
		RunE: func(cmd *cobra.Command, args []string) error {
			answer, err := ask(cmd.Context(), dataDir, changeTimeout,
				func(ctx context.Context, c controlv1.ControlServiceClient) (*controlv1.ChangeMembersResponse, error) {
					return c.ChangeMembers(ctx, request(args))
				})
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), output, answer, printVoters)
		},
	}
	output.add(cmd)
	return cmd
}

func printVoters(w io.Writer, r *controlv1.ChangeMembersResponse) error {
	_, err := fmt.Fprintf(w, "the voters are now: %s\n", strings.Join(r.Voters, ", "))
	return err
}

func newMembersListCommand(dataDir func() (string, error)) *cobra.Command {
	var output outputFlag
	cmd := &cobra.Command{
		Use: "list", Short: "who votes", Args: argsExactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := askStatus(cmd.Context(), dataDir)
			if err != nil {
				return err
			}
			quorum := s.GetElection().GetQuorum()
			if output.json() {
				if quorum == nil {
					quorum = &failoverv1.Quorum{}
				}
				return writeJSON(cmd.OutOrStdout(), quorum)
			}
			return printMembers(cmd.OutOrStdout(), s, quorum)
		},
	}
	output.add(cmd)
	return cmd
}

func printMembers(w io.Writer, s *controlv1.StatusResponse, quorum *failoverv1.Quorum) error {
	switch {
	case quorum == nil:
		_, err := fmt.Fprintln(w, "this cluster has no quorum: failover.members is not set, so nobody votes")
		return err
	case len(quorum.Voters) == 0:
		_, err := fmt.Fprintf(w, "the cluster has not been born yet: %d voters are enrolled when they first meet\n", quorum.Members)
		return err
	}
	peers := map[string]*failoverv1.PeerStatus{}
	ids := slices.Clone(quorum.Voters)
	for _, p := range s.GetElection().GetPeers() {
		peers[p.NodeId] = p
		if !slices.Contains(ids, p.NodeId) {
			ids = append(ids, p.NodeId)
		}
	}
	if !slices.Contains(ids, s.NodeId) {
		ids = append(ids, s.NodeId)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tVOTES\tROLE\tHEARD")
	for _, id := range ids {
		votes, role, heard := "no", "unknown", "never"
		if slices.Contains(quorum.Voters, id) {
			votes = "yes"
		}
		if p := peers[id]; p != nil {
			role, heard = peerRole(p), age(p.AgeNanos)+" ago"
		}
		if id == s.NodeId {
			role, heard = roleName(s.Role), "this node"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", id, votes, role, heard)
	}
	return t.Flush()
}
