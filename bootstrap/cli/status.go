package cli

import (
	"context"
	"fmt"
	"io"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/understudy-ha/understudy/bootstrap/management"
	clusterv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1"
	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

// statusTimeout bounds a question to a running node.
const statusTimeout = 5 * time.Second

func newStatusCommand(dataDir func() (string, error)) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "who leads, and how this node is",
		Long:  "Asks the node that runs on this machine with the same data.dir. Every node answers, whatever its role.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("-o %s: want text or json", output)}
			}
			dir, err := dataDir()
			if err != nil {
				return usageError{err}
			}
			conn, err := management.Dial(controlSocket(dir))
			if err != nil {
				return err
			}
			defer conn.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), statusTimeout)
			defer cancel()
			s, err := controlv1.NewControlServiceClient(conn).Status(ctx, &controlv1.StatusRequest{})
			if err != nil {
				return fmt.Errorf("ask for the status: %w", err)
			}
			if output == "json" {
				text, err := protojson.MarshalOptions{Multiline: true, EmitUnpopulated: true}.Marshal(s)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), string(text))
				return err
			}
			return printStatus(cmd.OutOrStdout(), s)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

func printStatus(w io.Writer, s *controlv1.StatusResponse) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(key, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", key, fmt.Sprintf(format, args...))
	}
	row("node", "%s  (cluster %s, pid %d, up %s, version %s)", s.NodeId, s.Cluster, s.Pid, age(s.UptimeNanos), s.Version)
	row("role", "%s", roleLine(s))
	if s.MasterId != "" && s.MasterId != s.NodeId {
		row("master", "%s", s.MasterId)
	}
	if w := s.Election.GetWatched(); w != nil {
		connected := "not connected: its crash would be noticed by its silence only"
		if w.Connected {
			connected = "connected"
		}
		row("watched", "%s at %s, %s", w.NodeId, w.Address, connected)
	}
	if s.Reason != "" {
		row("why", "%s", s.Reason)
	}
	row("phase", "%s", s.Phase)
	gate := "shut"
	if s.GateOpen {
		gate = "open"
		if s.GateValidNanos > 0 {
			gate += ", valid for " + age(s.GateValidNanos)
		}
	}
	row("gate", "%s", gate)
	row("adapter", "%s  %s", s.AdapterId, s.AdapterState)
	if m := s.Mirror; m != nil {
		sync := "not in sync"
		if m.GetState().GetInSync() {
			sync = "in sync"
		}
		row("mirror", "%s, index %d, %d in flight (%d bytes), %d ids remembered, at %s", sync,
			m.GetState().GetPosition().GetIndex(), m.Entries, m.Bytes, m.DedupeIds, m.Address)
	}
	row("steps", "%d events, %d dropped", s.StepEvents, s.StepEventsDropped)
	for _, warning := range s.Warnings {
		row("warning", "%s", warning)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	printWorkflows(w, s.Workflows)
	printPeers(w, s)
	printPlugins(w, s.Plugins)
	return nil
}

func roleLine(s *controlv1.StatusResponse) string {
	line := roleName(s.Role)
	if s.Role == failoverv1.Role_ROLE_UNSPECIFIED {
		return "none: this node runs without failover"
	}
	if term := termText(s.Term); term != "" {
		line += ", term " + term
	}
	return line + ", for " + age(s.RoleSinceNanos)
}

func roleName(r failoverv1.Role) string {
	return strings.ToLower(strings.TrimPrefix(r.String(), "ROLE_"))
}

func termText(t *clusterv1.Term) string {
	if t.GetNumber() == 0 {
		return ""
	}
	return fmt.Sprintf("%d:%s", t.Number, t.NodeId)
}

// age rounds a duration for people.
func age(nanos int64) string {
	d := time.Duration(nanos)
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Millisecond).String()
	}
}

func printWorkflows(w io.Writer, workflows []*controlv1.WorkflowStatus) {
	if len(workflows) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nWORKFLOW\tSTATE\tRECEIVED\tPRODUCED\tFAILED\tREPEATED\tIN FLIGHT\tHELD\tLAST ERROR")
	for _, f := range workflows {
		fmt.Fprintf(t, "%s/%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", f.Channel, f.Id, f.State, f.Received, f.Produced,
			f.Failed, f.Duplicates, f.InFlight, f.Held, f.LastError)
	}
	_ = t.Flush()
}

func printPeers(w io.Writer, s *controlv1.StatusResponse) {
	type peer struct{ role, heard, mirror string }
	peers := map[string]*peer{}
	get := func(id string) *peer {
		if peers[id] == nil {
			peers[id] = &peer{role: "-", heard: "-", mirror: "-"}
		}
		return peers[id]
	}
	for _, p := range s.GetElection().GetPeers() {
		q := get(p.NodeId)
		q.role, q.heard = roleName(p.Role), age(p.AgeNanos)+" ago"
		if !p.CanLead {
			q.role += " (cannot lead)"
		}
	}
	for _, p := range s.GetMirror().GetPeers() {
		q := get(p.NodeId)
		switch {
		case p.InSync:
			q.mirror = fmt.Sprintf("in sync, %d behind", p.LagEntries)
		case p.Connected:
			q.mirror = "connected"
		default:
			q.mirror = "not connected"
		}
	}
	if len(peers) == 0 {
		return
	}
	ids := make([]string, 0, len(peers))
	for id := range peers {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nPEER\tROLE\tHEARD\tMIRROR")
	for _, id := range ids {
		p := peers[id]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", id, p.role, p.heard, p.mirror)
	}
	_ = t.Flush()
}

func printPlugins(w io.Writer, plugins []*controlv1.PluginStatus) {
	if len(plugins) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nPLUGIN\tVERSION\tSTATE\tPID\tPROTOCOL\tRESTARTS\tCHECKSUM\tLAST ERROR")
	for _, p := range plugins {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%.12s\t%s\n", p.Name, p.Version, p.State, p.Pid, p.Protocol, p.Restarts,
			p.Checksum, p.LastError)
	}
	_ = t.Flush()
}
