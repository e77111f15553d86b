package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	cachesyncv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cachesync/v1"
	clusterv1 "github.com/understudy-ha/understudy/proto/gen/understudy/cluster/v1"
	controlv1 "github.com/understudy-ha/understudy/proto/gen/understudy/control/v1"
	failoverv1 "github.com/understudy-ha/understudy/proto/gen/understudy/failover/v1"
)

func newStatusCommand(dataDir func() (string, error)) *cobra.Command {
	var output outputFlag
	cmd := &cobra.Command{
		Use:   "status",
		Short: "who leads, and how this node is",
		Long:  "Asks the node that runs on this machine with the same data.dir. Every node answers, whatever its role.",
		Args:  argsExactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := askStatus(cmd.Context(), dataDir)
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), output, s, printStatus)
		},
	}
	output.add(cmd)
	return cmd
}

// rows is a table of two columns.
type rows struct{ *tabwriter.Writer }

func (t rows) row(key, format string, args ...any) {
	fmt.Fprintf(t, "%s\t%s\n", key, fmt.Sprintf(format, args...))
}

func printStatus(w io.Writer, s *controlv1.StatusResponse) error {
	t := rows{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.row("node", "%s  (cluster %s, pid %d, up %s, version %s)", s.NodeId, s.Cluster, s.Pid, age(s.UptimeNanos), s.Version)
	t.row("role", "%s", roleLine(s))
	if s.Reason != "" {
		t.row("why", "%s", s.Reason)
	}
	printNode(t, s)
	if s.Election != nil {
		printElection(t, s)
	}
	printWork(t, s)
	for _, warning := range s.Warnings {
		t.row("warning", "%s", warning)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(s.Workflows) > 0 {
		fmt.Fprintln(w)
		printWorkflows(w, s.Workflows)
	}
	printPeers(w, s)
	printMatrix(w, s)
	printPlugins(w, s.Plugins)
	return nil
}

// printNode is what the host knows of itself.
func printNode(t rows, s *controlv1.StatusResponse) {
	if s.MasterId != "" && s.MasterId != s.NodeId {
		t.row("master", "%s", s.MasterId)
	}
	t.row("phase", "%s", s.Phase)
	gate := "shut"
	switch {
	case s.GateOpen && s.GateValidNanos > 0:
		gate = "open, valid for " + age(s.GateValidNanos)
	case s.GateOpen:
		gate = "open"
	case s.GateLapsed:
		gate = "SHUT: the lease lapsed " + age(-s.GateValidNanos) + " ago; the work waits for it to come back in this term"
	}
	t.row("gate", "%s", gate)
	if !s.Alone && !s.CanLead && s.Role != failoverv1.Role_ROLE_MASTER {
		t.row("stands", "not for election: %s", s.CannotLead)
	}
	if s.Stalls > 0 {
		t.row("stalls", "%d times this process did not run when it should have", s.Stalls)
	}
}

// printElection is what the election knows.
func printElection(t rows, s *controlv1.StatusResponse) {
	e := s.Election
	if e.Paused {
		t.row("PAUSED", "NOBODY IS PROMOTED, whatever happens; %s said so; bootstrap resume ends it", e.PausedBy)
	}
	if e.Observer {
		t.row("observer", "this node takes part, says what it would do, and never acts")
	}
	if e.Witness {
		t.row("witness", "this node votes, and never leads")
	}
	printQuorum(t, e.Quorum, s.Role)
	if len(e.Order) > 0 {
		t.row("order", "%s", strings.Join(e.Order, ", "))
	}
	if o := e.Takeover; o != nil {
		line := fmt.Sprintf("%s; detection %s, wait %s, claim %s", o.Cause, fine(o.DetectionNanos), fine(o.WaitNanos), fine(o.ClaimNanos))
		if after := termText(o.After); after != "" {
			line += ", after term " + after
		}
		t.row("takeover", "%s", line)
	}
	if w := e.Watched; w != nil {
		connected := "not connected: its crash would be noticed by its silence only"
		if w.Connected {
			connected = "connected"
		}
		t.row("watched", "%s at %s, %s", w.NodeId, w.Address, connected)
	}
	sealed := "NOT AUTHENTICATED: failover.key.file is not set"
	if e.Sealed {
		sealed = "authenticated"
	}
	t.row("network", "%s, %s; %d sent, %d received", e.Transport, sealed, e.Sent, e.Received)
	if dropped := dropLine(e.Dropped); dropped != "" {
		t.row("dropped", "%s", dropped)
	}
}

func printQuorum(t rows, q *failoverv1.Quorum, role failoverv1.Role) {
	if q == nil {
		return
	}
	if len(q.Voters) == 0 {
		t.row("quorum", "not born yet: %d voters are enrolled when they first meet", q.Members)
	} else {
		t.row("quorum", "%d of %d voters: %s", len(q.Voters)/2+1, len(q.Voters), strings.Join(q.Voters, ", "))
	}
	switch {
	case role != failoverv1.Role_ROLE_MASTER:
	case q.LeaseNanos > 0:
		t.row("lease", "a majority has given it for another %s", age(q.LeaseNanos))
	default:
		t.row("lease", "LAPSED: no majority has been heard in time")
	}
	if !q.Voter && len(q.Voters) > 0 {
		t.row("vote", "this node has none; bootstrap members add or replace on the master gives it one")
	} else if q.Withheld != "" {
		t.row("vote", "withheld: %s", q.Withheld)
	}
}

// dropLine gives the causes for which datagrams were dropped, the most frequent first.
func dropLine(dropped map[string]uint64) string {
	causes := slices.SortedFunc(maps.Keys(dropped), func(a, b string) int {
		return cmp.Or(cmp.Compare(dropped[b], dropped[a]), strings.Compare(a, b))
	})
	var parts []string
	for _, cause := range causes {
		if dropped[cause] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", dropped[cause], cause))
		}
	}
	return strings.Join(parts, ", ")
}

// printWork is the workload and its mirror.
func printWork(t rows, s *controlv1.StatusResponse) {
	if s.Program != nil {
		printProgram(t, s.Program)
	} else if s.AdapterId != "" {
		t.row("adapter", "%s  %s", s.AdapterId, s.AdapterState)
	}
	if m := s.Mirror; m != nil {
		sync := "not in sync"
		if m.GetState().GetInSync() {
			sync = "in sync"
		}
		t.row("mirror", "%s, index %d, %d in flight (%d bytes), %d ids remembered, at %s", sync,
			m.GetState().GetPosition().GetIndex(), m.Entries, m.Bytes, m.DedupeIds, m.Address)
		printMirrorSettings(t, m)
	}
	t.row("steps", "%d events, %d dropped", s.StepEvents, s.StepEventsDropped)
}

// printMirrorSettings is where the mirror's table is, how it finds its peers, and who said so.
func printMirrorSettings(t rows, m *cachesyncv1.StatusResponse) {
	store := "in memory"
	if m.Store != "" {
		store = "on disk in " + m.Store
	}
	if m.Fault != "" {
		store += ", WHICH CANNOT BE WRITTEN: " + m.Fault
	}
	if m.Group != "" { // an older plugin does not say
		store += "; peers are found by " + m.Group
	}
	t.row("", "kept %s", store)
	if m.Ehcache != "" {
		t.row("", "settings that nobody has made are those of %s", m.Ehcache)
	}
}

func roleLine(s *controlv1.StatusResponse) string {
	line := roleName(s.Role)
	switch {
	case s.Alone:
		return "none: this node runs without failover"
	case s.Role == failoverv1.Role_ROLE_UNSPECIFIED:
		return "none: the failover plugin does not answer"
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
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WORKFLOW\tSTATE\tRECEIVED\tPRODUCED\tFAILED\tREPEATED\tIN FLIGHT\tHELD\tSTORED\tRESTARTS\tLAST ERROR")
	for _, f := range workflows {
		fmt.Fprintf(t, "%s/%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", f.Channel, f.Id, f.State, f.Received, f.Produced,
			f.Failed, f.Duplicates, f.InFlight, f.Held, f.Stored, f.Restarts, short(f.LastError))
	}
	_ = t.Flush()
}

// peerRole is a peer's role, with what keeps it from leading.
func peerRole(p *failoverv1.PeerStatus) string {
	role := roleName(p.Role)
	switch {
	case p.Witness:
		role = "witness"
	case p.Observer:
		role += " (observes)"
	case !p.CanLead && p.Role != failoverv1.Role_ROLE_MASTER:
		role += " (cannot lead)"
	}
	return role
}

func printPeers(w io.Writer, s *controlv1.StatusResponse) {
	type peer struct{ role, heard, priority, mirror, acknowledged string }
	peers := map[string]*peer{}
	get := func(id string) *peer {
		if peers[id] == nil {
			peers[id] = &peer{role: "-", heard: "-", priority: "-", mirror: "-", acknowledged: "-"}
		}
		return peers[id]
	}
	for _, p := range s.GetElection().GetPeers() {
		q := get(p.NodeId)
		q.role, q.heard, q.priority = peerRole(p), age(p.AgeNanos)+" ago", strconv.Itoa(int(p.Priority))
		if p.AcknowledgedNanos != nil {
			q.acknowledged = age(p.GetAcknowledgedNanos()) + " ago"
		}
		if p.MirrorInSync {
			q.mirror = "in sync"
		}
	}
	for _, p := range s.GetMirror().GetPeers() {
		q := get(p.NodeId)
		switch {
		case p.InSync:
			q.mirror = fmt.Sprintf("in sync, %d behind", p.LagEntries)
		case p.Connected:
			q.mirror = "connected"
		case q.mirror == "-":
			q.mirror = "not connected"
		}
	}
	if len(peers) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nPEER\tROLE\tHEARD\tPRIORITY\tMIRROR\tACKNOWLEDGED")
	for _, id := range slices.Sorted(maps.Keys(peers)) {
		p := peers[id]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", id, p.role, p.heard, p.priority, p.mirror, p.acknowledged)
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
